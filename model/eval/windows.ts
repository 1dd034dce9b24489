// A text's tokens in windows of one length, such that every token is predicted exactly once. Owns the convention.
//
//   The documents of a source are one stream of tokens x_0 x_1 …, each document followed by the end-of-text token. x_p is
//   predicted from what precedes it in its window, x_0 from an end-of-text token.
//   Window k begins at k * stride and has T targets. It counts those that no window before it has counted: all T of the
//   first one, the last `stride` of the others. The last window ends where the stream ends, however short it is then.
import type { Batch } from "../types.ts";

export interface WindowShape {
  readonly batchSize: number;
  /** T */
  readonly sequenceLength: number;
  /** From 1 to T. T: windows follow one another without overlap. */
  readonly stride: number;
  readonly endOfText: number;
}

export interface WindowBatch {
  /** Rows without a window are end-of-text tokens. */
  readonly batch: Batch;
  /** Targets that count, as ranges of the batch's flat targets, in the order of the stream. */
  readonly counted: readonly (readonly [from: number, to: number])[];
}

/** Cuts what is pushed into batches; holds one window and one batch at most. */
export class Windows {
  readonly #shape: WindowShape;
  /** x_{begin-1} and the tokens of the window being filled. */
  readonly #window: Int32Array;
  #filled = 1;
  /** Targets of the window that an earlier one has counted. */
  #known = 0;
  #batch: Batch;
  #counted: [number, number][] = [];

  constructor(shape: WindowShape) {
    const { sequenceLength, stride, endOfText } = shape;
    if (!Number.isSafeInteger(stride) || stride < 1 || stride > sequenceLength) {
      throw new RangeError(`a stride of ${stride} is not from 1 to the sequence length, ${sequenceLength}`);
    }
    this.#shape = shape;
    this.#window = new Int32Array(sequenceLength + 1);
    this.#window[0] = endOfText;
    this.#batch = this.#emptyBatch();
  }

  /** Takes the next tokens of the stream and gives the batches that they fill. */
  *push(tokens: ArrayLike<number>): Generator<WindowBatch> {
    const { sequenceLength, stride } = this.#shape;
    for (let at = 0; at < tokens.length; at++) {
      this.#window[this.#filled++] = tokens[at]!;
      if (this.#filled <= sequenceLength) continue;
      const full = this.#place();
      this.#window.copyWithin(0, stride);
      this.#filled = sequenceLength + 1 - stride;
      this.#known = sequenceLength - stride;
      if (full !== undefined) yield full;
    }
  }

  /** The rest of the stream. Nothing may be pushed afterwards. */
  *end(): Generator<WindowBatch> {
    if (this.#filled - 1 > this.#known) {
      const full = this.#place();
      if (full !== undefined) yield full;
    }
    if (this.#counted.length > 0) yield this.#take();
  }

  /** Makes the window a row of the batch; returns the batch where that was its last row. */
  #place(): WindowBatch | undefined {
    const { batchSize, sequenceLength } = this.#shape;
    const begin = this.#counted.length * sequenceLength;
    const targets = this.#filled - 1;
    this.#batch.inputs.set(this.#window.subarray(0, targets), begin);
    this.#batch.targets.set(this.#window.subarray(1, targets + 1), begin);
    this.#counted.push([begin + this.#known, begin + targets]);
    return this.#counted.length === batchSize ? this.#take() : undefined;
  }

  #take(): WindowBatch {
    const taken = { batch: this.#batch, counted: this.#counted };
    this.#batch = this.#emptyBatch();
    this.#counted = [];
    return taken;
  }

  #emptyBatch(): Batch {
    const { batchSize, sequenceLength, endOfText } = this.#shape;
    const ids = () => new Int32Array(batchSize * sequenceLength).fill(endOfText);
    return { inputs: ids(), targets: ids(), batchSize, sequenceLength };
  }
}
