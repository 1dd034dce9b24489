// Which values of a chunk codec `topk` keeps: the `keep` largest magnitudes, of equal ones those with the lower index.
// A radix selection on the bits of the float32, 11, 11 and 9 of its 31 magnitude bits, each a histogram: linear time
// whatever the values are, and nothing is sorted. Magnitudes of finite floats order like their bits.

/** Values of a matrix among which `topk` chooses; the last chunk of a matrix may be shorter. */
export const TOPK_CHUNK_VALUES = 4096;

const MAGNITUDE = 0x7fffffff;
const BUCKETS = 2048;
/** Right shift and width in bits of each level's digit. */
const LEVELS = [
  [20, 11],
  [9, 11],
  [0, 9],
] as const;
/** A quarter of an octave on the bits of a float32. */
const GUESS_MARGIN = 1 << 21;

export class TopKSelector {
  readonly #counts = new Uint32Array(BUCKETS);
  readonly #magnitudes = new Uint32Array(TOPK_CHUNK_VALUES);
  readonly #places = new Uint16Array(TOPK_CHUNK_VALUES);
  readonly #remaining = new Uint32Array(TOPK_CHUNK_VALUES);
  /** Somewhat below the last chunk's threshold: spares most values of the next one more than a comparison. */
  #guess = 0;

  /**
   * Writes to `indices` the places in `bits[from..to)` (the float32 as uint32, at most 4,096 of them), counted from
   * `from` and ascending, of the `keep` largest magnitudes; 1 <= keep <= to - from.
   */
  select(bits: Uint32Array, from: number, to: number, keep: number, indices: Uint16Array): void {
    let count = this.#gather(bits, from, to, this.#guess);
    // The guess was too high for this chunk; with all values as candidates the choice is the same, only slower.
    if (count < keep) count = this.#gather(bits, from, to, 0);
    const { threshold, equal } = this.#threshold(count, keep);
    let left = equal;
    let kept = 0;
    for (let at = 0; kept < keep; at++) {
      const magnitude = this.#magnitudes[at]!;
      if (magnitude > threshold || (magnitude === threshold && left-- > 0)) {
        indices[kept++] = this.#places[at]!;
      }
    }
    this.#guess = Math.max(0, threshold - GUESS_MARGIN);
  }

  /** Collects the magnitudes from `least` on, in order; without a branch, which would be mispredicted. */
  #gather(bits: Uint32Array, from: number, to: number, least: number): number {
    const magnitudes = this.#magnitudes;
    const places = this.#places;
    let count = 0;
    for (let at = from; at < to; at++) {
      const magnitude = bits[at]! & MAGNITUDE;
      magnitudes[count] = magnitude;
      places[count] = at - from;
      count += magnitude >= least ? 1 : 0;
    }
    return count;
  }

  /** The `keep`-th largest of the first `count` magnitudes, and how many that equal it belong to the `keep`. */
  #threshold(count: number, keep: number): { threshold: number; equal: number } {
    const counts = this.#counts;
    let candidates = this.#magnitudes;
    let rank = keep;
    let threshold = 0;
    for (const [shift, width] of LEVELS) {
      const mask = 2 ** width - 1;
      counts.fill(0, 0, mask + 1);
      for (let at = 0; at < count; at++) {
        const digit = (candidates[at]! >>> shift) & mask;
        counts[digit] = counts[digit]! + 1;
      }
      let digit = mask;
      for (; rank > counts[digit]!; digit--) rank -= counts[digit]!;
      threshold |= digit << shift;
      let left = 0;
      for (let at = 0; at < count; at++) {
        const candidate = candidates[at]!;
        this.#remaining[left] = candidate;
        left += ((candidate >>> shift) & mask) === digit ? 1 : 0;
      }
      candidates = this.#remaining;
      count = left;
    }
    return { threshold, equal: rank };
  }
}
