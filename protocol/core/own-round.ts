// This peer's own part in a round: its steps, whether it makes an update of them, and what follows when that is made or not.
import { missingAuthors } from "./closing.ts";
import { placeOf } from "./cohort.ts";
import { isOver } from "./ending.ts";
import { withCounted } from "./intake.ts";
import type { EventOf } from "./round-events.ts";
import type { RoundState } from "./round-state.ts";
import { goesAhead } from "./rules.ts";
import { PATIENT_ATTEMPTS } from "./surplus.ts";
import { ask, change, enterPhase, note, type Turn } from "./turn.ts";

export function onStepped(turn: Turn, { round, step, bitsPerByte }: EventOf<"stepped">) {
  const { phase, round: own, aheadSteps, rules } = turn.state;
  if (round === own && phase === "training") change(turn, { step, bitsPerByte });
  else if (round === own + 1 && aheadSteps !== undefined) change(turn, { aheadSteps: step, bitsPerByte });
  else return;
  note(turn, { type: "step", round, step, steps: rules.localSteps, bitsPerByte });
}

export function onTrained(turn: Turn, { round }: EventOf<"trained">) {
  // A round that was left meanwhile: its progress is carried, not published.
  if (turn.state.phase !== "training" || round !== turn.state.round) return;
  if (turn.state.publishedRound >= round) return enterPhase(turn, "collecting");
  if (isDrawn(turn.state, round, turn.nowMs) && !isOver(turn.state, turn.nowMs)) {
    change(turn, { busy: "publishing" });
    ask(turn, { type: "publish", round });
  } else sitOut(turn);
  goAhead(turn, round + 1);
}

/** While an update is made, travels and is averaged, the trainer goes on with what comes next anyway. */
function goAhead(turn: Turn, round: number) {
  if (!goesAhead(turn.state.rules, round)) return;
  change(turn, { aheadSteps: 0 });
  ask(turn, { type: "train-ahead", round });
}

/** What was trained is carried; where the round has an own update already, there is nothing left to do but to collect. */
export function onPublishDropped(turn: Turn) {
  const { phase, round, publishedRound } = turn.state;
  change(turn, { busy: undefined });
  if (phase === "training" && publishedRound >= round) enterPhase(turn, "collecting");
}

export function onOutdrawn(turn: Turn, { round }: EventOf<"outdrawn">) {
  change(turn, { busy: undefined });
  if (turn.state.phase === "training" && round === turn.state.round) sitOut(turn);
}

/** Whether this peer's update of `round` would count, as far as it knows who else makes one. */
function isDrawn(state: RoundState, round: number, nowMs: number): boolean {
  const { self, wanted, counted, rules } = state;
  const others = new Set(missingAuthors(state, round, nowMs));
  for (const author of counted.get(round)?.keys() ?? []) others.add(author);
  for (const { id, attempts } of wanted.values()) {
    if (id.round === round && attempts < PATIENT_ATTEMPTS) others.add(id.author);
  }
  others.delete(self);
  return placeOf(rules.cohort, round, self, others) < rules.cohort.size;
}

/** This peer's progress of the round is not counted in it. It waits for those that are drawn, and trains on with it. */
function sitOut(turn: Turn) {
  const { round } = turn.state;
  note(turn, { type: "not-drawn", round });
  change(turn, { satOutRound: round });
  enterPhase(turn, "collecting");
}

export function onPublished(turn: Turn, { id, replaced, roots }: EventOf<"published">) {
  const { state } = turn;
  change(turn, {
    busy: undefined,
    publishedRound: Math.max(state.publishedRound, id.round),
    unpublished: false,
    probation: probationAfter(state, id.round),
    roots,
    counted: withCounted(state.counted, id, replaced),
  });
  if (state.phase === "training" && id.round === state.round) enterPhase(turn, "collecting");
}

/** What is left of a newcomer's probation once its update of `round` is made: each shortens it once. */
export const probationAfter = ({ probation, publishedRound }: RoundState, round: number): number =>
  round > publishedRound ? Math.max(0, probation - 1) : probation;
