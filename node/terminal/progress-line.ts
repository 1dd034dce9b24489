// One line that tells how far a long piece of work is: drawn over itself on a terminal, printed now and then elsewhere.
import { LiveRegion } from "./live-region.ts";
import type { Output } from "./output.ts";

/** Faster than this nobody reads. */
const REDRAW_MS = 100;
/** Into a file or a log: enough to see that it goes on. */
const PRINT_MS = 10_000;

export class ProgressLine {
  readonly #output: Output;
  readonly #region: LiveRegion | undefined;
  readonly #nowMs: () => number;
  #shownAtMs: number;

  constructor(output: Output, nowMs: () => number = () => performance.now()) {
    this.#output = output;
    this.#nowMs = nowMs;
    this.#region = output.isTTY === true ? new LiveRegion(output) : undefined;
    // The first line of a log comes after the first interval: short work says nothing.
    this.#shownAtMs = this.#region === undefined ? nowMs() : Number.NEGATIVE_INFINITY;
  }

  /** Shows the line if it is time to; it is made only then. */
  show(line: () => string): void {
    const nowMs = this.#nowMs();
    if (nowMs - this.#shownAtMs < (this.#region === undefined ? PRINT_MS : REDRAW_MS)) return;
    this.#shownAtMs = nowMs;
    if (this.#region === undefined) this.#output.write(`${line()}\n`);
    else this.#region.draw([line()]);
  }

  /** Prints a line that stays, above the one that is drawn over. */
  print(line: string): void {
    this.#region?.clear();
    this.#output.write(`${line}\n`);
  }

  /** Takes the line away and gives the cursor back. */
  end(): void {
    this.#region?.clear();
    this.#region?.end();
  }
}
