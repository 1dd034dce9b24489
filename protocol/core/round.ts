// The round logic: transition(state, event, now) -> { state, effects }. Pure: no clock, no randomness, no I/O. First the
// event is written down, then every duty of the current phase is looked at again; so a missed or repeated event
// costs time, never correctness.
import {
  closeWhenComplete,
  isDrawn,
  leaveWhenSettled,
  onOpened,
  onPublished,
  sitOut,
  watchAgreement,
} from "./closing.ts";
import { noticeSilence, onPeerConnected, onPresence, onReconciled, tellPresence } from "./heartbeat.ts";
import { fetchDue, onAnnounced, onCounted, onFetchFailed, onRefused, onUntimely } from "./intake.ts";
import {
  continueSync,
  leaveWhenBehind,
  onSynced,
  onSyncFailed,
  onWarmed,
  startWhenReady,
} from "./joining.ts";
import { endWhenOthersWait } from "./pacing.ts";
import type { Effect, EventOf, RoundEvent } from "./round-events.ts";
import { goesAhead, type RoundState, reachOf } from "./round-state.ts";
import { ask, change, enterPhase, note, type Turn } from "./turn.ts";
import type { Phase } from "./types.ts";

export interface Transition {
  readonly state: RoundState;
  readonly effects: readonly Effect[];
}

export function transition(state: RoundState, event: RoundEvent, nowMs: number): Transition {
  if (state.phase === "done") return { state, effects: [] };
  const turn: Turn = { state, effects: [], nowMs };
  record(turn, event);
  if (turn.state.phase !== "done") {
    const ofMembers = isOfMembers(turn, event);
    if (ofMembers) {
      noticeSilence(turn);
      change(turn, { lookedMs: nowMs });
    }
    DUTIES[turn.state.phase](turn, ofMembers);
    fetchDue(turn);
    tellPresence(turn);
  }
  return { state: turn.state, effects: turn.effects };
}

/** Events that say nothing of where anyone stands. In a swarm of hundreds they come by the hundred between two ticks. */
const IS_OF_UPDATES: ReadonlySet<RoundEvent["type"]> = new Set<RoundEvent["type"]>([
  "stepped",
  "announced",
  "counted",
  "refused",
  "untimely",
  "fetch-failed",
  "reconciled",
]);

/**
 * Whether this event is a reason to look at all members anew. Most heartbeats are not: they say what this peer thinks
 * as well. What a passed time changes is seen at the next tick.
 */
function isOfMembers({ state, nowMs }: Turn, event: RoundEvent): boolean {
  if (event.type === "tick") return !isMany(state) || nowMs - state.lookedMs >= LOOK_AT_MANY_MS;
  if (event.type !== "presence") return !IS_OF_UPDATES.has(event.type);
  const { round, closedRound, closedRoot, leaving } = event.presence;
  const own = state.closedRoots.get(closedRound);
  const differs = own !== undefined && own !== closedRoot;
  return differs || leaving || Math.abs(round - state.round) > reachOf(state.rules);
}

/** To look at hundreds of members takes a while: what time alone changes about them is seen within a second. */
const MANY_MEMBERS = 64;
const LOOK_AT_MANY_MS = 1_000;

const isMany = ({ members }: RoundState): boolean => members.size > MANY_MEMBERS;

/** What a peer looks after in each phase, at every event. */
const DUTIES: { readonly [P in Phase]: (turn: Turn, ofMembers: boolean) => void } = {
  waiting: (turn, ofMembers) => {
    if (ofMembers || !isMany(turn.state)) startWhenReady(turn);
  },
  syncing: continueSync,
  warming: () => {},
  training: (turn, ofMembers) => {
    if (ofMembers && leaveWhenBehind(turn)) return;
    if (ofMembers) watchAgreement(turn);
    endWhenOthersWait(turn);
  },
  collecting: (turn, ofMembers) => {
    if (ofMembers && leaveWhenBehind(turn)) return;
    if (ofMembers) watchAgreement(turn);
    closeWhenComplete(turn);
  },
  settling: (turn) => {
    watchAgreement(turn);
    leaveWhenSettled(turn);
  },
  done: () => {},
};

function record(turn: Turn, event: RoundEvent) {
  switch (event.type) {
    case "tick":
      return;
    case "presence":
      return onPresence(turn, event);
    case "peer-connected":
      return onPeerConnected(turn);
    case "announced":
      return onAnnounced(turn, event);
    case "fetch-failed":
      return onFetchFailed(turn, event);
    case "counted":
      return onCounted(turn, event);
    case "refused":
      return onRefused(turn, event);
    case "untimely":
      return onUntimely(turn, event);
    case "stepped":
      return onStepped(turn, event);
    case "trained":
      return onTrained(turn, event);
    case "published":
      return onPublished(turn, event);
    case "publish-dropped":
      return onPublishDropped(turn);
    case "outdrawn":
      return onOutdrawn(turn, event);
    case "opened":
      return onOpened(turn, event);
    case "reconciled":
      return onReconciled(turn, event);
    case "synced":
      return onSynced(turn, event);
    case "sync-failed":
      return onSyncFailed(turn, event);
    case "warmed":
      return onWarmed(turn);
    case "stop":
      enterPhase(turn, "done");
      return ask(
        turn,
        { type: "abort-training" },
        { type: "send-presence", leaving: true },
        { type: "finish", reason: "stopped" },
      );
  }
}

function onStepped(turn: Turn, { round, step, bitsPerByte }: EventOf<"stepped">) {
  const { phase, round: own, aheadSteps, rules } = turn.state;
  if (round === own && phase === "training") change(turn, { step, bitsPerByte });
  else if (round === own + 1 && aheadSteps !== undefined) change(turn, { aheadSteps: step, bitsPerByte });
  else return;
  note(turn, { type: "step", round, step, steps: rules.localSteps, bitsPerByte });
}

function onTrained(turn: Turn, { round }: EventOf<"trained">) {
  // A round that was left meanwhile: its progress is carried, not published.
  if (turn.state.phase !== "training" || round !== turn.state.round) return;
  if (turn.state.publishedRound >= round) return enterPhase(turn, "collecting");
  if (isDrawn(turn.state, round, turn.nowMs)) {
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
function onPublishDropped(turn: Turn) {
  const { phase, round, publishedRound } = turn.state;
  change(turn, { busy: undefined });
  if (phase === "training" && publishedRound >= round) enterPhase(turn, "collecting");
}

function onOutdrawn(turn: Turn, { round }: EventOf<"outdrawn">) {
  change(turn, { busy: undefined });
  if (turn.state.phase === "training" && round === turn.state.round) sitOut(turn);
}
