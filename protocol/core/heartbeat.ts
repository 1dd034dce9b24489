// Presence: what others say, what is said to them, and who has fallen silent. A presence that shows other updates
// than ours starts anti-entropy: the one that lacks something asks.
import { isActive, isParticipating, type Member, withPresence } from "./membership.ts";
import type { EventOf } from "./round-events.ts";
import { type RoundState, reachOf } from "./round-state.ts";
import { ask, change, note, type Turn } from "./turn.ts";
import { NO_BODY, type Presence } from "./types.ts";

export const PRESENCE_INTERVAL_MS = 2_000;
/** Changes of phase, round or body are told at once, but not faster than this. */
const PRESENCE_GAP_MS = 250;
/** Between two inventory requests to one peer; what pubsub delivers needs none. */
const RECONCILE_INTERVAL_MS = 1_000;
const CONCURRENT_RECONCILIATIONS = 4;

export function onPresence(turn: Turn, event: EventOf<"presence">) {
  const { presence, sameUpdates } = event;
  const { state, nowMs } = turn;
  if (presence.author === state.self) return;
  const before = state.members.get(presence.author);
  const members = withPresence(state.members, presence, nowMs);
  if (members === state.members) return;
  change(turn, { members });
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
  if (lacksSomething(state, members.get(peer)!, sameUpdates)) reconcile(turn, peer);
}

export function onReconciled(turn: Turn, { peer }: EventOf<"reconciled">) {
  const reconciling = new Set(turn.state.reconciling);
  reconciling.delete(peer);
  change(turn, { reconciling });
}

/** Marks peers as gone that have been silent too long. */
export function noticeSilence(turn: Turn) {
  const { members } = turn.state;
  let silent: Member[] | undefined;
  for (const member of members.values()) {
    if (!member.left && !isActive(member, turn.nowMs)) silent = [...(silent ?? []), member];
  }
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
  const { told, phase } = turn.state;
  if (phase === "done") return;
  const sinceMs = turn.nowMs - told.atMs;
  const what = standing(turn.state);
  const changed = what !== told.what && sinceMs >= PRESENCE_GAP_MS;
  if (!changed && sinceMs < PRESENCE_INTERVAL_MS) return;
  change(turn, { told: { atMs: turn.nowMs, what } });
  ask(turn, { type: "send-presence", leaving: false });
}

/** A peer that has just connected hears where we stand without waiting for the interval. */
export function onPeerConnected(turn: Turn) {
  change(turn, { told: { ...turn.state.told, what: "" } });
}

/** Asks near peers that were not asked since `sinceMs` for their updates; false where there is nobody left to ask. */
export function askAround(
  turn: Turn,
  sinceMs: number,
  whom: (presence: Presence) => boolean = () => true,
): boolean {
  const { members, reconciledMs, round, rules } = turn.state;
  for (const member of members.values()) {
    const { author, round: theirs } = member.presence;
    const near = Math.abs(theirs - round) <= reachOf(rules) && isParticipating(member, turn.nowMs);
    const askedMs = reconciledMs.get(author) ?? Number.NEGATIVE_INFINITY;
    if (near && whom(member.presence) && askedMs < sinceMs) reconcile(turn, author);
  }
  return turn.state.reconciling.size > 0;
}

const standing = ({ phase, round, roots }: RoundState): string =>
  `${phase}/${round}/${roots.root}/${roots.closedRoot}`;

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
  });
  ask(turn, { type: "reconcile", peer, fromRound: roots.closedRound });
}
