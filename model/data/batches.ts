// Batches out of token files: shuffled without end for training, in order for validation. Owns positions in the data.
import type { Batch } from "../types.ts";
import { CorpusTooSmallForSequenceError, DataPositionMismatchError } from "./errors.ts";
import { mix32, Permutation } from "./permutation.ts";
import { TokenFileReader, type TokenSplit } from "./token-file.ts";

export interface BatchShape {
  readonly batchSize: number;
  readonly sequenceLength: number;
}

export interface BatchStreamOptions extends BatchShape {
  /** Any 32-bit integer; the order of windows depends on it and on the epoch alone. */
  readonly seed: number;
}

/** Where a stream stands. Plain JSON; everything needed to go on with the very next window. */
export interface BatchPosition {
  readonly seed: number;
  readonly sequenceLength: number;
  /** Tokens of the file and its digest, to notice when it is another. */
  readonly tokens: number;
  readonly digest?: string | undefined;
  readonly epoch: number;
  /** Windows of this epoch already given out. */
  readonly window: number;
}

/**
 * An endless stream of training batches. An epoch goes once over the tokens in windows of sequenceLength + 1 that share
 * one token with their neighbours, in a shuffled order; where the first window starts changes from epoch to epoch, so
 * that windows are cut elsewhere each time. Nothing is held in memory but one window; the order is computed.
 */
export class BatchStream {
  readonly #reader: TokenFileReader;
  readonly #shape: BatchShape;
  readonly #seed: number;
  readonly #window: Int32Array;
  #epoch: number;
  #next: number;
  #order: EpochOrder;

  /** @throws CorpusTooSmallForSequenceError where the file has less than two windows */
  constructor(split: TokenSplit, options: BatchStreamOptions, position?: BatchPosition) {
    const { batchSize, sequenceLength, seed } = options;
    // One window and the room to shift it: the smallest file of which every epoch has a window.
    const needed = 2 * sequenceLength;
    if (split.tokens < needed) {
      throw new CorpusTooSmallForSequenceError("training", split.tokens, needed);
    }
    this.#shape = { batchSize, sequenceLength };
    this.#seed = position?.seed ?? seed;
    this.#epoch = position?.epoch ?? 0;
    this.#next = position?.window ?? 0;
    this.#window = new Int32Array(sequenceLength + 1);
    this.#order = new EpochOrder(split.tokens, sequenceLength, this.#seed, this.#epoch);
    this.#reader = new TokenFileReader(split);
  }

