// The state of the round logic, what may happen to it (events) and what it asks for (effects): small plain data, no
// bodies, no sockets, no clock. round.ts changes it, protocol/driver.ts carries out the effects.
import type { Pace } from "./deadline.ts";
import { NO_PACE } from "./deadline.ts";
import type { Members } from "./membership.ts";
import type { ProtocolEvent } from "./protocol-events.ts";
import type { BodyRoot, ContentId, Offence, PeerId, Phase, Presence } from "./types.ts";
import type { UpdateId } from "./update-set.ts";

/** What the run's configuration and the operator fix for the round logic. */
export interface RoundRules {
  readonly localSteps: number;
  readonly embeddingWarmupSteps: number;
  /** Rounds that accept updates: the current one and those before it. */
  readonly openRounds: number;
  readonly minimumPeers: number;
  /** Share of the participating peers whose updates a deadline needs. */
  readonly quorum: number;
  /** From a round's start to its close at the latest, quorum or not. */
  readonly maxRoundMs: number;
  readonly maxPayloadBytes: number;
  /** Leave once this many rounds are applied; undefined: stay until told. */
  readonly rounds: number | undefined;
}

/** What the ledger says of the body after each change. `root` is that of the body at the start of `round`. */
export interface BodyRoots {
  readonly root: BodyRoot;
  readonly closedRound: number;
  readonly closedRoot: BodyRoot;
  readonly openUpdates: ContentId;
}

/** An announced update whose payload is not here yet. */
export interface Wanted {
  readonly id: UpdateId;
  readonly holders: readonly PeerId[];
  readonly fetching: boolean;
  readonly attempts: number;
  readonly notBeforeMs: number;
}

/** `join`: before taking part; `behind`: the others' open rounds are past ours; `diverged`: outvoted on a closed body. */
export type SyncReason = "join" | "behind" | "diverged";

export interface Sync {
  readonly reason: SyncReason;
  /** `adopted`: the body is in, updates of open rounds may still be on their way. */
  readonly stage: "fetching" | "failed" | "adopted";
  readonly sinceMs: number;
  readonly failures: number;
}

export interface RoundState {
  readonly rules: RoundRules;
  readonly self: PeerId;
  readonly phase: Phase;
  /** The round being trained or collected. */
  readonly round: number;
  readonly startedMs: number;
  readonly phaseSinceMs: number;
  /** When each open round began here: deadlines and arrival offsets count from it. */
  readonly roundStartsMs: ReadonlyMap<number, number>;
  /** The last round whose own update is made (-1: none). No second one is ever made for a round. */
  readonly publishedRound: number;
  /** Local training since the last published update, to be carried into the next round. */
  readonly unpublished: boolean;
  /** A peer that has trained before does not fit its embeddings anew. */
  readonly experienced: boolean;
  /** The driver is closing a round and computing the next body. */
  readonly opening: boolean;
  readonly step: number;
  readonly bitsPerByte: number;
  readonly roots: BodyRoots;
  /** Own closed roots by round, the newest few: what the vote compares. */
  readonly closedRoots: ReadonlyMap<number, BodyRoot>;
  readonly members: Members;
  /** Payload id by author of the updates counted in each open round. */
  readonly counted: ReadonlyMap<number, ReadonlyMap<PeerId, ContentId>>;
  /** By update key. */
  readonly wanted: ReadonlyMap<string, Wanted>;
  /** Keys of updates that never count (invalid, or beaten by the author's other one), with their round. */
  readonly refused: ReadonlyMap<string, number>;
  /** Peers whose inventory is being fetched, and when each was last asked. */
  readonly reconciling: ReadonlySet<PeerId>;
  readonly reconciledMs: ReadonlyMap<PeerId, number>;
  readonly pace: Pace;
  readonly sync: Sync | undefined;
  /** What the last presence said, so that changes are told at once and repetitions are not. */
  readonly told: { readonly atMs: number; readonly what: string };
}

