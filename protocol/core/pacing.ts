// Pacing: a peer that is slower than most makes its update of the steps it has, in time to count in its round. Decides
// when; what an update of few steps weighs is run-config.ts's.
import { deadlineAtMs, missingAuthors } from "./closing.ts";
import { transferMs } from "./deadline.ts";
import { isParticipating } from "./membership.ts";
import type { RoundState } from "./round-state.ts";
import { reachOf } from "./rules.ts";
import { ask, change, type Turn } from "./turn.ts";

/** Phase `training`. */
export function endWhenOthersWait(turn: Turn) {
  const { state, nowMs } = turn;
  const { rules, cutShort, busy, step, round, pace } = state;
  if (!rules.pacing || cutShort || busy !== undefined || step < 1) return;
  if (nowMs < deadlineAtMs(state) - transferMs(pace) || !mostAreDone(state, nowMs)) return;
  change(turn, { cutShort: true });
  ask(turn, { type: "end-training", round });
}

/**
 * Whether half of the others that make an update of the round, and one at the least, have trained it. However short rounds
 * were before: so many have taken all their steps, or waited for others that have.
 */
function mostAreDone(state: RoundState, nowMs: number): boolean {
  const { members, self, round, rules, counted, wanted } = state;
  const done = new Set(counted.get(round)?.keys());
  for (const { id } of wanted.values()) if (id.round === round) done.add(id.author);
  for (const member of members.values()) {
    const { author, round: theirs } = member.presence;
    const near = theirs <= round + reachOf(rules) && isParticipating(member, nowMs);
    if (near && theirs > round) done.add(author);
  }
  done.delete(self);
  const missing = missingAuthors(state, round, nowMs).filter((author) => !done.has(author));
  return done.size > 0 && done.size >= missing.length;
}
