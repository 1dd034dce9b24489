// The learned merges: (left, right) → rank and merged token, by open addressing in one Int32Array. Owns lookup only.

const FIELDS = 3; // left, right, rank
const EMPTY = -1;

/** Merges in the order they were learned. `triples` is flat: left, right, merged token of each. */
export class MergeTable {
  readonly triples: Int32Array;
  readonly #slots: Int32Array;
  readonly #mask: number;
  readonly #mergedOfRank: Int32Array;

  /** A pair that comes twice has the later rank, as in Hugging Face's loader. */
  constructor(triples: Int32Array) {
    this.triples = triples;
    const merges = triples.length / 3;
    let capacity = 16;
    while (capacity < merges * 2) capacity *= 2;
    this.#mask = capacity - 1;
    this.#slots = new Int32Array(capacity * FIELDS).fill(EMPTY);
    this.#mergedOfRank = new Int32Array(merges);
    for (let rank = 0; rank < merges; rank++) {
      const left = triples[rank * 3]!;
      const right = triples[rank * 3 + 1]!;
      const slot = this.#find(left, right);
      this.#slots[slot] = left;
      this.#slots[slot + 1] = right;
      this.#slots[slot + 2] = rank;
      this.#mergedOfRank[rank] = triples[rank * 3 + 2]!;
    }
  }

  get size(): number {
    return this.#mergedOfRank.length;
  }

  /** Rank of the merge of two neighbours, or -1 where there is none. */
  rank(left: number, right: number): number {
    return this.#slots[this.#find(left, right) + 2]!;
  }

  /** The token that the merge of this rank makes. */
  merged(rank: number): number {
    return this.#mergedOfRank[rank]!;
  }

  #find(left: number, right: number): number {
    const slots = this.#slots;
    let slot = hashPair(left, right) & this.#mask;
    for (;;) {
      const at = slot * FIELDS;
      const found = slots[at]!;
      if (found === EMPTY || (found === left && slots[at + 1] === right)) return at;
      slot = (slot + 1) & this.#mask;
    }
  }
}

/** Mixes two token ids into 32 bits (multiply and fold, odd constants from the golden ratio and Murmur3). */
export function hashPair(left: number, right: number): number {
  const mixed = Math.imul(left ^ Math.imul(right, 0x85ebca6b), 0x9e3779b1);
  return mixed ^ (mixed >>> 15);
}
