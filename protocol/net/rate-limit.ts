// Token buckets per key, bounded in number. A key that was quiet long enough to be full again needs no bucket.
import type { ClockPort } from "../ports.ts";
import type { Rate } from "../wire/messages.ts";

const MAX_BUCKETS = 8192;

export class RateLimiter {
  readonly #clock: ClockPort;
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>();

  constructor(clock: ClockPort) {
    this.#clock = clock;
  }

  /** Takes one token of `key`'s bucket; false where it is empty. */
  take(key: string, rate: Rate): boolean {
    const nowMs = this.#clock.nowMs();
    const bucket = this.#buckets.get(key) ?? { tokens: rate.burst, atMs: nowMs };
    const refilled = bucket.tokens + ((nowMs - bucket.atMs) / 1000) * rate.perSecond;
    const tokens = Math.min(rate.burst, refilled);
    // Re-inserted, so that the map is ordered by last use and the first key is the one to forget.
    this.#buckets.delete(key);
    this.#buckets.set(key, { tokens: tokens >= 1 ? tokens - 1 : tokens, atMs: nowMs });
    if (this.#buckets.size > MAX_BUCKETS) {
      const oldest = this.#buckets.keys().next().value;
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    return tokens >= 1;
  }
}