  /**
   * Goes on where `position` was taken, with the batches that the stream it was taken from would have given. The batch
   * size may be another than it was.
   * @throws DataPositionMismatchError where the position was taken over other tokens or another sequence length
   */
  static restore(split: TokenSplit, shape: BatchShape, position: BatchPosition): BatchStream {
    if (!isTakenOver(split, position)) {
      throw new DataPositionMismatchError(
        `it was taken over ${position.tokens} ${position.tokens === split.tokens ? "other tokens" : `tokens, there are ${split.tokens}`}`,
      );
    }
    if (position.sequenceLength !== shape.sequenceLength) {
      throw new DataPositionMismatchError(
        `it was taken at sequence length ${position.sequenceLength}, now it is ${shape.sequenceLength}`,
      );
    }
    const stream = new BatchStream(split, { ...shape, seed: position.seed }, position);
    const { epoch, window } = position;
    if (Number.isInteger(epoch) && epoch >= 0 && Number.isInteger(window) && window >= 0) {
      if (window <= stream.#order.windows) return stream;
    }
    stream.close();
    throw new DataPositionMismatchError(`there is no window ${window} in epoch ${epoch}`);
  }

  /**
   * Goes on where `position` was taken or, where that was over other tokens, with the next epoch: the text has changed, and
   * all of what it is now comes once before anything comes again.
   * @throws DataPositionMismatchError, CorpusTooSmallForSequenceError
   */
  static follow(split: TokenSplit, shape: BatchShape, position: BatchPosition): BatchStream {
    if (isTakenOver(split, position)) return BatchStream.restore(split, shape, position);
    const { tokens, digest } = split;
    const epoch = position.epoch + 1;
    return BatchStream.restore(split, shape, { ...position, tokens, digest, epoch, window: 0 });
  }

  get position(): BatchPosition {
    const { tokens, digest } = this.#reader.split;
    return {
      seed: this.#seed,
      sequenceLength: this.#shape.sequenceLength,
      tokens,
      ...(digest !== undefined && { digest }),
      epoch: this.#epoch,
      window: this.#next,
    };
  }

  /** @throws TokenCacheCorruptError where the file is damaged */
  next(): Batch {
    const batch = emptyBatch(this.#shape);
    for (let row = 0; row < batch.batchSize; row++) {
      if (this.#next === this.#order.windows) {
        this.#epoch += 1;
        this.#next = 0;
        this.#order = new EpochOrder(
          this.#reader.split.tokens,
          this.#shape.sequenceLength,
          this.#seed,
          this.#epoch,
        );
      }
      this.#reader.read(this.#order.start(this.#next++), this.#window);
      fillRow(batch, row, this.#window);
    }
    return batch;
  }

  close(): void {
    this.#reader.close();
  }
}

/** Positions and splits that were kept before digests were have the number of tokens alone. */
export function isTakenOver(split: TokenSplit, position: BatchPosition): boolean {
  if (position.tokens !== split.tokens) return false;
  return [position.digest, split.digest].includes(undefined) || position.digest === split.digest;
}

/** Where the windows of one epoch start, in the order they are given out. */
class EpochOrder {
  readonly windows: number;
  readonly #offset: number;
  readonly #sequenceLength: number;
  readonly #permutation: Permutation;

  constructor(tokens: number, sequenceLength: number, seed: number, epoch: number) {
    this.#sequenceLength = sequenceLength;
    this.#offset = mix32(mix32(seed + 1) ^ epoch) % sequenceLength;
    this.windows = Math.floor((tokens - 1 - this.#offset) / sequenceLength);
    this.#permutation = new Permutation(this.windows, seed, epoch);
  }

  start(window: number): number {
    return this.#offset + this.#permutation.at(window) * this.#sequenceLength;
  }
}

/**
 * The held-out tokens in order, in whole batches of neighbouring windows, at most `maximumTokens` of them (but one
 * batch at least). The same batches each time: evaluations compare.
 * @throws CorpusTooSmallForSequenceError where the file has less than one batch
 */
export function* validationBatches(
  split: TokenSplit,
  { batchSize, sequenceLength, maximumTokens }: BatchShape & { readonly maximumTokens: number },
): Generator<Batch> {
  const tokensPerBatch = batchSize * sequenceLength;
  const available = Math.floor((split.tokens - 1) / tokensPerBatch);
  if (available < 1) {
    throw new CorpusTooSmallForSequenceError("validation", split.tokens, tokensPerBatch + 1);
  }
  const batches = Math.min(available, Math.max(1, Math.floor(maximumTokens / tokensPerBatch)));
  const reader = new TokenFileReader(split);
  const window = new Int32Array(sequenceLength + 1);
  try {
    for (let index = 0; index < batches; index++) {
      const batch = emptyBatch({ batchSize, sequenceLength });
      for (let row = 0; row < batchSize; row++) {
        reader.read((index * batchSize + row) * sequenceLength, window);
        fillRow(batch, row, window);
      }
      yield batch;
    }
  } finally {
    reader.close();
  }
}

/** UTF-8 bytes that a batch's targets spell; end-of-text tokens spell none. */
export function countTargetBytes(batch: Batch, byteLengths: ArrayLike<number>): number {
  let bytes = 0;
  for (const id of batch.targets) bytes += byteLengths[id]!;
  return bytes;
}

function emptyBatch({ batchSize, sequenceLength }: BatchShape): Batch {
  const size = batchSize * sequenceLength;
  return { inputs: new Int32Array(size), targets: new Int32Array(size), batchSize, sequenceLength };
}

/** A window of T + 1 tokens gives T inputs and, one token on, T targets. */
function fillRow(batch: Batch, row: number, window: Int32Array): void {
  const { sequenceLength } = batch;
  batch.inputs.set(window.subarray(0, sequenceLength), row * sequenceLength);
  batch.targets.set(window.subarray(1), row * sequenceLength);
}
