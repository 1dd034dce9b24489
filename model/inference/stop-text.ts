// Ends a text before the first of some strings that comes, while the text is still made piece by piece. Pure.

/** Holds back the end of a text as long as it may be the beginning of a stop string. */
export class StopText {
  readonly #stops: readonly string[];
  #held = "";
  #isStopped = false;

  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop !== "");
  }

  /** Whether a stop string has come. It and everything behind it are never given out. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** The part of what has come so far that may be shown now. */
  push(piece: string): string {
    if (this.#isStopped) return "";
    const text = this.#held + piece;
    // The one that is complete first; of several that end together, the longest.
    const [first] = this.#stops
      .map((stop) => ({ begin: text.indexOf(stop), end: text.indexOf(stop) + stop.length }))
      .filter(({ begin }) => begin >= 0)
      .sort((a, b) => a.end - b.end || a.begin - b.begin);
    if (first !== undefined) {
      this.#isStopped = true;
      this.#held = "";
      return text.slice(0, first.begin);
    }
    const held = Math.max(0, ...this.#stops.map((stop) => beginAtEnd(text, stop)));
    this.#held = text.slice(text.length - held);
    return text.slice(0, text.length - held);
  }

  /** What was held back, when no more comes. */
  end(): string {
    const rest = this.#held;
    this.#held = "";
    return rest;
  }
}

/** Length of the longest end of `text` with which `stop` begins. */
function beginAtEnd(text: string, stop: string): number {
  for (let length = Math.min(stop.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}
