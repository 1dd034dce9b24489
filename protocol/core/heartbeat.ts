// Presence: what others say, what is said to them, and who has fallen silent. A presence that shows other updates
// than ours starts anti-entropy: the one that lacks something asks.
import { RANKS } from "./cohort.ts";
import { cadenceOf, ENOUGH_MS, withSeldom } from "./crowd.ts";
import {
  ACTIVE_MS,
  activeUntilMs,
  isActive,
  isParticipating,
  type Member,
  PRESENCE_INTERVAL_MS,
  withPresence,
} from "./membership.ts";
import type { EventOf } from "./round-events.ts";
import type { RoundState } from "./round-state.ts";
import { reachOf } from "./rules.ts";
import { ask, change, note, type Turn } from "./turn.ts";
import { NO_BODY, type Phase, type Presence } from "./types.ts";

/** Changes of phase, round or body are told at once, but not faster than this. */
const PRESENCE_GAP_MS = 250;
/** How often a peer finds out anew how often it has to speak: where it is to look at hundreds less often. */
const LOOK_AROUND_MS = 1_000;
const LOOK_AT_MANY_MS = 4_000;
const MANY_MEMBERS = 64;
const NEWCOMER_MS = 5_000;
/**
 * Who starts with so many connections listens for so long before its first word, or half of it, by its rank: those that a large
 * swarm needs to hear are heard first, and the others find out that they are not needed.
 */
const MANY_CONNECTIONS = 8;
const FIRST_WORD_MS = 4_000;
/** Of hundreds not everyone is asked before a round is closed without some: what eight others do not know hardly anyone does. */
const ASKED_OF_MANY = 8;
const SELDOM = "seldom";
/** Between two inventory requests to one peer; what pubsub delivers needs none. */
const RECONCILE_INTERVAL_MS = 1_000;
const CONCURRENT_RECONCILIATIONS = 4;

export function onPresence(turn: Turn, event: EventOf<"presence">) {
  const { presence, sameUpdates } = event;
  const { state, nowMs } = turn;
  if (presence.author === state.self) return;
  const before = state.members.get(presence.author);
  const members = withPresence(state.members, presence, nowMs, state.rules.mostMembers);
  if (members === state.members) return;
  change(turn, { members, crowd: withSeldom(state.crowd, presence, before, nowMs) });
  const wasThere = before !== undefined && isActive(before, nowMs);
  const { author: peer, name, round } = presence;
  if (presence.leaving) {
    if (wasThere) note(turn, { type: "peer-left", peer, name, said: true });
    return;
  }
  if (!wasThere) {
    note(turn, { type: "peer-joined", peer, name, round });
    change(turn, { newcomerMs: nowMs });
  }
  // Where a round's updates are just coming in everyone differs from everyone: to ask one of many says as much as to ask each.
  const waits = members.size > MANY_MEMBERS && nowMs - state.reconcileMs < RECONCILE_INTERVAL_MS;
  if (!waits && lacksSomething(state, members.get(peer)!, sameUpdates)) reconcile(turn, peer);
}

export function onReconciled(turn: Turn, { peer }: EventOf<"reconciled">) {
  const reconciling = new Set(turn.state.reconciling);
  reconciling.delete(peer);
  change(turn, { reconciling });
}

/** Marks peers as gone that have been silent too long. */
export function noticeSilence(turn: Turn) {
  const { members, quietUntilMs } = turn.state;
  if (turn.nowMs < quietUntilMs) return;
  let silent: Member[] | undefined;
  // Whoever is heard from now on is there for as long at least.
  let nextMs = turn.nowMs + ACTIVE_MS;
  for (const member of members.values()) {
    if (member.left) continue;
    const untilMs = activeUntilMs(member);
    if (untilMs > turn.nowMs) nextMs = Math.min(nextMs, untilMs);
    else silent = [...(silent ?? []), member];
  }
  change(turn, { quietUntilMs: nextMs });
  if (silent === undefined) return;
  let next = members;
  for (const member of silent) {
    const { author: peer, name } = member.presence;
    next = next.with(peer, { ...member, left: true });
    note(turn, { type: "peer-left", peer, name, said: false });
  }
  change(turn, { members: next });
}

export function tellPresence(turn: Turn) {
  if (turn.state.phase === "done") return;
  lookAround(turn);
  if (listens(turn)) return;
  const { told, cadence } = turn.state;
  const sinceMs = turn.nowMs - told.atMs;
  const what = standing(turn.state);
  const changed = what !== told.what && sinceMs >= PRESENCE_GAP_MS;
  if (!changed && sinceMs < (cadence.intervalMs ?? PRESENCE_INTERVAL_MS)) return;
  // Those that fall silent together speak again one by one.
  const falls = what === SELDOM && told.what !== SELDOM;
  const aheadMs = falls ? cadence.intervalMs! * lotOf(turn.state) : 0;
  change(turn, { told: { atMs: turn.nowMs - aheadMs, what } });
  // Hardly anyone knows of a newcomer yet, and a large swarm can wait.
  if (falls && turn.nowMs - turn.state.startedMs < NEWCOMER_MS) return;
  ask(turn, { type: "send-presence", leaving: false });
}

