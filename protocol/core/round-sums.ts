// The exact sums of one open round, and the body after it. Where updates hold rows of the embedding only, each row has a
// weight of its own: that of the updates that hold it. Where the run has a defence, what of each update is in the sums
// follows from all of them (judging.ts), and is put right before a body is made: sums are exact, so that nothing of what
// was in them before remains.
import { addUpdate, GRID_UNITS, type GridUpdate } from "./grid.ts";
import {
  type DefenceChoice,
  type JudgedUpdate,
  type Judgement,
  judge,
  judgedUpdate,
  type Restraint,
  restraintOf,
  type Share,
  sameShare,
} from "./judging.ts";
import type { ParameterLayout, TensorSlot } from "./layout.ts";
import { scaledUpdate } from "./update-traits.ts";

export interface RoundTerms {
  readonly layout: ParameterLayout;
  /** The tensor, the layout's last, whose rows updates may lack. */
  readonly rowsOf: TensorSlot | undefined;
  /** Undefined: every update counts whole. */
  readonly defence: DefenceChoice | undefined;
}

interface Summed {
  readonly weight: number;
  /** Kept where there is a defence, to be scaled by what comes later. */
  readonly update: GridUpdate | undefined;
  readonly judged: JudgedUpdate | undefined;
  /** What of it is in the sums. */
  share: Share;
}

export class RoundSums {
  readonly #terms: RoundTerms;
  readonly #numerators: Float64Array;
  readonly #updates = new Map<string, Summed>();
  /** At most 1024 * 2047 each; undefined where every update holds every row. */
  readonly #rowWeights: Uint32Array | undefined;
  #totalWeight = 0;
  /** Updates of which something is in the sums. */
  #counting = 0;
  /** Undefined where the sums are not of what they would say. */
  #judgements: ReadonlyMap<JudgedUpdate, Judgement> | undefined;

  constructor(terms: RoundTerms) {
    const { layout, rowsOf } = terms;
    this.#terms = terms;
    this.#numerators = new Float64Array(layout.total);
    this.#rowWeights = rowsOf === undefined ? undefined : new Uint32Array(rowsOf.shape[0]!);
  }

  /** In order of arrival. */
  get keys(): readonly string[] {
    return [...this.#updates.keys()];
  }

  get size(): number {
    return this.#updates.size;
  }

  has(key: string): boolean {
    return this.#updates.has(key);
  }

  /** The caller has checked that `key` is new and `weight` within bounds. */
  add(key: string, update: GridUpdate, weight: number, payload: string): void {
    const { layout, rowsOf, defence } = this.#terms;
    const judged = defence && judgedUpdate(update, { key, payload, weight }, layout, rowsOf, defence);
    this.#updates.set(key, { weight, update: judged && update, judged, share: "whole" });
    this.#judgements = undefined;
    this.#sum(update, weight);
  }

  /** Takes back exactly what was added; false where it was not. */
  remove(key: string, update: GridUpdate): boolean {
    const summed = this.#updates.get(key);
    if (summed === undefined) return false;
    this.#updates.delete(key);
    this.#judgements = undefined;
    this.#sumShare(update, summed.share, -summed.weight);
    return true;
  }

  /** What the defence takes from the updates that are there now, by key; nothing is said of those that count whole. */
  restraints(): readonly Restraint[] {
    return [...(this.#settled() ?? [])]
      .flatMap(([judged, judgement]) => restraintOf(judged, judgement) ?? [])
      .sort((a, b) => (a.key < b.key ? -1 : 1));
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
    this.#settled();
    if (this.#totalWeight === 0) return body;
    const { rowsOf } = this.#terms;
    const next = allocate(body.length);
    if (rowsOf === undefined || this.#rowWeights === undefined) {
      const rate = Math.min(outerLearningRate, this.#counting);
      this.#fold(body, next, 0, body.length, this.#totalWeight, rate);
      return next;
    }
    const { offset } = rowsOf;
    const width = rowsOf.shape[1]!;
    this.#fold(body, next, 0, offset, this.#totalWeight);
    for (let row = 0, from = offset; row < this.#rowWeights.length; row++, from += width) {
      const weight = this.#rowWeights[row]!;
      if (weight > 0) this.#fold(body, next, from, from + width, weight);
      else next.set(body.subarray(from, from + width), from);
    }
    return next;
  }

  /** Makes the sums those of what the defence leaves of each update. */
  #settled(): ReadonlyMap<JudgedUpdate, Judgement> | undefined {
    const { defence } = this.#terms;
    if (defence === undefined || this.#judgements !== undefined) return this.#judgements;
    const judgements = judge(
      [...this.#updates.values()].map(({ judged }) => judged!),
      defence,
    );
    for (const summed of this.#updates.values()) {
      const { share } = judgements.get(summed.judged!)!;
      if (sameShare(summed.share, share)) continue;
      this.#sumShare(summed.update!, summed.share, -summed.weight);
      this.#sumShare(summed.update!, share, summed.weight);
      summed.share = share;
    }
    this.#judgements = judgements;
    return judgements;
  }

  #sumShare(update: GridUpdate, share: Share, weight: number): void {
    if (share === "nothing") return;
    this.#sum(share === "whole" ? update : scaledUpdate(update, this.#terms.layout, share), weight);
  }

  #sum(update: GridUpdate, weight: number): void {
    addUpdate(this.#numerators, update, weight);
    this.#totalWeight += weight;
    this.#counting += Math.sign(weight);
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
