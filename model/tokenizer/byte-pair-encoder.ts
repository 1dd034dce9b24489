// Applies merges to the bytes of one word: always the merge of lowest rank, leftmost first. Owns no text and no cache.
import type { MergeTable } from "./merge-table.ts";

/** Up to here a scan over all pairs beats the heap; beyond it a word without spaces would cost its length squared. */
const SCAN_LIMIT_BYTES = 96;
const NO_MERGE = 0x7fffffff;

export class BytePairEncoder {
  readonly #merges: MergeTable;
  readonly #tokenOfByte: Int32Array;
  readonly #scanTokens = new Int32Array(SCAN_LIMIT_BYTES);
  readonly #scanRanks = new Int32Array(SCAN_LIMIT_BYTES);

  /** `tokenOfByte` has the token of each of the 256 bytes. */
  constructor(merges: MergeTable, tokenOfByte: Int32Array) {
    this.#merges = merges;
    this.#tokenOfByte = tokenOfByte;
  }

  /** Tokens of `bytes[0..length)`. The result is valid until the next call. */
  encode(bytes: Uint8Array, length: number): Int32Array {
    return length <= SCAN_LIMIT_BYTES ? this.#scan(bytes, length) : this.#merge(bytes, length);
  }

  #scan(bytes: Uint8Array, length: number): Int32Array {
    const tokens = this.#scanTokens;
    const ranks = this.#scanRanks; // ranks[i] belongs to the pair (i, i + 1)
    for (let i = 0; i < length; i++) tokens[i] = this.#tokenOfByte[bytes[i]!]!;
    for (let i = 0; i + 1 < length; i++) ranks[i] = this.#rank(tokens[i]!, tokens[i + 1]!);
    let count = length;
    while (count > 1) {
      let best = NO_MERGE;
      let at = 0;
      for (let i = 0; i < count - 1; i++) {
        if (ranks[i]! < best) {
          best = ranks[i]!;
          at = i;
        }
      }
      if (best === NO_MERGE) break;
      tokens[at] = this.#merges.merged(best);
      count -= 1;
      // Plain loops: words are a few tokens long, and a call to copyWithin costs more than that.
      for (let i = at + 1; i < count; i++) tokens[i] = tokens[i + 1]!;
      for (let i = at + 1; i + 1 < count; i++) ranks[i] = ranks[i + 1]!;
      if (at > 0) ranks[at - 1] = this.#rank(tokens[at - 1]!, tokens[at]!);
      if (at + 1 < count) ranks[at] = this.#rank(tokens[at]!, tokens[at + 1]!);
    }
    return tokens.subarray(0, count);
  }

  /** The same with a linked list and a heap of candidate merges: n log n for words of any length. */
  #merge(bytes: Uint8Array, length: number): Int32Array {
    const tokens = new Int32Array(length);
    const next = new Int32Array(length);
    const previous = new Int32Array(length);
    const heap = new MergeHeap();
    for (let i = 0; i < length; i++) {
      tokens[i] = this.#tokenOfByte[bytes[i]!]!;
      next[i] = i + 1 < length ? i + 1 : -1;
      previous[i] = i - 1;
    }
    const propose = (at: number) => {
      const after = next[at]!;
      const rank = after < 0 ? NO_MERGE : this.#rank(tokens[at]!, tokens[after]!);
      if (rank !== NO_MERGE) heap.push(rank, at);
    };
    for (let i = 0; i + 1 < length; i++) propose(i);
    while (heap.pop()) {
      const at = heap.at;
      const after = tokens[at]! < 0 ? -1 : next[at]!;
      // A candidate is stale once either side has been merged into something else.
      if (after < 0 || this.#rank(tokens[at]!, tokens[after]!) !== heap.rank) continue;
      tokens[at] = this.#merges.merged(heap.rank);
      tokens[after] = -1;
      next[at] = next[after]!;
      if (next[at]! >= 0) previous[next[at]!] = at;
      if (previous[at]! >= 0) propose(previous[at]!);
      propose(at);
    }
    let count = 0;
    for (let i = 0; i >= 0 && i < length; i = next[i]!) tokens[count++] = tokens[i]!;
    return tokens.subarray(0, count);
  }

  #rank(left: number, right: number): number {
    const rank = this.#merges.rank(left, right);
    return rank < 0 ? NO_MERGE : rank;
  }
}

/** Binary heap of (rank, position), lowest rank first, then leftmost. One number holds both: rank · 2^32 + position. */
class MergeHeap {
  rank = 0;
  at = 0;
  readonly #keys: number[] = [];

  push(rank: number, at: number): void {
    const keys = this.#keys;
    const key = rank * 2 ** 32 + at;
    let i = keys.push(key) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (keys[parent]! <= key) break;
      keys[i] = keys[parent]!;
      i = parent;
    }
    keys[i] = key;
  }

  /** Takes the first candidate into `rank` and `at`; false when there is none left. */
  pop(): boolean {
    const keys = this.#keys;
    if (keys.length === 0) return false;
    const top = keys[0]!;
    const last = keys.pop()!;
    if (keys.length > 0) {
      let i = 0;
      for (;;) {
        let child = 2 * i + 1;
        if (child >= keys.length) break;
        if (child + 1 < keys.length && keys[child + 1]! < keys[child]!) child += 1;
        if (keys[child]! >= last) break;
        keys[i] = keys[child]!;
        i = child;
      }
      keys[i] = last;
    }
    this.rank = Math.floor(top / 2 ** 32);
    this.at = top % 2 ** 32;
    return true;
  }
}
