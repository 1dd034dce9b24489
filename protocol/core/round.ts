// The round logic: transition(state, event, now) -> { state, effects }. Pure: no clock, no randomness, no I/O. First the
// event is written down, then every duty of the current phase is looked at again; so a missed or repeated event
// costs time, never correctness.
import { closeWhenComplete, onOpened, watchAgreement } from "./closing.ts";
import { leaveWhenSettled } from "./ending.ts";
import { noticeSilence, onPeerConnected, onPresence, onReconciled, tellPresence } from "./heartbeat.ts";
import {
  fetchDue,
  onAnnounced,
  onCounted,
  onFetched,
  onFetchFailed,
  onRefused,
  onUntimely,
} from "./intake.ts";
import {
  continueSync,
  leaveWhenBehind,
  onAdvanced,
  onSynced,
  onSyncFailed,
  onWarmed,
  startWhenReady,
} from "./joining.ts";
import { onOutdrawn, onPublishDropped, onPublished, onStepped, onTrained } from "./own-round.ts";
import { endWhenOthersWait } from "./pacing.ts";
import type { Effect, RoundEvent } from "./round-events.ts";
import type { RoundState } from "./round-state.ts";
import { reachOf } from "./rules.ts";
import { ask, change, enterPhase, type Turn } from "./turn.ts";
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
    if (event.type === "presence" && !ofMembers && isMany(turn.state)) {
      return { state: turn.state, effects: turn.effects };
    }
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
  "fetched",
  "reconciled",
  "advanced",
]);

/**
 * Whether this event is a reason to look at all members anew. Most heartbeats are not: they say what this peer thinks
 * as well. What a passed time changes is seen at the next tick, and so is, where they are many, who is still waited for.
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
    case "fetched":
      return onFetched(turn, event);
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
    case "advanced":
      return onAdvanced(turn);
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
