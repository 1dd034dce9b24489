// The two magnitudes that stand for the kept values of a matrix: the pair with the least squared error (Lloyd 1982,
// Max 1960). In one dimension the best pair splits the sorted magnitudes in two, so all splits are tried: magnitudes
// are counted in buckets by the upper 15 bits of their float32 (0.8% wide), which costs one pass and no sorting.
import { GRID_UNITS } from "../grid.ts";

/** Magnitudes as grid integers that fit an unsigned 32-bit number; a value's magnitude is the nearer one. */
export interface TwoLevels {
  readonly low: number;
  readonly high: number;
}

export const LARGEST_LEVEL = 2 ** 32 - 1;

const BUCKETS = 2 ** 15;
const BUCKET_SHIFT = 16;

export class TwoLevelFit {
  readonly #counts = new Float64Array(BUCKETS);
  readonly #sums = new Float64Array(BUCKETS);

  add(bits: number, value: number): void {
    const bucket = (bits & 0x7fffffff) >>> BUCKET_SHIFT;
    this.#counts[bucket] = this.#counts[bucket]! + 1;
    this.#sums[bucket] = this.#sums[bucket]! + Math.abs(value);
  }

  /** The levels of what was added since the last call. Least squared error = most of sum^2/count in both parts. */
  take(): TwoLevels {
    const total = this.#counts.reduce((sum, count) => sum + count, 0);
    const sumOfAll = this.#sums.reduce((sum, part) => sum + part, 0);
    let best = { score: Number.NEGATIVE_INFINITY, low: 0, high: 0 };
    let count = 0;
    let sum = 0;
    for (let bucket = 0; bucket < BUCKETS && count < total; bucket++) {
      if (this.#counts[bucket] === 0) continue;
      count += this.#counts[bucket]!;
      sum += this.#sums[bucket]!;
      const rest = total - count;
      const low = sum / count;
      // Everything in one part: both levels are the mean.
      const high = rest === 0 ? low : (sumOfAll - sum) / rest;
      const score = low * sum + high * (sumOfAll - sum);
      if (rest > 0 ? score > best.score : best.score === Number.NEGATIVE_INFINITY)
        best = { score, low, high };
    }
    this.#counts.fill(0);
    this.#sums.fill(0);
    return { low: toLevel(best.low), high: toLevel(best.high) };
  }
}

const toLevel = (magnitude: number): number =>
  Math.min(LARGEST_LEVEL, Math.floor(magnitude * GRID_UNITS + 0.5));

/** True where `high` is nearer to the magnitude, or as near; exact. */
export const takesHigh = (value: number, { low, high }: TwoLevels): boolean =>
  2 * GRID_UNITS * Math.abs(value) >= low + high;
