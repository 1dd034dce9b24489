// The state of the round logic: small plain data, no bodies, no sockets, no clock. round.ts changes it.
import { type Cadence, type Crowd, newCrowd } from "./crowd.ts";
import type { Pace } from "./deadline.ts";
import { NO_PACE } from "./deadline.ts";
import { LinearMap } from "./linear-map.ts";
import { type Members, withClosedRoot } from "./membership.ts";
import type { RoundRules } from "./rules.ts";
import { type BodyRoot, type ContentId, NO_BODY, type PeerId, type Phase } from "./types.ts";
import type { UpdateId } from "./update-set.ts";

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
  /** When it was first heard of. */
  readonly announcedMs: number;
  readonly fetching: boolean;
  /** The payload is here, and waits for the arithmetic that counts it: nobody else can hold it up. */
  readonly isHere: boolean;
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
  /** The last round that was trained without making an update of it (-1: none). */
  readonly satOutRound: number;
  /** Local training since the last published update, to be carried into the next round. */
  readonly unpublished: boolean;
  /** Updates of this peer, as a newcomer, that are yet to be made before one counts whole. */
  readonly probation: number;
  /** A peer that has trained before does not fit its embeddings anew. */
  readonly experienced: boolean;
  /** What the driver does to the body right now; until it is done no round closes and no sync begins. */
  readonly busy: "publishing" | "opening" | undefined;
  readonly step: number;
  readonly bitsPerByte: number;
  /** Steps of the round after this one that are taken already; undefined where the trainer does not go ahead. */
  readonly aheadSteps: number | undefined;
  /** The round in training has been told to end with the step in hand. */
  readonly cutShort: boolean;
  readonly roots: BodyRoots;
  /** Own closed roots by round, the newest few: what the vote compares. */
  readonly closedRoots: ReadonlyMap<number, BodyRoot>;
  readonly members: Members;
  /** What is heard of those that speak seldom, and how often this peer speaks therefore. */
  readonly crowd: Crowd;
  readonly cadence: Cadence;
  /** Connections that were made since the start, whether they are still there or not. */
  readonly met: number;
  /** When a peer was last heard that was not there before. */
  readonly newcomerMs: number;
  /** Statement by author of the updates counted in each open round. */
  readonly counted: ReadonlyMap<number, ReadonlyMap<PeerId, ContentId>>;
  /** By update key. */
  readonly wanted: LinearMap<string, Wanted>;
  /** Keys of updates that never count (invalid, or beaten by the author's other one), with their round. */
  readonly refused: ReadonlyMap<string, number>;
  /** Peers whose inventory is being fetched, and when each was last asked. */
  readonly reconciling: ReadonlySet<PeerId>;
  readonly reconciledMs: LinearMap<PeerId, number>;
  /** When any was last asked. */
  readonly reconcileMs: number;
  /** Until then nobody can have fallen silent. */
  readonly quietUntilMs: number;
  /** When all members were last looked at. */
  readonly lookedMs: number;
  readonly pace: Pace;
  readonly sync: Sync | undefined;
  /** It has been said that nobody here has the initial body. */
  readonly saidAwaited: boolean;
  /** What the last presence said, so that changes are told at once and repetitions are not. */
  readonly told: { readonly atMs: number; readonly what: string };
}

export interface InitialState {
  readonly rules: RoundRules;
  readonly self: PeerId;
  readonly roots: BodyRoots;
  readonly round: number;
  readonly publishedRound: number;
  readonly probation?: number | undefined;
  readonly experienced: boolean;
  /** Whether the trainer has progress that is not published; undefined: unless the round's update is. */
  readonly unpublished?: boolean | undefined;
  readonly counted: readonly UpdateId[];
}

export function initialRoundState(initial: InitialState, nowMs: number): RoundState {
  const { counted, unpublished, probation = 0, ...known } = initial;
  return {
    ...known,
    probation,
    phase: "waiting",
    startedMs: nowMs,
    phaseSinceMs: nowMs,
    roundStartsMs: new Map([[initial.round, nowMs]]),
    unpublished: unpublished ?? (initial.experienced && initial.publishedRound < initial.round),
    satOutRound: -1,
    busy: undefined,
    step: 0,
    bitsPerByte: 0,
    aheadSteps: undefined,
    cutShort: false,
    closedRoots: withClosedRoot(undefined, initial.roots.closedRound, initial.roots.closedRoot),
    members: new LinearMap(),
    crowd: newCrowd(nowMs),
    cadence: { round: initial.round, atMs: nowMs, size: 1, intervalMs: undefined },
    met: 0,
    newcomerMs: nowMs,
    counted: countedByRound(counted),
    wanted: new LinearMap(),
    refused: new Map(),
    reconciling: new Set(),
    reconciledMs: new LinearMap(),
    reconcileMs: Number.NEGATIVE_INFINITY,
    quietUntilMs: nowMs,
    lookedMs: nowMs,
    pace: NO_PACE,
    sync: undefined,
    saidAwaited: false,
    told: { atMs: Number.NEGATIVE_INFINITY, what: "" },
  };
}

export function countedByRound(
  ids: readonly UpdateId[],
): ReadonlyMap<number, ReadonlyMap<PeerId, ContentId>> {
  const rounds = new Map<number, Map<PeerId, ContentId>>();
  for (const { round, author, statement } of ids) {
    const authors = rounds.get(round) ?? new Map<PeerId, ContentId>();
    rounds.set(round, authors.set(author, statement));
  }
  return rounds;
}

/** False until a peer that could not compute the run's initial body has fetched one. */
export const holdsBody = ({ roots }: Pick<RoundState, "roots">): boolean => roots.closedRoot !== NO_BODY;
