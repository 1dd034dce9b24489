// The round logic: transition(state, event, now) -> { state, effects }. Pure: no clock, no randomness, no I/O. First the
// event is written down, then every duty of the current phase is looked at again; so a missed or repeated event
// costs time, never correctness.
import { closeWhenComplete, leaveWhenSettled, onOpened, onPublished, watchAgreement } from "./closing.ts";
import { noticeSilence, onPeerConnected, onPresence, onReconciled, tellPresence } from "./heartbeat.ts";
import { fetchDue, onAnnounced, onCounted, onFetchFailed, onRefused } from "./intake.ts";
import {
  continueSync,
  leaveWhenBehind,
  onSynced,
  onSyncFailed,
  onWarmed,
  startWhenReady,
} from "./joining.ts";
import type { Effect, EventOf, RoundEvent } from "./round-events.ts";
import type { RoundState } from "./round-state.ts";
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
    noticeSilence(turn);
    DUTIES[turn.state.phase](turn);
    fetchDue(turn);
    tellPresence(turn);
  }
  return { state: turn.state, effects: turn.effects };
}

/** What a peer looks after in each phase, at every event. */
const DUTIES: { readonly [P in Phase]: (turn: Turn) => void } = {
  waiting: startWhenReady,
  syncing: continueSync,
  warming: () => {},
  training: (turn) => {
    if (!leaveWhenBehind(turn)) watchAgreement(turn);
  },
  collecting: (turn) => {
    if (leaveWhenBehind(turn)) return;
    watchAgreement(turn);
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
    case "stepped":
      return onStepped(turn, event);
    case "trained":
      return onTrained(turn, event);
    case "published":
      return onPublished(turn, event);
    case "publish-dropped":
      return change(turn, { busy: undefined });
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
  if (turn.state.phase !== "training" || round !== turn.state.round) return;
  change(turn, { step, bitsPerByte });
  note(turn, { type: "step", round, step, steps: turn.state.rules.localSteps, bitsPerByte });
}

function onTrained(turn: Turn, { round }: EventOf<"trained">) {
  // A round that was left meanwhile: its progress is carried, not published.
  if (turn.state.phase !== "training" || round !== turn.state.round) return;
  change(turn, { busy: "publishing" });
  ask(turn, { type: "publish", round });
}
