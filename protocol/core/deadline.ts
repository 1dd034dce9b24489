// How long a round waits for updates: learned from when updates arrived and how long rounds took.
//   deadline = clamp( median(offsets) + 3 * 1.4826 * MAD(offsets), 0.5 m, 3 m ),   m = median(round durations)
// 1.4826 * MAD estimates a normal distribution's standard deviation and, unlike it, ignores a few outliers.

/** What has been measured, newest last. All in milliseconds. */
export interface Pace {
  /** From a round's start here to the arrival of another peer's update of that round, late ones too. */
  readonly arrivalOffsetsMs: readonly number[];
  readonly roundDurationsMs: readonly number[];
  /** From an update's announcement here to when it counts. */
  readonly transfersMs: readonly number[];
}

export const NO_PACE: Pace = { arrivalOffsetsMs: [], roundDurationsMs: [], transfersMs: [] };

/** Eight peers' last eight rounds: a swarm that gets faster or slower is followed within minutes. */
const KEPT_OFFSETS = 64;
const KEPT_DURATIONS = 8;
/** A median of fewer says little. */
const ENOUGH_OFFSETS = 3;
const MAD_TO_SIGMA = 1.4826;
const SIGMAS = 3;
/** Bounds in median round durations: neither cut off half the swarm nor wait for the dead. */
const LEAST_DURATIONS = 0.5;
const MOST_DURATIONS = 3;
/** No round on a network is worth closing faster than a second round trip across the world. */
export const LEAST_DEADLINE_MS = 500;

export const withArrival = (pace: Pace, offsetMs: number): Pace => ({
  ...pace,
  arrivalOffsetsMs: [...pace.arrivalOffsetsMs, offsetMs].slice(-KEPT_OFFSETS),
});

export const withDuration = (pace: Pace, durationMs: number): Pace => ({
  ...pace,
  roundDurationsMs: [...pace.roundDurationsMs, durationMs].slice(-KEPT_DURATIONS),
});

export const withTransfer = (pace: Pace, transferMs: number): Pace => ({
  ...pace,
  transfersMs: [...pace.transfersMs, transferMs].slice(-KEPT_OFFSETS),
});

/** How long an update takes to the others, as theirs take here; 0 while nothing is known. */
export const transferMs = ({ transfersMs }: Pace): number =>
  transfersMs.length === 0 ? 0 : median(transfersMs);

/** Milliseconds after a round's start at which a quorum suffices; `maxRoundMs` while too little is known. */
export function deadlineMs(pace: Pace, maxRoundMs: number): number {
  const known = KNOWN.get(pace);
  if (known?.maxRoundMs === maxRoundMs) return known.ms;
  const ms = computedDeadlineMs(pace, maxRoundMs);
  KNOWN.set(pace, { maxRoundMs, ms });
  return ms;
}

/** Asked at every event of a peer that collects, and the same until something has arrived. */
const KNOWN = new WeakMap<Pace, { readonly maxRoundMs: number; readonly ms: number }>();

function computedDeadlineMs({ arrivalOffsetsMs, roundDurationsMs }: Pace, maxRoundMs: number): number {
  if (arrivalOffsetsMs.length < ENOUGH_OFFSETS || roundDurationsMs.length === 0) return maxRoundMs;
  const middle = median(arrivalOffsetsMs);
  const spread = median(arrivalOffsetsMs.map((offset) => Math.abs(offset - middle)));
  const duration = median(roundDurationsMs);
  const wished = middle + SIGMAS * MAD_TO_SIGMA * spread;
  const bounded = Math.min(Math.max(wished, LEAST_DURATIONS * duration), MOST_DURATIONS * duration);
  return Math.min(Math.max(bounded, LEAST_DEADLINE_MS), maxRoundMs);
}

/** Of at least one value. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[upper]! : (sorted[upper - 1]! + sorted[upper]!) / 2;
}
