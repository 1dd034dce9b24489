// Between a run's flat shared array and a model in training: which part of the array this peer holds, and which of the
// model's parameters that part is. The trainer works on the held part alone, so that its memory follows it:
//   spec-opt, spec   shared = held = body
//   glob             shared = held = body | embedding[V]
//   trim             shared = body | embedding[V]      held = body | embedding[rows]
import type { TrainingModel } from "#model/types.ts";
import { sharedFloats } from "../arithmetic/shared-memory.ts";

/** Embedding rows that a run shares. */
export interface SharedEmbedding {
  readonly width: number;
  /** Rows in the shared array. */
  readonly vocabularySize: number;
  /** Held rows, ascending; the local token i has row rows[i]. `undefined` holds all. */
  readonly rows: Int32Array | undefined;
}

/** The held part as parameters of a model. */
export interface HeldParameters {
  /** Whether the embedding is among them; else it is this peer's own. */
  readonly includeEmbedding: boolean;
  /** A copy of what the model has. */
  read(model: TrainingModel): Promise<Float32Array>;
  write(model: TrainingModel, held: Float32Array): Promise<void>;
}

export class SharedParameters implements HeldParameters {
  /** Values in the shared array, and in the held part of it. */
  readonly sharedLength: number;
  readonly heldLength: number;
  readonly #bodyLength: number;
  readonly #width: number;
  readonly #rows: Int32Array | undefined;
  readonly includeEmbedding: boolean;

  /** @throws RangeError where rows are not ascending ids of the vocabulary */
  constructor(bodyLength: number, embedding?: SharedEmbedding) {
    const { width, vocabularySize, rows } = embedding ?? { width: 0, vocabularySize: 0, rows: undefined };
    rows?.forEach((row, at) => {
      if (row > (rows[at - 1] ?? -1) && row < vocabularySize) return;
      throw new RangeError(`held row ${row} is out of order or outside of ${vocabularySize} rows`);
    });
    this.includeEmbedding = embedding !== undefined;
    this.#bodyLength = bodyLength;
    this.#width = width;
    this.#rows = rows;
    this.sharedLength = bodyLength + vocabularySize * width;
    this.heldLength = bodyLength + (rows?.length ?? vocabularySize) * width;
  }

  /** The held part of a shared array: a copy, or the array itself where all of it is held. */
  gather(shared: Float32Array): Float32Array {
    requireLength("shared", shared, this.sharedLength);
    const held = this.#rows === undefined ? shared : new Float32Array(this.heldLength);
    this.#eachSpan((inShared, inHeld, length) => {
      held.set(shared.subarray(inShared, inShared + length), inHeld);
    });
    return held;
  }

  /** The shared array that is `held` where it is held and zero elsewhere: the change of what a peer cannot move is none. */
  scatter(held: Float32Array): Float32Array {
    requireLength("held", held, this.heldLength);
    const shared = this.#rows === undefined ? held : sharedFloats(this.sharedLength);
    this.#eachSpan((inShared, inHeld, length) => {
      shared.set(held.subarray(inHeld, inHeld + length), inShared);
    });
    return shared;
  }

  async read(model: TrainingModel): Promise<Float32Array> {
    const body = await model.readBody();
    if (!this.includeEmbedding) return body;
    const held = new Float32Array(this.heldLength);
    held.set(body);
    held.set(await model.readEmbedding(), body.length);
    return held;
  }

  async write(model: TrainingModel, held: Float32Array): Promise<void> {
    requireLength("held", held, this.heldLength);
    await model.writeBody(held.subarray(0, this.#bodyLength));
    if (this.includeEmbedding) await model.writeEmbedding(held.subarray(this.#bodyLength));
  }

  /** Visits the body and each held row where the two arrays differ in layout; nothing where they are one. */
  #eachSpan(visit: (inShared: number, inHeld: number, length: number) => void): void {
    if (this.#rows === undefined) return;
    visit(0, 0, this.#bodyLength);
    this.#rows.forEach((row, at) => {
      visit(this.#bodyLength + row * this.#width, this.#bodyLength + at * this.#width, this.#width);
    });
  }
}

function requireLength(what: string, values: Float32Array, expected: number): void {
  if (values.length === expected) return;
  throw new RangeError(`the ${what} parameters are ${values.length} values instead of ${expected}`);
}
