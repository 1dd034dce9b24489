// Getting to where the others are: starting, syncing a body from a snapshot, warming up private embeddings, and
// entering a round. Also how a peer that was outvoted or left behind comes back.

import { campToJoin, distances, donorsOf, pluralityRoots } from "./agreement.ts";
import { isDrawnSoon } from "./crowd.ts";
import { forgetClosed, onAnnounced } from "./intake.ts";
import { active, DISTRUST_MS, distrust, isParticipating, type Member, trust } from "./membership.ts";
import { campOfNewcomer, isReady, mustWarmUp, probationOf } from "./newcomer.ts";
import type { EventOf } from "./round-events.ts";
import { countedByRound, holdsBody, type SyncReason } from "./round-state.ts";
import { closedRoundAt, reachOf } from "./rules.ts";
import { isCounting } from "./surplus.ts";
import { ask, change, enterPhase, note, type Turn } from "./turn.ts";
import { NO_BODY } from "./types.ts";

/** After starting, and after each peer first heard, before round 0 begins: a run in progress must be noticed. */
export const LISTEN_MS = 3_000;
/** The listening ends even where new peers keep appearing. */
const MAX_LISTEN_MS = 15_000;
/** Updates of open rounds are waited for this long before a synced peer goes on; anti-entropy brings the rest. */
const OPEN_UPDATES_PATIENCE_MS = 10_000;
/** A peer whose claimed body could not be had this often no longer keeps a newcomer from starting. */
const INCREDIBLE_DISTRUSTS = 3;
const SYNC_RETRY_MS = 2_000;
/** As large as the wire allows. */
const MAX_STEP = 2 ** 31 - 1;

/** Phase `waiting`: sync where others are further, begin where enough are here. */
export function startWhenReady(turn: Turn) {
  const { state, nowMs } = turn;
  const camp = campOfNewcomer(state, nowMs);
  if (camp.length > 0) return startSync(turn, "join", camp);
  if (!holdsBody(state)) return sayAwaited(turn);
  const others = active(state.members, nowMs);
  const unreached = others.some(
    ({ presence, distrusts }) =>
      presence.round > state.round + reachOf(state.rules) && distrusts < INCREDIBLE_DISTRUSTS,
  );
  if (unreached) return;
  // What a run starts from has been trained elsewhere.
  if (state.round === 0 && state.rules.initialBody !== undefined && mustWarmUp(state))
    return startWarmUp(turn);
  const heardMs = nowMs - Math.max(state.startedMs, state.newcomerMs);
  const listened = heardMs >= LISTEN_MS || nowMs - state.startedMs >= MAX_LISTEN_MS;
  if (!listened) return;
  if (state.round === 0 && state.publishedRound < 0) {
    // Of a large swarm not all are known.
    const unknown = Math.max(0, state.cadence.size - 1 - others.length);
    const ready = 1 + others.filter(({ presence }) => isReady(presence)).length + unknown;
    if (ready < state.rules.minimumPeers) return;
    // Its deadlines count from here, not from the hours of waiting for others.
    change(turn, { roundStartsMs: new Map(state.roundStartsMs).set(0, nowMs) });
  }
  beginRound(turn);
}

function sayAwaited(turn: Turn) {
  const { state, nowMs } = turn;
  if (state.saidAwaited || nowMs - state.startedMs < LISTEN_MS) return;
  const peers = active(state.members, nowMs).length;
  note(turn, { type: "initial-body-awaited", root: state.rules.initialBody ?? NO_BODY, peers });
  change(turn, { saidAwaited: true });
}

/** Phase `syncing`: retry, or go on with what was adopted. */
export function continueSync(turn: Turn) {
  const { state, nowMs } = turn;
  const { sync } = state;
  if (state.busy !== undefined || sync?.stage === "fetching") return;
  if (sync?.stage === "failed") {
    if (nowMs - sync.sinceMs < SYNC_RETRY_MS) return;
    const camp = sync.reason === "join" ? campOfNewcomer(state, nowMs) : campToJoin(state, nowMs);
    if (camp !== undefined && camp.length > 0) return startSync(turn, sync.reason, camp);
    change(turn, { sync: undefined });
    return state.experienced ? beginRound(turn) : enterPhase(turn, "waiting");
  }
  const late = [...state.wanted.values()].some(({ id }) => id.round < state.round);
  const isPatient =
    isCounting(state, state.round - 1) || nowMs - (sync?.sinceMs ?? 0) < OPEN_UPDATES_PATIENCE_MS;
  if (late && sync !== undefined && isPatient) return;
  const camp = campToJoin(state, nowMs);
  if (camp !== undefined) return startSync(turn, "behind", camp);
  if (mustWarmUp(state)) return startWarmUp(turn);
  // The others have gone on meanwhile: enter the round they are in, not one that they are about to close.
  if (mostNearArePast(turn, state.round)) return askToOpen(turn, state.round + 1);
  change(turn, { sync: undefined });
  // Nobody has begun: round 0 waits for the run's minimum of peers.
  if (state.round === 0 && state.publishedRound < 0) return enterPhase(turn, "waiting");
  beginRound(turn);
}

