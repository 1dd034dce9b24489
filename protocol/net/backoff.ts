// When to try an address again: exponentially later after each failure, with jitter, so that peers that lost the same
// neighbour at the same moment do not all come back at the same moment.
import type { ClockPort } from "../ports.ts";

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 60_000;
const MAX_KEYS = 4096;

/** `delayMs` times a factor between 0.5 and 1.5. */
export const jittered = (delayMs: number): number => delayMs * (0.5 + Math.random());

export class Backoff {
  readonly #clock: ClockPort;
  readonly #failures = new Map<string, { count: number; notBeforeMs: number }>();

  constructor(clock: ClockPort) {
    this.#clock = clock;
  }

  isDue(key: string): boolean {
    return (this.#failures.get(key)?.notBeforeMs ?? 0) <= this.#clock.nowMs();
  }

  failed(key: string): void {
    const count = (this.#failures.get(key)?.count ?? 0) + 1;
    const delayMs = jittered(Math.min(FIRST_DELAY_MS * 2 ** (count - 1), LONGEST_DELAY_MS));
    this.#failures.delete(key);
    this.#failures.set(key, { count, notBeforeMs: this.#clock.nowMs() + delayMs });
    if (this.#failures.size > MAX_KEYS) {
      const oldest = this.#failures.keys().next().value;
      if (oldest !== undefined) this.#failures.delete(oldest);
    }
  }

  succeeded(key: string): void {
    this.#failures.delete(key);
  }

  /** Consecutive failures of `key`. */
  failures(key: string): number {
    return this.#failures.get(key)?.count ?? 0;
  }
}
