// Batches out of several sources, mixed as multilingual pre-training does it. Owns the sampling law and its position.
//   p_k = bytes_k^tau / sum_j bytes_j^tau        tau 0: uniform over sources, 1: in proportion to their text
// Which source a sequence comes from depends on the seed and the sequence's number alone, never on a random state.
import { type BatchPosition, BatchStream } from "#model/data/batches.ts";
import { mix32 } from "#model/data/permutation.ts";
import type { TokenSplit } from "#model/data/token-file.ts";
import type { Batch } from "#model/types.ts";

export interface MixedBatchesOptions {
  readonly batchSize: number;
  readonly sequenceLength: number;
  /** The exponent tau of the sampling law, from 0 to 1. */
  readonly temperature: number;
  /** Any 32-bit integer. */
  readonly seed: number;
}

/** Plain JSON: everything needed to go on with the very next sequence. */
export interface MixedPosition {
  /** Sequences drawn so far. */
  readonly sequences: number;
  /** One for each source, in the order of the sources. */
  readonly sources: readonly BatchPosition[];
}

/** Keeps the draws of sources apart from the orders of windows, which come from the same seed. */
const DRAW_SALT = 0x6d697865;

/** Probabilities of the sources, in their order; `bytes` is the size of each one's training text. */
export function samplingLaw(bytes: readonly number[], temperature: number): number[] {
  const weights = bytes.map((size) => size ** temperature);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

export class MixedBatches {
  readonly #options: MixedBatchesOptions;
  readonly #streams: readonly BatchStream[];
  /** Upper end of each source's share of [0, 1). */
  readonly #bounds: readonly number[];
  #sequences: number;

  /**
   * From the beginning, or from where `position` was taken over the same text.
   * @throws CorpusTooSmallForSequenceError, DataPositionMismatchError
   */
  constructor(splits: readonly TokenSplit[], options: MixedBatchesOptions, position?: MixedPosition) {
    const { sequenceLength, temperature, seed } = options;
    const shape = { batchSize: 1, sequenceLength };
    this.#options = options;
    this.#streams = splits.map((split, at) => {
      const there = position?.sources[at];
      return there === undefined
        ? new BatchStream(split, { ...shape, seed: mix32(seed + at) })
        : BatchStream.restore(split, shape, there);
    });
    let sum = 0;
    this.#bounds = samplingLaw(
      splits.map(({ bytes }) => bytes),
      temperature,
    ).map((share) => {
      sum += share;
      return sum;
    });
    this.#sequences = position?.sequences ?? 0;
  }

  get position(): MixedPosition {
    return { sequences: this.#sequences, sources: this.#streams.map(({ position }) => position) };
  }

  next(): Batch {
    const { batchSize, sequenceLength } = this.#options;
    const size = batchSize * sequenceLength;
    const batch: Batch = {
      inputs: new Int32Array(size),
      targets: new Int32Array(size),
      batchSize,
      sequenceLength,
    };
    for (let row = 0; row < batchSize; row++) {
      const sequence = this.#streams[this.#draw(this.#sequences++)]!.next();
      batch.inputs.set(sequence.inputs, row * sequenceLength);
      batch.targets.set(sequence.targets, row * sequenceLength);
    }
    return batch;
  }

  close(): void {
    for (const stream of this.#streams) stream.close();
  }

  /** Index of the source that the given sequence comes from. */
  #draw(sequence: number): number {
    const uniform = mix32(mix32(this.#options.seed ^ DRAW_SALT) + sequence) / 2 ** 32;
    const at = this.#bounds.findIndex((bound) => uniform < bound);
    // The last bound is 1 only up to rounding.
    return at === -1 ? this.#bounds.length - 1 : at;
  }
}
