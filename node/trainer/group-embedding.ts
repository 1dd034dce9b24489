// The embedding that a group of peers shares, in the trainer. Training never stops for it: between two steps it is moved
// onto the group's new base, and at the end of a local round what was learnt since is handed out.
//   start       the base that progress counts from           theta   the embedding in the model, always training
//   handed out  delta = start - theta, remembered as `collected` = theta then
//   a new base  published: theta <- base - (collected - theta)        not: theta <- base - (start - theta)
// Knows one model and no network. Not reentrant: the round trainer runs one method at a time.
import { bitsPerByte } from "#model/eval/bits-per-byte.ts";
import type { TrainingModel } from "#model/types.ts";
import { rebase, subtract } from "./carry.ts";
import { addTally, type Tally } from "./round-progress.ts";

export type GroupProgress = {
  /** The group's round, not the run's; -1 before the first. */
  round: number;
  /** Since `start`, and since the last time progress was handed out. */
  sinceStart: Tally;
  sinceCollected: Tally;
};

export interface GroupCheckpoint {
  readonly runId: string;
  readonly progress: GroupProgress;
  /** Both absent before the first base. */
  readonly start: Float32Array | undefined;
  readonly collected: Float32Array | undefined;
}

/** As a round's result of the run, of the embedding alone. */
export interface GroupResult {
  readonly delta: Float32Array;
  readonly tokens: number;
  readonly bytes: number;
  readonly lossNatsPerToken: number;
  readonly bitsPerByte: number;
  readonly computeMs: number;
}

const nothing = (): Tally => ({ tokens: 0, bytes: 0, nats: 0, computeMs: 0 });

export class GroupEmbedding {
  readonly #runId: string;
  readonly #progress: GroupProgress = { round: -1, sinceStart: nothing(), sinceCollected: nothing() };
  #start: Float32Array | undefined;
  #collected: Float32Array | undefined;
  /** Local rounds of the run that ended since progress was last handed out. */
  #endedRounds = 0;

  /** Goes on from `checkpoint` where it is of this group. `runId` is the group's own. */
  constructor(runId: string, checkpoint?: GroupCheckpoint) {
    this.#runId = runId;
    if (checkpoint?.runId !== runId) return;
    Object.assign(this.#progress, checkpoint.progress);
    this.#start = checkpoint.start;
    this.#collected = checkpoint.collected;
  }

  /** Whether a local round has ended since progress was last handed out. */
  get isDue(): boolean {
    return this.#endedRounds > 0;
  }

  count(tally: Tally): void {
    addTally(this.#progress.sinceStart, tally);
    addTally(this.#progress.sinceCollected, tally);
  }

  roundEnded(): void {
    this.#endedRounds++;
  }

  /**
   * Moves the embedding onto the group's `base` for `round`. What was handed out counts as published, unless the round is
   * the same or `carry` says that it was not. A peer that has never been in the group takes over what the group has; at
   * round 0 that is what every member's embedding began as, so its progress since stays.
   */
  async enter(model: TrainingModel, round: number, base: Float32Array, carry: boolean): Promise<void> {
    const progress = this.#progress;
    if (this.#start === undefined) {
      if (round > 0) {
        await model.writeEmbedding(base);
        progress.sinceStart = nothing();
      }
    } else {
      const published = round !== progress.round && !carry;
      const from = (published ? this.#collected : undefined) ?? this.#start;
      if (from === this.#collected) progress.sinceStart = { ...progress.sinceCollected };
      await model.writeEmbedding(rebase(await model.readEmbedding(), from, base));
    }
    this.#start = base;
    this.#collected = undefined;
    progress.sinceCollected = { ...progress.sinceStart };
    progress.round = round;
  }

  /** Hands out what was learnt since the start. To be saved before anyone is told. */
  async collect(model: TrainingModel): Promise<GroupResult> {
    if (this.#start === undefined) throw new Error("a group's progress is asked for before its first round");
    const theta = await model.readEmbedding();
    const { tokens, bytes, nats, computeMs } = this.#progress.sinceStart;
    this.#collected = theta;
    this.#progress.sinceCollected = nothing();
    this.#endedRounds = 0;
    return {
      delta: subtract(this.#start, theta),
      tokens,
      bytes,
      lossNatsPerToken: tokens === 0 ? 0 : nats / tokens,
      bitsPerByte: bytes === 0 ? 0 : bitsPerByte(nats, bytes),
      computeMs,
    };
  }

  checkpoint(): GroupCheckpoint {
    return {
      runId: this.#runId,
      progress: structuredClone(this.#progress),
      start: this.#start,
      collected: this.#collected,
    };
  }
}
