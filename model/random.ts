// Pseudo-random numbers that are the same on every machine: integer operations only, the state comes from a text.
// Not for secrets, and never for what has to differ between runs.
import { createHash } from "node:crypto";

/** Uniforms summed for one normal: their variances of 1/12 add up to 1. */
const UNIFORMS_PER_NORMAL = 12;
const UNIFORM_LEVELS = 65_536;
/** Mean of the sum of twelve integers that are uniform over 0..65535. */
const SUM_MEAN = (UNIFORMS_PER_NORMAL * (UNIFORM_LEVELS - 1)) / 2;

/** xoshiro128** 1.1 (Blackman & Vigna, https://prng.di.unimi.it): 128 bits of state, 32-bit output, period 2^128 - 1. */
export class RandomStream {
  #s0: number;
  #s1: number;
  #s2: number;
  #s3: number;

  /** Starts from four 32-bit words, not all zero: the generator never leaves that state. */
  constructor(state: readonly [number, number, number, number]) {
    [this.#s0, this.#s1, this.#s2, this.#s3] = state;
  }

  /** The state is the first 16 bytes of SHA-256 over the seed's UTF-8 bytes, read as four little-endian words. */
  static fromSeed(seed: string): RandomStream {
    const digest = createHash("sha256").update(seed, "utf8").digest();
    return new RandomStream([
      digest.readInt32LE(0),
      digest.readInt32LE(4),
      digest.readInt32LE(8),
      digest.readInt32LE(12),
    ]);
  }

  /** The next 32 bits as an unsigned integer. */
  nextUint32(): number {
    const scrambled = Math.imul(this.#s1, 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0;
    const shifted = this.#s1 << 9;
    this.#s2 ^= this.#s0;
    this.#s3 ^= this.#s1;
    this.#s1 ^= this.#s2;
    this.#s0 ^= this.#s3;
    this.#s2 ^= shifted;
    this.#s3 = (this.#s3 << 11) | (this.#s3 >>> 21);
    return result;
  }

  /**
   * Fills `target` with normal values of mean 0 and the given standard deviation, as Irwin-Hall sums: twelve 16-bit
   * uniforms (the low, then the high half of six words) are added as integers, which is exact, and scaled once, in
   * float64. Tails end at 6 sigma and the excess kurtosis is -0.1, which initial weights do not notice; a Box-Muller
   * or ziggurat normal needs log or exp, whose last bits no standard promises.
   */
  fillNormal(target: Float32Array, standardDeviation: number): void {
    const scale = standardDeviation / UNIFORM_LEVELS;
    for (let index = 0; index < target.length; index++) {
      let sum = 0;
      for (let pair = 0; pair < UNIFORMS_PER_NORMAL / 2; pair++) {
        const word = this.nextUint32();
        sum += (word & 0xffff) + (word >>> 16);
      }
      target[index] = (sum - SUM_MEAN) * scale;
    }
  }
}
