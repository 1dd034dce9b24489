// Time for simulations: it passes only when told to, from one due timer to the next, and everything that a timer sets
// off in promises is over before the next one.
import type { ClockPort } from "../ports.ts";

interface Timer {
  readonly atMs: number;
  /** Ties go to the timer set first. */
  readonly order: number;
  readonly callback: () => void;
}

export class VirtualClock implements ClockPort {
  readonly #timers = new Set<Timer>();
  #nowMs: number;
  #order = 0;

  constructor(startMs = 1_000_000) {
    this.#nowMs = startMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, resolve));
  }

  /** Lets time pass until `until` is true or `limitMs` have passed; says whether it became true. */
  async run(limitMs: number, until: () => boolean = () => false): Promise<boolean> {
    const endMs = this.#nowMs + limitMs;
    await settled();
    while (!until()) {
      const next = this.#next();
      if (next === undefined || next.atMs > endMs) {
        this.#nowMs = endMs;
        return false;
      }
      this.#timers.delete(next);
      this.#nowMs = next.atMs;
      next.callback();
      await settled();
    }
    return true;
  }

  #next(): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (next === undefined || timer.atMs < next.atMs) next = timer;
      else if (timer.atMs === next.atMs && timer.order < next.order) next = timer;
    }
    return next;
  }
}

/** A macrotask later all promises that could settle have settled: nothing in a simulation waits for the outside. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
