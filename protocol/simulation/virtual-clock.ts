// Time for simulations: it passes only when told to, from one due timer to the next, and everything that a timer sets
// off in promises is over before the next one.
import type { ClockPort } from "../ports.ts";

interface Timer {
  readonly atMs: number;
  /** Ties go to the timer set first. */
  readonly order: number;
  readonly callback: () => void;
  readonly quiet: boolean;
  /** Fired or cancelled. */
  over: boolean;
}

/** Cancelled timers are swept once they outnumber the others, and not below this many. */
const SWEEP_FROM = 1_024;

export class VirtualClock implements ClockPort {
  /** A binary heap, the next timer first. */
  #timers: Timer[] = [];
  #cancelled = 0;
  #nowMs: number;
  #order = 0;
  readonly #gatherMs: number;
  #settledMs: number;
  #isUnsettled = false;

  /**
   * `gatherMs`: in a large simulation the timers that fall due within this time share one wait for their promises, which then
   * settle up to so much late; with 0 each has its own.
   */
  constructor(startMs = 1_000_000, gatherMs = 0) {
    this.#nowMs = startMs;
    this.#settledMs = startMs;
    this.#gatherMs = gatherMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = this.#set(delayMs, callback, false);
    return () => this.#cancel(timer);
  }

  /** For a callback that settles no promise: nothing is waited for after it. It cannot be cancelled. */
  afterQuietly(delayMs: number, callback: () => void): void {
    this.#set(delayMs, callback, true);
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, resolve));
  }

  /** Lets time pass until `until` is true or `limitMs` have passed; says whether it became true. */
  async run(limitMs: number, until: () => boolean = () => false): Promise<boolean> {
    const endMs = this.#nowMs + limitMs;
    await settled();
    while (!until()) {
      const next = this.#timers[0];
      if (next === undefined || next.atMs > endMs) {
        this.#nowMs = endMs;
        return false;
      }
      this.#removeFirst();
      if (next.over) {
        this.#cancelled--;
        continue;
      }
      next.over = true;
      this.#nowMs = next.atMs;
      next.callback();
      if (!next.quiet) this.#isUnsettled = true;
      if (this.#isUnsettled && this.#hasGathered()) {
        this.#isUnsettled = false;
        this.#settledMs = this.#nowMs;
        await settled();
      }
    }
    return true;
  }

  #hasGathered(): boolean {
    const next = this.#timers[0];
    return next === undefined || next.atMs - this.#settledMs >= this.#gatherMs;
  }

  #set(delayMs: number, callback: () => void, quiet: boolean): Timer {
    const atMs = this.#nowMs + Math.max(0, delayMs);
    const timer = { atMs, order: this.#order++, callback, quiet, over: false };
    this.#timers.push(timer);
    this.#rise(this.#timers.length - 1);
    return timer;
  }

  #cancel(timer: Timer): void {
    if (timer.over) return;
    timer.over = true;
    this.#cancelled++;
    if (this.#cancelled < SWEEP_FROM || this.#cancelled * 2 < this.#timers.length) return;
    this.#timers = this.#timers.filter(({ over }) => !over);
    this.#cancelled = 0;
    for (let at = (this.#timers.length >> 1) - 1; at >= 0; at--) this.#sink(at);
  }

  #removeFirst(): void {
    const last = this.#timers.pop()!;
    if (this.#timers.length === 0) return;
    this.#timers[0] = last;
    this.#sink(0);
  }

  #rise(from: number): void {
    const timers = this.#timers;
    const timer = timers[from]!;
    let at = from;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!isBefore(timer, timers[above]!)) break;
      timers[at] = timers[above]!;
      at = above;
    }
    timers[at] = timer;
  }

  #sink(from: number): void {
    const timers = this.#timers;
    const timer = timers[from]!;
    let at = from;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= timers.length) break;
      if (below + 1 < timers.length && isBefore(timers[below + 1]!, timers[below]!)) below++;
      if (!isBefore(timers[below]!, timer)) break;
      timers[at] = timers[below]!;
      at = below;
    }
    timers[at] = timer;
  }
}

const isBefore = (a: Timer, b: Timer): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

/** A macrotask later all promises that could settle have settled: nothing in a simulation waits for the outside. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