/** A peer that has just connected hears where we stand without waiting for the interval. */
export function onPeerConnected(turn: Turn) {
  const { told, cadence, members, met } = turn.state;
  change(turn, { met: met + 1 });
  if (cadence.intervalMs === undefined && members.size <= MANY_MEMBERS)
    change(turn, { told: { ...told, what: "" } });
}

const listens = ({ state, nowMs }: Turn): boolean =>
  state.met >= MANY_CONNECTIONS && nowMs - state.startedMs < (FIRST_WORD_MS * (1 + lotOf(state))) / 2;

/** Finds out anew how often this peer has to speak: in every round, and as the swarm grows and shrinks. */
function lookAround(turn: Turn) {
  const { state, nowMs } = turn;
  const { self, round, rules, members, crowd, cadence, roundStartsMs, startedMs, told } = state;
  const sitsOut = state.satOutRound === round;
  const isKnown = cadence.round === round && !(sitsOut && cadence.intervalMs === undefined);
  if (isKnown && nowMs - cadence.atMs < lookEveryMs(turn)) return;
  const ageMs = nowMs - (roundStartsMs.get(round) ?? startedMs);
  const next = cadenceOf({ self, cohort: rules.cohort, round, ageMs, sitsOut, members, crowd }, nowMs);
  change(turn, { cadence: next });
  if (told.what !== SELDOM || cadence.intervalMs === undefined || next.intervalMs === undefined) return;
  // The share of the interval that has passed stays: thousands that think the swarm larger all at once go on speaking in turn.
  const sinceMs = ((nowMs - told.atMs) * next.intervalMs) / cadence.intervalMs;
  change(turn, { told: { ...told, atMs: nowMs - sinceMs } });
}

function lookEveryMs({ state: { members, startedMs, cadence }, nowMs }: Turn): number {
  const isNews = members.size > MANY_MEMBERS && members.size > 2 * cadence.size;
  if (isNews || nowMs - startedMs < NEWCOMER_MS) return PRESENCE_GAP_MS;
  return members.size > MANY_MEMBERS && nowMs - startedMs > ENOUGH_MS ? LOOK_AT_MANY_MS : LOOK_AROUND_MS;
}

/** Asks near peers that were not asked since `sinceMs` for their updates; false where there is nobody left to ask. */
export function askAround(
  turn: Turn,
  sinceMs: number,
  whom: (presence: Presence) => boolean = () => true,
): boolean {
  const { members, reconciledMs, round, rules } = turn.state;
  let most = Number.POSITIVE_INFINITY;
  if (members.size > MANY_MEMBERS) {
    most = ASKED_OF_MANY;
    for (const askedMs of reconciledMs.values()) if (askedMs >= sinceMs) most--;
  }
  for (const member of members.values()) {
    if (turn.state.reconciling.size >= most) break;
    const { author, round: theirs } = member.presence;
    const near = Math.abs(theirs - round) <= reachOf(rules) && isParticipating(member, turn.nowMs);
    const askedMs = reconciledMs.get(author) ?? Number.NEGATIVE_INFINITY;
    if (near && whom(member.presence) && askedMs < sinceMs) reconcile(turn, author);
  }
  return turn.state.reconciling.size > 0;
}

/** What is news to the others. Of a peer that speaks seldom nothing is but that it does. */
const standing = (state: RoundState): string => {
  const { round, roots, cadence } = state;
  return cadence.intervalMs === undefined
    ? `${phaseToTell(state)}/${round}/${roots.root}/${roots.closedRoot}`
    : SELDOM;
};

/**
 * Who gives up its body at the end of the run has no vote meanwhile: else two camps whose members take long to move would
 * each see the other as the larger one, and swap places for ever.
 */
export const phaseToTell = ({ phase, sync }: RoundState): Phase =>
  phase === "settling" && sync !== undefined ? "syncing" : phase;

/** 0 to 1, another in every round. */
const lotOf = ({ rules: { cohort }, round, self }: RoundState): number => cohort.rank(round, self) / RANKS;

/** Whether `member` may hold updates of rounds that are open here and that we lack. */
function lacksSomething(
  { round, roots, rules }: RoundState,
  { presence }: Member,
  sameUpdates: boolean | undefined,
) {
  if (presence.closedRoot === NO_BODY || roots.closedRoot === NO_BODY) return false;
  if (Math.abs(presence.round - round) > reachOf(rules)) return false;
  // It has closed what is still open here: its closed body must be the one we are training from.
  if (presence.closedRound === round && presence.closedRoot !== roots.root) return true;
  return sameUpdates === false;
}

function reconcile(turn: Turn, peer: string) {
  const { reconciling, reconciledMs, roots } = turn.state;
  if (reconciling.has(peer) || reconciling.size >= CONCURRENT_RECONCILIATIONS) return;
  const lastMs = reconciledMs.get(peer);
  if (lastMs !== undefined && turn.nowMs - lastMs < RECONCILE_INTERVAL_MS) return;
  change(turn, {
    reconciling: new Set(reconciling).add(peer),
    reconciledMs: reconciledMs.with(peer, turn.nowMs),
    reconcileMs: turn.nowMs,
  });
  ask(turn, { type: "reconcile", peer, fromRound: roots.closedRound });
}
