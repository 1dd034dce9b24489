// The books of local training: which round, how many of its steps, what they have seen. Does no arithmetic on parameters.

/** What the round in progress has seen so far. A type, not an interface: it is stored as JSON. */
export type RoundProgress = {
  /** -1 before the first round. */
  round: number;
  step: number;
  tokens: number;
  bytes: number;
  nats: number;
  computeMs: number;
  /** Embedding warm-up steps done: a newcomer warms up once in its life. */
  warmUpSteps: number;
  /** Over this peer's life. */
  totalTokens: number;
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
}

export const FRESH: RoundProgress = {
  round: -1,
  step: 0,
  tokens: 0,
  bytes: 0,
  nats: 0,
  computeMs: 0,
  warmUpSteps: 0,
  totalTokens: 0,
};

export function beginRound(progress: RoundProgress, round: number): void {
  progress.round = round;
  progress.step = 0;
}

/** What was seen is part of an update that is published, or comes to nothing. */
export function forgetTally(progress: RoundProgress): void {
  Object.assign(progress, { tokens: 0, bytes: 0, nats: 0, computeMs: 0 });
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
  for (const sum of ["tokens", "bytes", "nats", "computeMs"] as const) progress[sum] += handed[sum];
  if (round !== handed.round) return;
  progress.round = round;
  progress.step = Math.min(localSteps, handed.step + progress.step);
}