export type RoundEvent =
  | { readonly type: "tick" }
  | {
      readonly type: "presence";
      readonly presence: Presence;
      /** Whether the update ids held here in rounds >= presence.closedRound are theirs; undefined: not comparable. */
      readonly sameUpdates: boolean | undefined;
    }
  | { readonly type: "peer-connected"; readonly peer: PeerId }
  | {
      readonly type: "announced";
      readonly id: UpdateId;
      readonly payloadBytes: number;
      readonly from: PeerId;
    }
  | { readonly type: "fetch-failed"; readonly key: string }
  /** A payload arrived, was valid and is in the body now. */
  | {
      readonly type: "counted";
      readonly id: UpdateId;
      readonly replaced: UpdateId | undefined;
      readonly roots: BodyRoots;
    }
  /** A payload arrived and will never count. `offence` says what it costs its author. */
  | {
      readonly type: "refused";
      readonly id: UpdateId;
      readonly offence: Offence | undefined;
      readonly detail: string;
    }
  | { readonly type: "stepped"; readonly round: number; readonly step: number; readonly bitsPerByte: number }
  | { readonly type: "trained"; readonly round: number }
  | { readonly type: "published"; readonly id: UpdateId; readonly roots: BodyRoots }
  | { readonly type: "opened"; readonly round: number; readonly roots: BodyRoots }
  | { readonly type: "reconciled"; readonly peer: PeerId }
  | {
      readonly type: "synced";
      readonly donor: PeerId;
      readonly closedRound: number;
      readonly round: number;
      readonly roots: BodyRoots;
      readonly counted: readonly UpdateId[];
      /** Own updates that the adopted body lacks and that went back into the residual. */
      readonly returned: number;
    }
  | { readonly type: "sync-failed"; readonly donors: readonly PeerId[]; readonly detail: string }
  | { readonly type: "warmed" }
  | { readonly type: "stop" };

export type Effect =
  | { readonly type: "send-presence"; readonly leaving: boolean }
  | { readonly type: "train"; readonly round: number; readonly carry: boolean }
  | { readonly type: "warm-up" }
  | { readonly type: "abort-training" }
  | { readonly type: "publish"; readonly round: number }
  | { readonly type: "fetch"; readonly key: string; readonly holders: readonly PeerId[] }
  | { readonly type: "reconcile"; readonly peer: PeerId; readonly fromRound: number }
  /** Close rounds below `closedRound`, compute the body at the start of `round`, save. */
  | { readonly type: "open-round"; readonly round: number; readonly closedRound: number }
  /** Adopt the newest snapshot of one of `donors`, in this order. `roots`: closed roots it must not contradict. */
  | {
      readonly type: "sync";
      readonly donors: readonly PeerId[];
      readonly roots: ReadonlyMap<number, BodyRoot>;
    }
  | { readonly type: "penalise"; readonly peer: PeerId; readonly offence: Offence; readonly detail: string }
  /** Own updates of rounds below this are in what the plurality closed. */
  | { readonly type: "settle-own"; readonly below: number }
  | { readonly type: "drop"; readonly id: UpdateId; readonly why: "expired" | "too-early" | "overflow" }
  | { readonly type: "note"; readonly event: ProtocolEvent }
  | { readonly type: "finish"; readonly reason: "completed" | "stopped" };

export interface InitialState {
  readonly rules: RoundRules;
  readonly self: PeerId;
  readonly roots: BodyRoots;
  readonly round: number;
  readonly publishedRound: number;
  readonly experienced: boolean;
  readonly counted: readonly UpdateId[];
}

export function initialRoundState(initial: InitialState, nowMs: number): RoundState {
  const { counted, ...known } = initial;
  return {
    ...known,
    phase: "waiting",
    startedMs: nowMs,
    phaseSinceMs: nowMs,
    roundStartsMs: new Map([[initial.round, nowMs]]),
    unpublished: initial.experienced && initial.publishedRound < initial.round,
    opening: false,
    step: 0,
    bitsPerByte: 0,
    closedRoots: new Map([[initial.roots.closedRound, initial.roots.closedRoot]]),
    members: new Map(),
    counted: countedByRound(counted),
    wanted: new Map(),
    refused: new Map(),
    reconciling: new Set(),
    reconciledMs: new Map(),
    pace: NO_PACE,
    sync: undefined,
    told: { atMs: Number.NEGATIVE_INFINITY, what: "" },
  };
}

export function countedByRound(
  ids: readonly UpdateId[],
): ReadonlyMap<number, ReadonlyMap<PeerId, ContentId>> {
  const rounds = new Map<number, Map<PeerId, ContentId>>();
  for (const { round, author, payload } of ids) {
    const authors = rounds.get(round) ?? new Map<PeerId, ContentId>();
    rounds.set(round, authors.set(author, payload));
  }
  return rounds;
}

/** The first open round while the peer stands in `round`. */
export const closedRoundAt = (round: number, rules: RoundRules): number =>
  Math.max(0, round - rules.openRounds + 1);
