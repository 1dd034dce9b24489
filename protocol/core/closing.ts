// When a round is over: all that are waited for are in, or the deadline has passed with a quorum, or the run's limit
// has. And whether the closed bodies agree.
import { closedBodyVerdict } from "./agreement.ts";
import { drawnOf } from "./cohort.ts";
import { deadlineMs, withDuration } from "./deadline.ts";
import { askAround } from "./heartbeat.ts";
import { forgetClosed } from "./intake.ts";
import { askToOpen, beginRound, startSync } from "./joining.ts";
import { expectedAuthors, quorumOf, withClosedRoot } from "./membership.ts";
import type { EventOf } from "./round-events.ts";
import type { RoundState } from "./round-state.ts";
import { reachOf } from "./rules.ts";
import { isCounting, isPendingIn } from "./surplus.ts";
import { change, note, type Turn } from "./turn.ts";
import type { PeerId } from "./types.ts";

/**
 * No round is shorter: twice the gap between presences, so that what a peer last said of itself is at most a round old,
 * and few enough a second for the rates that messages are held to.
 */
export const MIN_ROUND_MS = 500;

/** The moment of this round's deadline, on the clock of `nowMs`. */
export const deadlineAtMs = ({ roundStartsMs, round, startedMs, pace, rules }: RoundState): number =>
  (roundStartsMs.get(round) ?? startedMs) + deadlineMs(pace, rules.maxRoundMs);

/** Peers whose update of the round is waited for and not in yet. */
export function missingAuthors(state: RoundState, round: number, nowMs: number): PeerId[] {
  const counted = state.counted.get(round);
  const newestUpdate = (author: PeerId) => {
    let newest: number | undefined;
    for (const [made, authors] of state.counted)
      if (authors.has(author)) newest = Math.max(made, newest ?? 0);
    return newest;
  };
  const expected = expectedAuthors(state.members, round, reachOf(state.rules), newestUpdate, nowMs);
  const { cohort } = state.rules;
  const missing = expected.filter((author) => !counted?.has(author));
  if (missing.length + (counted?.size ?? 0) <= cohort.size) return missing;
  const drawn = drawnOf(cohort, round, [...missing, ...(counted?.keys() ?? [])]);
  return missing.filter((author) => drawn.has(author));
}

/** Phase `collecting`. */
export function closeWhenComplete(turn: Turn) {
  const { state, nowMs } = turn;
  if (state.busy !== undefined || state.sync !== undefined) return;
  const { round, rules, members, roundStartsMs, startedMs } = state;
  const roundStartMs = roundStartsMs.get(round) ?? startedMs;
  if (nowMs - roundStartMs < MIN_ROUND_MS) return;
  // What is here counts as soon as this peer has come to it: whoever is slow at that comes late, but with the others' body.
  if (isCounting(state, round, roundStartMs + rules.maxRoundMs)) return;
  if (nowMs - roundStartMs >= rules.maxRoundMs) return askToOpen(turn, round + 1);
  // A peer's inventory is on its way and may show what is missing.
  if (state.reconciling.size > 0) return;
  const complete = !isPendingIn(state, round) && missingAuthors(state, round, nowMs).length === 0;
  if (complete) {
    // Those who have closed this round already say with what, so that it closes here with the same.
    const asking = askAround(turn, state.phaseSinceMs, ({ closedRound }) => closedRound > round);
    return asking ? undefined : askToOpen(turn, round + 1);
  }
  if (nowMs < deadlineAtMs(state)) return;
  const updates = state.counted.get(round)?.size ?? 0;
  if (updates < quorumOf(members, round - reachOf(rules), rules, nowMs)) return;
  // Not without having asked around: what was lost on the way to us may be with the others.
  if (!askAround(turn, state.phaseSinceMs)) askToOpen(turn, round + 1);
}

export function onOpened(turn: Turn, { round, roots }: EventOf<"opened">) {
  const { state, nowMs } = turn;
  const applied = round - 1;
  const startedMs = state.roundStartsMs.get(applied) ?? nowMs;
  note(turn, {
    type: "round-applied",
    round: applied,
    root: roots.root,
    updates: state.counted.get(applied)?.size ?? 0,
    durationMs: nowMs - startedMs,
    missing: missingAuthors(state, applied, nowMs),
  });
  const collected = state.phase === "collecting";
  change(turn, {
    busy: undefined,
    round,
    roots,
    closedRoots: withClosedRoot(state.closedRoots, roots.closedRound, roots.closedRoot),
    roundStartsMs: new Map(state.roundStartsMs).set(round, nowMs),
    pace: collected ? withDuration(state.pace, nowMs - startedMs) : state.pace,
  });
  forgetClosed(turn);
  if (collected) beginRound(turn);
}

/** Votes on closed bodies, and heals where this peer is outvoted. */
export function watchAgreement(turn: Turn) {
  const { state, nowMs } = turn;
  if (state.sync !== undefined || state.busy !== undefined) return;
  const verdict = closedBodyVerdict(state, nowMs);
  if (verdict.outcome !== "outvoted") return;
  const { closedRound, root: plurality, donors } = verdict;
  note(turn, { type: "diverged", closedRound, own: state.closedRoots.get(closedRound)!, plurality });
  const camp = donors.map((donor) => state.members.get(donor)!);
  startSync(turn, "diverged", camp);
}
