// A block of lines at the end of the terminal that is drawn over itself. Needs a terminal: callers print plain lines
// elsewhere.
import type { Output } from "./output.ts";
import { cut } from "./table.ts";

const HIDE_CURSOR = "\x1b[?25l";
const SHOW_CURSOR = "\x1b[?25h";
const CLEAR_LINE = "\x1b[2K";
const CLEAR_BELOW = "\x1b[J";

export class LiveRegion {
  readonly #output: Output;
  #height = 0;

  constructor(output: Output) {
    this.#output = output;
  }

  /** Replaces what was drawn before. One write, so that nothing flickers. */
  draw(lines: readonly string[]): void {
    // A terminal that does not know its size says 0.
    const width = this.#output.columns || 100;
    const body = lines.map((line) => `${CLEAR_LINE}${cut(line, width)}\n`).join("");
    this.#output.write(`${HIDE_CURSOR}${this.#rewind()}${body}${CLEAR_BELOW}`);
    this.#height = lines.length;
  }

  /** Takes away what was drawn last, for what replaces it. */
  clear(): void {
    this.#output.write(`${this.#rewind()}${CLEAR_BELOW}`);
    this.#height = 0;
  }

  /** Leaves what was drawn last and gives the cursor back. */
  end(): void {
    this.#output.write(SHOW_CURSOR);
    this.#height = 0;
  }

  #rewind(): string {
    return this.#height === 0 ? "" : `\x1b[${this.#height}A`;
  }
}