function startWarmUp(turn: Turn) {
  change(turn, { sync: undefined });
  enterPhase(turn, "warming");
  ask(turn, { type: "warm-up" });
}

export function onWarmed(turn: Turn) {
  change(turn, { experienced: true });
  if (turn.state.phase !== "warming") return;
  enterPhase(turn, "syncing");
}

/** Who finishes before this peer waits for it as long as it gets on, which its step tells where nothing else does. */
export function onAdvanced(turn: Turn) {
  const { phase, step } = turn.state;
  if (phase === "training" || phase === "collecting") return;
  change(turn, { step: step >= MAX_STEP ? 1 : step + 1 });
}

/** Goes to where `camp` is. A diverged peer trains on meanwhile, others stop. */
export function startSync(turn: Turn, reason: SyncReason, camp: readonly Member[]) {
  const { state, nowMs } = turn;
  const failures = state.sync?.failures ?? 0;
  change(turn, { sync: { reason, stage: "fetching", sinceMs: nowMs, failures } });
  if (reason !== "diverged") {
    stopTraining(turn);
    enterPhase(turn, "syncing");
  }
  ask(turn, { type: "sync", donors: donorsOf(camp), roots: pluralityRoots(camp) });
}

/** Phases `training` and `collecting`: stop where a camp elsewhere outweighs the one here. True: a sync began. */
export function leaveWhenBehind(turn: Turn): boolean {
  const { state, nowMs } = turn;
  if (state.sync !== undefined || state.busy !== undefined) return false;
  const camp = campToJoin(state, nowMs);
  if (camp === undefined) return false;
  const theirRound = Math.max(...camp.map(({ presence }) => presence.round));
  note(turn, { type: "fell-behind", round: state.round, theirRound });
  startSync(turn, "behind", camp);
  return true;
}

export function onSynced(turn: Turn, event: EventOf<"synced">) {
  const { donor, closedRound, round, roots, returned } = event;
  const { state, nowMs } = turn;
  const reason = state.sync?.reason ?? "behind";
  change(turn, {
    members: trust(state.members, donor),
    probation: probationOf(state, round),
    round,
    roots,
    closedRoots: new Map([[closedRound, roots.closedRoot]]),
    counted: countedByRound(event.counted),
    roundStartsMs: new Map([...state.roundStartsMs, [round, state.roundStartsMs.get(round) ?? nowMs]]),
  });
  forgetClosed(turn);
  for (const update of event.announced) onAnnounced(turn, { type: "announced", from: donor, ...update });
  const said = { closedRound, root: roots.closedRoot, donor, returnedUpdates: returned };
  note(turn, reason === "diverged" ? { type: "healed", ...said } : { type: "synced", round, ...said });
  if (reason === "diverged" && round === state.round) return change(turn, { sync: undefined });
  stopTraining(turn);
  change(turn, { sync: { reason, stage: "adopted", sinceMs: nowMs, failures: 0 } });
  enterPhase(turn, "syncing");
}

export function onSyncFailed(turn: Turn, event: EventOf<"sync-failed">) {
  const { state, nowMs } = turn;
  let { members } = state;
  // Who takes part here and is merely hard to reach has its vote back soon.
  const firstMs = state.sync?.reason === "diverged" ? SYNC_RETRY_MS : DISTRUST_MS;
  for (const donor of event.donors) members = distrust(members, donor, nowMs, firstMs);
  note(turn, { type: "sync-failed", donors: event.donors, detail: event.detail });
  const { sync } = state;
  if (sync === undefined || sync.reason === "diverged") return change(turn, { members, sync: undefined });
  change(turn, { members, sync: { ...sync, stage: "failed", sinceMs: nowMs, failures: sync.failures + 1 } });
}

/** Trains the round, or collects it where its own update is made already; leaves after the last. */
export function beginRound(turn: Turn) {
  const { round, rules, publishedRound, unpublished, aheadSteps } = turn.state;
  if (rules.rounds !== undefined && round >= rules.rounds) return enterPhase(turn, "settling");
  if (publishedRound >= round) return enterPhase(turn, "collecting");
  note(turn, { type: "round-started", round, root: turn.state.roots.root });
  ask(turn, { type: "train", round, carry: unpublished && isDrawnSoon(turn.state) });
  const step = aheadSteps ?? 0;
  change(turn, { unpublished: true, experienced: true, step, aheadSteps: undefined, cutShort: false });
  enterPhase(turn, "training");
}

/** What is trained now is of no use where this peer goes: it keeps the progress, and carries it there. */
function stopTraining(turn: Turn) {
  const { phase, aheadSteps } = turn.state;
  if (phase !== "training" && phase !== "warming" && aheadSteps === undefined) return;
  change(turn, { aheadSteps: undefined });
  ask(turn, { type: "abort-training" });
}

export function askToOpen(turn: Turn, round: number) {
  change(turn, { busy: "opening" });
  ask(turn, { type: "open-round", round, closedRound: closedRoundAt(round, turn.state.rules) });
}

function mostNearArePast({ state, nowMs }: Turn, round: number): boolean {
  const near = distances(state, nowMs).near.filter((member) => isParticipating(member, nowMs));
  const past = near.filter(({ presence }) => presence.round > round);
  return past.length > 0 && past.length * 2 > near.length;
}
