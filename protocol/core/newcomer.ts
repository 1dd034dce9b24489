// What a peer that starts looks at: whose body it should take, and whether it could begin. Decides nothing (joining.ts
// does); reads state only.
import { campToJoin, distances, votingMembers } from "./agreement.ts";
import { active, type Member } from "./membership.ts";
import { holdsBody, type RoundState } from "./round-state.ts";
import { NO_BODY, type Presence } from "./types.ts";

/** Whose body a peer that starts should take; nobody's where it can go on from its own. */
export const campOfNewcomer = (state: RoundState, nowMs: number): readonly Member[] =>
  holdsBody(state) ? membersFurther(state, nowMs) : bodyHolders(state, nowMs);

/** Those that this peer cannot catch up with update by update; for a newcomer all beyond round 0. */
function membersFurther(state: RoundState, nowMs: number): readonly Member[] {
  const newcomer = state.round === 0 && !state.experienced;
  if (newcomer) return votingMembers(state.members, nowMs).filter(({ presence }) => presence.round > 0);
  const { ahead } = distances(state, nowMs);
  return ahead.length > 0 ? ahead : (campToJoin(state, nowMs) ?? []);
}

/** For a peer without a body: those in the midst of the run, or else those that hold what it starts from. */
function bodyHolders(state: RoundState, nowMs: number): readonly Member[] {
  const further = membersFurther(state, nowMs);
  if (further.length > 0) return further;
  return active(state.members, nowMs).filter(
    ({ presence, distrustedUntilMs }) =>
      distrustedUntilMs <= nowMs &&
      presence.closedRound === 0 &&
      presence.closedRoot === state.rules.initialBody,
  );
}

/** Whether a peer that stands before round 0 could begin it: one that fetches or fits something is not there yet. */
export const isReady = ({ phase, closedRoot }: Presence): boolean =>
  phase !== "syncing" && phase !== "warming" && closedRoot !== NO_BODY;

/** Once a body of `round` is taken: who has never taken part and joins a run that others have trained is on probation. */
export function probationOf({ probation, sync, experienced, rules }: RoundState, round: number): number {
  const isNewcomer = sync?.reason === "join" && round > 0 && !experienced;
  return isNewcomer ? Math.max(0, rules.newcomerRounds - 1) : probation;
}

/** A peer that has never trained fits its embeddings to a body that others have trained, before it bends that body. */
export const mustWarmUp = ({ experienced, rules }: RoundState): boolean =>
  !experienced && rules.embeddingWarmupSteps > 0;
