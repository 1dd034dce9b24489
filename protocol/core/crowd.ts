// How large the swarm is and how often a peer must be heard in it. A heartbeat reaches everyone, so in a swarm beyond the cohort
// most peers speak seldom, and say how seldom: what anyone hears in a second then does not grow with the swarm. From that
// the swarm's size follows, though nobody knows all peers. Pure arithmetic over state.
import { type Cohort, drawnBefore, marginOf, RANKS } from "./cohort.ts";
import { isActive, isFresh, type Member, type Members, PRESENCE_INTERVAL_MS } from "./membership.ts";
import type { PeerId, Presence } from "./types.ts";

/** What has been heard of those that speak seldom. */
export interface Crowd {
  /** Since when it is listened, and when `sumMs` was last brought up to date. */
  readonly sinceMs: number;
  readonly atMs: number;
  /** Intervals of the presences heard, each decaying with WINDOW_MS. */
  readonly sumMs: number;
  /** Intervals last announced, newest last. */
  readonly intervalsMs: readonly number[];
}

/** Together the others beyond the cohort are heard so often: a quarter of what 32 peers at full rate are. */
const SELDOM_PER_SECOND = 4;
const LEAST_SELDOM_MS = 2 * PRESENCE_INTERVAL_MS;
/** An hour: beyond 14,000 peers what is heard grows with them, slowly. The wire allows no more. */
export const MAX_PRESENCE_INTERVAL_MS = 3_600_000;
/** Some 500 presences: the estimate's error is 5%. */
const WINDOW_MS = 120_000;
/** Before it has listened so long a peer believes what others say of the swarm's size, too. */
export const ENOUGH_MS = 60_000;
/**
 * A peer that has not listened enough speaks no more often than this, once it speaks seldom: where thousands start together, each
 * would take the swarm for the few it has heard so far. Who announces no more says nothing of the swarm's size.
 */
const FIRST_SELDOM_MS = 30_000;
const KEPT_INTERVALS = 15;
/** From fewer nothing follows: of a large swarm so many are heard in a second, and one liar may be them all. */
const FEW_INTERVALS = 4;
/** A presence counts at most this many times the median of what others announce: one liar is a few peers, not a thousand. */
const MOST_OF_MEDIAN = 4;

export const newCrowd = (nowMs: number): Crowd => ({
  sinceMs: nowMs,
  atMs: nowMs,
  sumMs: 0,
  intervalsMs: [],
});

/** A presence of a peer that speaks seldom was heard; `known`: what was known of it before. */
export function withSeldom(
  crowd: Crowd,
  { intervalMs }: Presence,
  known: Member | undefined,
  nowMs: number,
): Crowd {
  if (intervalMs === undefined) return crowd;
  // One that was heard at full rate until now says that it is silent from here on; one that repeats itself is not two.
  if (known !== undefined && known.presence.intervalMs === undefined) return crowd;
  // Nor does it make itself many by saying now this interval and now that one.
  const leastMs = Math.max(intervalMs, known?.presence.intervalMs ?? 0) / 2;
  if (known !== undefined && nowMs - known.seenMs < leastMs) return crowd;
  const intervalsMs = [...crowd.intervalsMs, intervalMs].slice(-KEPT_INTERVALS);
  const counts = Math.min(intervalMs, MOST_OF_MEDIAN * medianOf(intervalsMs));
  return { ...crowd, atMs: nowMs, sumMs: decayed(crowd, nowMs) + counts, intervalsMs };
}

/** Peers that take part, oneself included, as far as one can tell. Exact where all are heard at full rate. */
export function crowdSize(crowd: Crowd, members: Members, nowMs: number): number {
  let often = 1;
  let seldom = 0;
  for (const member of members.values()) {
    if (member.presence.intervalMs === undefined) {
      if (isFresh(member, nowMs)) often++;
    } else if (isActive(member, nowMs)) seldom++;
  }
  if (crowd.intervalsMs.length < FEW_INTERVALS) return often + seldom;
  const listenedMs = nowMs - crowd.sinceMs;
  // Of presences at intervals I heard in a window W each stands for I / W peers, whichever of them were heard.
  const heard = decayed(crowd, nowMs) / WINDOW_MS / (1 - Math.exp(-listenedMs / WINDOW_MS));
  if (listenedMs >= ENOUGH_MS) return often + heard;
  if (crowd.intervalsMs.length >= KEPT_INTERVALS) return often + Math.max(seldom, heard);
  const median = medianOf(crowd.intervalsMs);
  const told = median > FIRST_SELDOM_MS ? (SELDOM_PER_SECOND * median) / 1_000 : 0;
  return often + Math.max(seldom, told);
}

