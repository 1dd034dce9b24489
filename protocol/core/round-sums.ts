// The exact sums of one open round, and the body after it. Where updates hold rows of the embedding only, each row has a
// weight of its own: that of the updates that hold it.
import { addUpdate, GRID_UNITS, type GridUpdate } from "./grid.ts";
import type { TensorSlot } from "./layout.ts";

export class RoundSums {
  readonly #numerators: Float64Array;
  readonly #weights = new Map<string, number>();
  readonly #rowsOf: TensorSlot | undefined;
  /** At most 1024 * 2047 each; undefined where every update holds every row. */
  readonly #rowWeights: Uint32Array | undefined;
  #totalWeight = 0;

  /** `rowsOf`: the tensor, the layout's last, whose rows updates may lack. */
  constructor(total: number, rowsOf: TensorSlot | undefined) {
    this.#numerators = new Float64Array(total);
    this.#rowsOf = rowsOf;
    this.#rowWeights = rowsOf === undefined ? undefined : new Uint32Array(rowsOf.shape[0]!);
  }

  /** By update key, in order of arrival. */
  get weights(): ReadonlyMap<string, number> {
    return this.#weights;
  }

  /** The caller has checked that `key` is new and `weight` within bounds. */
  add(key: string, update: GridUpdate, weight: number): void {
    this.#weights.set(key, weight);
    this.#sum(update, weight);
  }

  /** Takes back exactly what was added; false where it was not. */
  remove(key: string, update: GridUpdate): boolean {
    const weight = this.#weights.get(key);
    if (weight === undefined) return false;
    this.#weights.delete(key);
    this.#sum(update, -weight);
    return true;
  }

  /**
   * The body after the round: a new array of `allocate`, or the same one where the round has no updates.
   * `outerLearningRate`: on the mean, at most the number of updates: of one update no more than that is applied.
   */
  applyTo(
    body: Float32Array,
    allocate: (length: number) => Float32Array,
    outerLearningRate: number,
  ): Float32Array {
    if (this.#totalWeight === 0) return body;
    const next = allocate(body.length);
    if (this.#rowsOf === undefined || this.#rowWeights === undefined) {
      const rate = Math.min(outerLearningRate, this.#weights.size);
      this.#fold(body, next, 0, body.length, this.#totalWeight, rate);
      return next;
    }
    const { offset } = this.#rowsOf;
    const width = this.#rowsOf.shape[1]!;
    this.#fold(body, next, 0, offset, this.#totalWeight);
    for (let row = 0, from = offset; row < this.#rowWeights.length; row++, from += width) {
      const weight = this.#rowWeights[row]!;
      if (weight > 0) this.#fold(body, next, from, from + width, weight);
      else next.set(body.subarray(from, from + width), from);
    }
    return next;
  }

  #sum(update: GridUpdate, weight: number): void {
    addUpdate(this.#numerators, update, weight);
    this.#totalWeight += weight;
    const rowWeights = this.#rowWeights;
    if (rowWeights === undefined) return;
    const { heldRows } = update;
    const held = heldRows?.length ?? rowWeights.length;
    for (let at = 0; at < held; at++) {
      const row = heldRows === undefined ? at : heldRows[at]!;
      rowWeights[row] = rowWeights[row]! + weight;
    }
  }

  /** Writes next[from..to). `rate`: a multiple of 1/64, so that its product with a grid integer is exact. */
  #fold(
    body: Float32Array,
    next: Float32Array,
    from: number,
    to: number,
    totalWeight: number,
    rate = 1,
  ): void {
    const numerators = this.#numerators;
    const unit = rate / GRID_UNITS;
    for (let index = from; index < to; index++) {
      // The one division rounds as IEEE 754 says, everywhere alike; floor never gives the -0 that integers do not have.
      const mean = Math.floor(numerators[index]! / totalWeight + 0.5);
      next[index] = body[index]! - mean * unit;
    }
  }
}
