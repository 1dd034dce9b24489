// The books of local training: how long a round is, which one, how many of its steps, what they have seen. Does no arithmetic on parameters.

/** The run's choices that training needs (RunConfig.training and the sequence of the schedule). */
export interface RoundPlan {
  readonly localSteps: number;
  readonly momentsAcrossRounds: "keep" | "reset";
  /** Write a checkpoint inside a round at least this often. */
  readonly checkpointIntervalMs: number;
}

/** What the round in progress has seen so far. A type, not an interface: it is stored as JSON. */
export type RoundProgress = {
  /** -1 before the first round. */
  round: number;
  step: number;
  tokens: number;
  bytes: number;
  nats: number;
  computeMs: number;
  /** Time in which there was nothing to do: every step taken, and the next round's body not known. */
  idleMs: number;
  /** Embedding warm-up steps done: a newcomer warms up once in its life. */
  warmUpSteps: number;
  /** Over this peer's life. */
  totalTokens: number;
  /** Of these steps, such as moved nothing: in float16 the loss was scaled too far for them. Over this peer's life, warm-up included. */
  skippedSteps: number;
};

/** The round whose result was handed out last, while steps of the next one are taken ahead. */
export interface HandedRound {
  /** What its progress counts from. */
  readonly start: Float32Array;
  readonly progress: RoundProgress;
}

export interface RoundResult {
  /** theta_start - theta_end over the held array. */
  readonly delta: Float32Array;
  readonly tokens: number;
  readonly bytes: number;
  readonly lossNatsPerToken: number;
  readonly bitsPerByte: number;
  readonly computeMs: number;
  readonly idleMs: number;
}

export const FRESH: RoundProgress = {
  round: -1,
  step: 0,
  tokens: 0,
  bytes: 0,
  nats: 0,
  computeMs: 0,
  idleMs: 0,
  warmUpSteps: 0,
  totalTokens: 0,
  skippedSteps: 0,
};

export function beginRound(progress: RoundProgress, round: number): void {
  progress.round = round;
  progress.step = 0;
}

/** What training has seen, as sums. */
export type Tally = Pick<RoundProgress, "tokens" | "bytes" | "nats" | "computeMs">;

export function addTally(sums: Tally, seen: Tally): void {
  sums.tokens += seen.tokens;
  sums.bytes += seen.bytes;
  sums.nats += seen.nats;
  sums.computeMs += seen.computeMs;
}

/** What was seen is part of an update that is published, or comes to nothing. */
export function forgetTally(progress: RoundProgress): void {
  Object.assign(progress, { tokens: 0, bytes: 0, nats: 0, computeMs: 0, idleMs: 0 });
}

/**
 * What was `handed` out has not been published: together with what came after it, it is still to be. Where `round` is that
 * very round again it all becomes progress of it, which has no more steps than a round has.
 */
export function takeBack(
  progress: RoundProgress,
  handed: RoundProgress,
  round: number,
  localSteps: number,
): void {
  addTally(progress, handed);
  progress.idleMs += handed.idleMs;
  if (round !== handed.round) return;
  progress.round = round;
  progress.step = Math.min(localSteps, handed.step + progress.step);
}

/** How long nothing was to do, between two things. Before the first one that ended nothing is counted. */
export class IdleTime {
  readonly #nowMs: () => number;
  #sinceMs: number | undefined;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  begin(): void {
    this.#sinceMs = this.#nowMs();
  }

  /** Milliseconds since it began. */
  end(): number {
    const ms = this.#sinceMs === undefined ? 0 : this.#nowMs() - this.#sinceMs;
    this.#sinceMs = undefined;
    return ms;
  }
}