const decayed = ({ sumMs, atMs }: Crowd, nowMs: number): number =>
  sumMs * Math.exp(-(nowMs - atMs) / WINDOW_MS);

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

/** How often a peer speaks. `intervalMs` undefined: at full rate, as all do in swarms up to the cohort. */
export interface Cadence {
  readonly round: number;
  readonly atMs: number;
  readonly size: number;
  readonly intervalMs: number | undefined;
}

export interface CadenceOf {
  readonly self: PeerId;
  readonly cohort: Cohort;
  readonly round: number;
  /** How long this peer has stood in the round. */
  readonly ageMs: number;
  /** It has said that it makes no update of the round: nobody is to wait for one. */
  readonly sitsOut: boolean;
  readonly members: Members;
  readonly crowd: Crowd;
}

/**
 * By their ranks so many times as many may speak as are wanted; those that hear enough others before them do not. With as many as
 * are wanted, a size guessed a quarter too high would leave places empty, and hundreds make an update each to fill them.
 */
const SPEAKERS_DRAWN = 2;
/** Where fewer speak up than should, twice as many may for each such time that a round goes on. */
const SPEAK_UP_MS = 20_000;

export function cadenceOf(
  { self, cohort, round, ageMs, sitsOut, members, crowd }: CadenceOf,
  nowMs: number,
): Cadence {
  const size = crowdSize(crowd, members, nowMs);
  const wanted = cohort.size + marginOf(cohort);
  const often = { round, atMs: nowMs, size, intervalMs: undefined };
  if (size <= wanted && !sitsOut) return often;
  let speaking = 0;
  let before = 0;
  for (const [peer, member] of members) {
    if (member.presence.intervalMs !== undefined || member.presence.round < round) continue;
    if (!isFresh(member, nowMs)) continue;
    speaking++;
    if (drawnBefore(cohort, round, peer, self)) before++;
  }
  const doublings = speaking < cohort.size / 2 ? Math.floor(ageMs / SPEAK_UP_MS) : 0;
  const share = ((SPEAKERS_DRAWN * wanted) / size) * 2 ** Math.min(doublings, 40);
  if (!sitsOut && before < wanted && cohort.rank(round, self) < share * RANKS) return often;
  // Not all at the same pace, or those that began together would go on speaking together.
  const pace = 0.75 + cohort.rank(0, self) / RANKS / 2;
  const seldomMs = (pace * 1_000 * (size - cohort.size)) / SELDOM_PER_SECOND;
  const leastMs = nowMs - crowd.sinceMs < ENOUGH_MS ? FIRST_SELDOM_MS : LEAST_SELDOM_MS;
  const intervalMs = Math.round(Math.min(Math.max(seldomMs, leastMs), MAX_PRESENCE_INTERVAL_MS));
  return { ...often, intervalMs };
}

/** Rounds of training that one update carries at most, its own included, where not everyone is drawn. */
const CARRIED_ROUNDS = 4;

/**
 * Whether what is trained in `round` will be part of an update. In a swarm beyond its cohort everyone trains on, but a body that
 * has wandered for a hundred rounds on one peer's text is no help to the others: an update carries the rounds just before it,
 * and what lies further back has served the embeddings alone.
 */
export function isDrawnSoon({ rules: { cohort }, round, self, cadence: { size } }: DrawnSoonOf): boolean {
  if (size <= cohort.size) return true;
  const bound = (cohort.size / size) * RANKS;
  for (let at = round; at < round + CARRIED_ROUNDS; at++) if (cohort.rank(at, self) < bound) return true;
  return false;
}

interface DrawnSoonOf {
  readonly rules: { readonly cohort: Cohort };
  readonly round: number;
  readonly self: PeerId;
  readonly cadence: Cadence;
}
