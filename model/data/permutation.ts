// A permutation of 0..size-1 that is computed, not stored: a Feistel network over the next even power of two, walked
// until it lands inside (Black and Rogaway 2002). Pure integer arithmetic: the same on every machine.

const ROUNDS = 4;

/** Position → element, one to one, for sizes up to 2^32. Different seeds and epochs give unrelated orders. */
export class Permutation {
  readonly size: number;
  readonly #halfBits: number;
  readonly #halfMask: number;
  readonly #keys: readonly number[];

  constructor(size: number, seed: number, epoch: number) {
    this.size = size;
    const bits = Math.max(2, Math.ceil(Math.log2(size)));
    this.#halfBits = Math.ceil(bits / 2);
    this.#halfMask = 2 ** this.#halfBits - 1;
    this.#keys = Array.from({ length: ROUNDS }, (_, round) => mix32(mix32(mix32(seed) ^ epoch) + round));
  }

  at(position: number): number {
    if (!(position >= 0 && position < this.size)) {
      throw new RangeError(`Position ${position} is outside of a permutation of ${this.size}.`);
    }
    // The network permutes at most four times as many numbers as there are: few steps lead back inside.
    let value = position;
    do value = this.#network(value);
    while (value >= this.size);
    return value;
  }

  #network(value: number): number {
    let left = Math.floor(value / 2 ** this.#halfBits);
    let right = value % 2 ** this.#halfBits;
    for (const key of this.#keys) {
      const mixed = (left ^ mix32(right ^ key)) & this.#halfMask;
      left = right;
      right = mixed;
    }
    return left * 2 ** this.#halfBits + right;
  }
}

/** Murmur3's finaliser: every input bit reaches every output bit. Unsigned 32-bit. */
export function mix32(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
