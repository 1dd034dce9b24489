// The body as a function of a set of updates: whoever knows the same updates holds the same bits.
//   mean_r[j]   = floor( sum_i w_i q_i[j] / sum_i w_i + 1/2 )  on the grid, exact sums (see grid.ts)
//   theta_{r+1} = fround( theta_r - mean_r * 2^-30 )           folded over the open rounds in order
// Owns sums and folding. Which updates count is decided elsewhere (update-set.ts, round.ts).
import { LengthMismatchError, RoundNotHeldError, WeightError } from "../errors.ts";
import { addUpdate, GRID_UNITS, type GridUpdate, MAX_UPDATE_WEIGHT, MAX_UPDATES_PER_ROUND } from "./grid.ts";
import type { ParameterLayout } from "./layout.ts";

/** The weighted sums of one open round. */
interface OpenRound {
  readonly numerators: Float64Array;
  /** Weight by update key. */
  readonly weights: Map<string, number>;
  totalWeight: number;
}

/**
 * What became of an update: `closed` its round is folded already, `too-early` it lies beyond the open rounds,
 * `full` the round counts 1,024 updates (which of them count is update-set.ts' decision, not arrival's).
 */
export type AddOutcome = "added" | "duplicate" | "closed" | "too-early" | "full";

export interface ReplicatedBodyOptions {
  /** Rounds below this one are folded into `closedBody`, the body at its start. */
  readonly closedRound: number;
  /** Not copied and never written to. */
  readonly closedBody: Float32Array;
  readonly layout: ParameterLayout;
  /** Rounds that may hold sums at once, from closedRound on. */
  readonly maxOpenRounds?: number;
}

/** The two or three rounds a run keeps open, and a fast peer's next one. */
const DEFAULT_MAX_OPEN_ROUNDS = 4;

/**
 * Memory for a body of P values: 4P bytes for the closed body, 8P for each open round that has an update, 4P for
 * each body asked for above the closed one. With two rounds open that is 28P: 2.4 GB at 85M values.
 */
export class ReplicatedBody {
  readonly #layout: ParameterLayout;
  readonly #maxOpenRounds: number;
  readonly #rounds = new Map<number, OpenRound>();
  /** Bodies at the start of rounds above the closed one. Dropped, never overwritten: callers may hold them. */
  readonly #bodies = new Map<number, Float32Array>();
  #closedRound: number;
  #closedBody: Float32Array;

  constructor(options: ReplicatedBodyOptions) {
    const { closedRound, closedBody, layout, maxOpenRounds = DEFAULT_MAX_OPEN_ROUNDS } = options;
    if (closedBody.length !== layout.total) {
      throw new LengthMismatchError("The closed body", layout.total, closedBody.length);
    }
    this.#layout = layout;
    this.#maxOpenRounds = maxOpenRounds;
    this.#closedRound = closedRound;
    this.#closedBody = closedBody;
  }

  /** The first open round. */
  get closedRound(): number {
    return this.#closedRound;
  }

  /** The body at the start of the first open round. Read-only. */
  get closedBody(): Float32Array {
    return this.#closedBody;
  }

  /** Keys of the updates counted in `round`, in order of arrival. */
  updateKeys(round: number): readonly string[] {
    return [...(this.#rounds.get(round)?.weights.keys() ?? [])];
  }

  /** Counts an update in its round, once. `key` names it (updateKey in update-set.ts); `weight` is 1 to 2047. */
  add(round: number, key: string, update: GridUpdate, weight: number): AddOutcome {
    if (update.length !== this.#layout.total) {
      throw new LengthMismatchError("The update", this.#layout.total, update.length);
    }
    if (!Number.isInteger(weight) || weight < 1 || weight > MAX_UPDATE_WEIGHT) throw new WeightError(weight);
    if (round < this.#closedRound) return "closed";
    if (round >= this.#closedRound + this.#maxOpenRounds) return "too-early";
    const open = this.#rounds.get(round) ?? this.#open(round);
    if (open.weights.has(key)) return "duplicate";
    if (open.weights.size >= MAX_UPDATES_PER_ROUND) return "full";
    addUpdate(open.numerators, update, weight);
    open.weights.set(key, weight);
    open.totalWeight += weight;
    this.#forgetBodiesAfter(round);
    return "added";
  }

  /**
   * Takes back an update that was counted (another one of the same author wins). The caller passes what it added.
   * False, and nothing changes, where the round is not open or does not count it.
   */
  remove(round: number, key: string, update: GridUpdate): boolean {
    const open = this.#rounds.get(round);
    const weight = open?.weights.get(key);
    if (open === undefined || weight === undefined) return false;
    addUpdate(open.numerators, update, -weight);
    open.weights.delete(key);
    open.totalWeight -= weight;
    this.#forgetBodiesAfter(round);
    return true;
  }

  /**
   * The body at the start of `round`, which is closedRound or above: all updates counted in the rounds before it,
   * applied. Cached; the array is shared, read-only, and stays as it is when later updates change the body.
   */
  bodyAt(round: number): Float32Array {
    const newest = this.#closedRound + this.#maxOpenRounds;
    if (!Number.isInteger(round) || round < this.#closedRound || round > newest) {
      throw new RoundNotHeldError(round, this.#closedRound, newest);
    }
    let body = this.#closedBody;
    for (let at = this.#closedRound; at < round; at++) {
      const known = this.#bodies.get(at + 1);
      body = known ?? applyMean(body, this.#rounds.get(at));
      if (known === undefined) this.#bodies.set(at + 1, body);
    }
    return body;
  }

  /** Folds `round` and all before it into the closed body for good. Later updates to them are refused. */
  closeThrough(round: number): void {
    if (round < this.#closedRound) return;
    this.#closedBody = this.bodyAt(round + 1);
    this.#closedRound = round + 1;
    for (const held of [...this.#rounds.keys()]) if (held <= round) this.#rounds.delete(held);
    for (const held of [...this.#bodies.keys()]) if (held <= round + 1) this.#bodies.delete(held);
  }

  #open(round: number): OpenRound {
    const open = { numerators: new Float64Array(this.#layout.total), weights: new Map(), totalWeight: 0 };
    this.#rounds.set(round, open);
    return open;
  }

  #forgetBodiesAfter(round: number): void {
    for (const held of [...this.#bodies.keys()]) if (held > round) this.#bodies.delete(held);
  }
}

/** The body after a round; the same array where the round has no updates. */
function applyMean(body: Float32Array, round: OpenRound | undefined): Float32Array {
  if (round === undefined || round.totalWeight === 0) return body;
  const { numerators, totalWeight } = round;
  const next = new Float32Array(body.length);
  const unit = 1 / GRID_UNITS;
  for (let index = 0; index < next.length; index++) {
    // The one division rounds as IEEE 754 says, everywhere alike; floor never gives the -0 that integers do not have.
    const mean = Math.floor(numerators[index]! / totalWeight + 0.5);
    next[index] = body[index]! - mean * unit;
  }
  return next;
}
