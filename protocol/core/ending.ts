// The end of the run: who is waited for before a peer leaves, what becomes of whoever comes too late, and what it is told.
import { isFresh, isParticipating, type Member } from "./membership.ts";
import type { RoundState } from "./round-state.ts";
import { isCounting } from "./surplus.ts";
import { ask, enterPhase, note, type Turn } from "./turn.ts";
import { NO_BODY } from "./types.ts";

/** A finished peer serves others so long before it goes although some do not agree yet and nothing changes about them. */
export const SETTLE_MS = 60_000;
/** Nor does it go the moment that someone falls silent: a restart, or a few lost presences, take no longer. */
const SILENT_MS = 30_000;
/** What a peer does between two of its presences that differ may take so long. */
const STILL_MS = 180_000;
/** Whoever gets on is waited for longer, so long at most, or a round where that is more. */
const LONGEST_SETTLE_MS = 600_000;

/**
 * Whether the run has ended without this peer: some have left with its last body, and of the others most hold it as well. An
 * update made now would count with those alone that are still there.
 */
export function isOver({ members, phase: own, rules: { rounds } }: RoundState, nowMs: number): boolean {
  if (rounds === undefined) return false;
  let ended = 0;
  let settling = own === "settling" ? 1 : 0;
  let underWay = 1 - settling;
  for (const member of members.values()) {
    const { leaving, round, phase } = member.presence;
    if (leaving && round >= rounds) ended++;
    else if (isParticipating(member, nowMs)) underWay++;
    else if (phase === "settling" && isFresh(member, nowMs)) settling++;
  }
  return ended > 0 && ended + settling >= underWay;
}

/**
 * Whether those who have ended the run left with the body that this peer holds. Then it counts nothing new: whoever goes on sending
 * updates of the last rounds would part those that are still there from those that are not.
 */
export function holdsLastBody(state: RoundState, nowMs: number): boolean {
  if (state.phase !== "settling" || !isOver(state, nowMs)) return false;
  let balance = 0;
  let same = 0;
  for (const { presence } of state.members.values()) {
    if (!presence.leaving || presence.round !== state.round) continue;
    const isSame = presence.root === state.roots.root;
    balance += isSame ? 1 : -1;
    if (isSame) same++;
  }
  return same > 0 && balance >= 0;
}

/** On its way to a body, or through rounds. */
const isWorking = ({ presence: { phase } }: Member): boolean => phase !== "waiting" && phase !== "done";

/** Phase `settling`: go when all that are there hold the same body or have gone on, or time is up. */
export function leaveWhenSettled(turn: Turn) {
  const { state, nowMs } = turn;
  if (state.sync !== undefined) return;
  const waitedMs = nowMs - state.phaseSinceMs;
  const unsettled = [...state.members.values()].filter(({ seenMs, presence: { round, root, leaving } }) => {
    if (leaving || nowMs - seenMs >= SILENT_MS) return false;
    return round < state.round || (round === state.round && root !== state.roots.root);
  });
  const isOpen = unsettled.length > 0 || state.wanted.size > 0;
  if (isOpen && waitedMs < SETTLE_MS) return;
  // Who is slow comes to the same body, as long as there is somebody to have it from.
  const getsOn =
    isCounting(state, state.round) ||
    unsettled.some((member) => isWorking(member) && nowMs - member.movedMs < STILL_MS);
  if (getsOn && waitedMs < Math.max(LONGEST_SETTLE_MS, state.rules.maxRoundMs)) return;
  sayApart(turn);
  enterPhase(turn, "done");
  ask(turn, { type: "send-presence", leaving: true }, { type: "finish", reason: "completed" });
}

/** Whoever was cut off or too slow while all others ended the run is not to think that its body is theirs. */
function sayApart(turn: Turn) {
  const { members, round, roots } = turn.state;
  const ended = [...members.values()].filter(
    ({ presence }) => presence.leaving && presence.round >= round && presence.closedRoot !== NO_BODY,
  );
  const apart = ended.filter(({ presence }) => presence.root !== roots.root);
  if (apart.length === 0 || apart.length * 2 <= ended.length) return;
  const theirs = apart[0]!.presence.root;
  note(turn, { type: "ended-apart", round, own: roots.root, theirs, peers: apart.length });
}
