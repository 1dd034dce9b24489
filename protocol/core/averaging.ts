// The body as a function of a set of updates: whoever knows the same updates holds the same bits.
//   mean_r[j]   = floor( sum_i w_i q_i[j] / sum_i w_i + 1/2 )  on the grid, exact sums (see grid.ts)
//   theta_{r+1} = fround( theta_r - a_r * mean_r * 2^-30 )     folded over the open rounds in order
//   a_r         = min( outer learning rate, updates of the round )
// Where updates hold rows of the embedding, both sums run over the updates that hold the row; a row that none holds keeps
// its bits. Where the run has a defence, q_i is what that leaves of it: a function of the same set (defence.ts).
// Owns what is open and what is closed; the sums are in round-sums.ts. Which updates count is decided elsewhere (update-set.ts, round.ts).
import { HeldRowsError, LengthMismatchError, RoundNotHeldError, WeightError } from "../errors.ts";
import { type GridUpdate, MAX_UPDATE_WEIGHT, MAX_UPDATES_PER_ROUND } from "./grid.ts";
import type { DefenceChoice, Restraint } from "./judging.ts";
import type { ParameterLayout, TensorSlot } from "./layout.ts";
import { RoundSums } from "./round-sums.ts";

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
  /** The tensor whose rows updates may lack, UpdateCodec.rowsOf; updates that lack rows are refused without it. */
  readonly rowsOf?: TensorSlot | undefined;
  /** 1: the mean itself. A multiple of 1/64, and 1 where `rowsOf` is given. */
  readonly outerLearningRate?: number;
  /** The run's; none where it is left out. */
  readonly defence?: DefenceChoice | undefined;
  /** Rounds that may hold sums at once, from closedRound on. */
  readonly maxOpenRounds?: number;
  /** Where new bodies lie: zeros, which other threads may read once they are made. */
  readonly allocate?: (length: number) => Float32Array;
}

/** The two or three rounds a run keeps open, and a fast peer's next one. */
const DEFAULT_MAX_OPEN_ROUNDS = 4;

/**
 * Memory for a body of P values: 4P bytes for the closed body, 8P for each open round that has an update, 4P for
 * each body asked for above the closed one. With two rounds open that is 28P: 2.4 GB at 85M values. P is the whole
 * layout: a shared embedding counts in full, whatever rows this peer holds, and in variant trim each open round has 4
 * bytes more for each row. With a defence the updates of open rounds are kept as well, about as large as their payloads:
 * 32 of int8 are 2.7 GB a round at 85M values, of int4 1.5 GB, of topk 0.1 GB; and P / 4 bytes more for each with majority.
 */
export class ReplicatedBody {
  readonly #layout: ParameterLayout;
  readonly #rowsOf: TensorSlot | undefined;
  readonly #defence: DefenceChoice | undefined;
  readonly #maxOpenRounds: number;
  readonly #outerLearningRate: number;
  readonly #allocate: (length: number) => Float32Array;
  readonly #rounds = new Map<number, RoundSums>();
  /** Bodies at the start of rounds above the closed one. Dropped, never overwritten: callers may hold them. */
  readonly #bodies = new Map<number, Float32Array>();
  #closedRound: number;
  #closedBody: Float32Array;

  constructor(options: ReplicatedBodyOptions) {
    const {
      closedRound,
      closedBody,
      layout,
      rowsOf,
      defence,
      maxOpenRounds = DEFAULT_MAX_OPEN_ROUNDS,
    } = options;
    if (closedBody.length !== layout.total) {
      throw new LengthMismatchError("The closed body", layout.total, closedBody.length);
    }
    this.#layout = layout;
    this.#rowsOf = rowsOf;
    this.#defence = defence?.rule === "none" ? undefined : defence;
    this.#maxOpenRounds = maxOpenRounds;
    this.#outerLearningRate = options.outerLearningRate ?? 1;
    this.#allocate = options.allocate ?? ((length) => new Float32Array(length));
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
    return this.#rounds.get(round)?.keys ?? [];
  }

  /**
   * Counts an update in its round, once. `key` names it (updateKey in update-set.ts); `weight` is 1 to 2047; `payload` is
   * the id of its payload, by which a defence knows copies.
   */
  add(round: number, key: string, update: GridUpdate, weight: number, payload = key): AddOutcome {
    if (update.length !== this.#layout.total) {
      throw new LengthMismatchError("The update", this.#layout.total, update.length);
    }
    if (update.heldRows !== undefined && this.#rowsOf === undefined) {
      throw new HeldRowsError("updates of this run have all rows");
    }
    if (!Number.isInteger(weight) || weight < 1 || weight > MAX_UPDATE_WEIGHT) throw new WeightError(weight);
    if (round < this.#closedRound) return "closed";
    if (round >= this.#closedRound + this.#maxOpenRounds) return "too-early";
    const open =
      this.#rounds.get(round) ??
      new RoundSums({ layout: this.#layout, rowsOf: this.#rowsOf, defence: this.#defence });
    this.#rounds.set(round, open);
    if (open.has(key)) return "duplicate";
    if (open.size >= MAX_UPDATES_PER_ROUND) return "full";
    open.add(key, update, weight, payload);
    this.#forgetBodiesAfter(round);
    return "added";
  }

  /**
   * Takes back an update that was counted (another one of the same author wins). The caller passes what it added.
   * False, and nothing changes, where the round is not open or does not count it.
   */
  remove(round: number, key: string, update: GridUpdate): boolean {
    if (this.#rounds.get(round)?.remove(key, update) !== true) return false;
    this.#forgetBodiesAfter(round);
    return true;
  }

  /** What the defence makes of the updates counted in `round` so far, by key; nothing where the round is not open. */
  restraints(round: number): readonly Restraint[] {
    return this.#rounds.get(round)?.restraints() ?? [];
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
      body = known ?? this.#rounds.get(at)?.applyTo(body, this.#allocate, this.#outerLearningRate) ?? body;
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

  #forgetBodiesAfter(round: number): void {
    for (const held of [...this.#bodies.keys()]) if (held > round) this.#bodies.delete(held);
  }
}
