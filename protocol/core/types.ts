// The nouns of the protocol as plain data. Everything here is JSON-like or a typed array, so that it can cross a
// worker boundary, be compared in a test and be produced by another implementation.

/** A libp2p peer id in its base58 text form (`12D3Koo…`); it embeds the Ed25519 public key that signs. */
export type PeerId = string;

/** Lower-case hex SHA-256 of the canonical run manifest: the run's name everywhere. */
export type RunId = string;

/** Lower-case hex SHA-256 of a byte string: a payload, a snapshot tile. */
export type ContentId = string;

/** Lower-case hex Merkle root over the tiles of a body (see merkle.ts). */
export type BodyRoot = string;

/** What a peer says for both roots of its presence while it has no body yet. No body hashes to it. */
export const NO_BODY: BodyRoot = "00".repeat(32);

/** One body tensor by name. Shapes follow Hugging Face's MPT: a linear weight is [out, in]. */
export interface TensorSpec {
  readonly name: string;
  readonly shape: readonly number[];
}

/**
 * What a peer says of the update it made in a round. The payload itself travels by content id over streams.
 * `tokens`, `lossNatsPerToken` and `bitsPerByte` describe the local training of that round.
 */
export interface UpdateAnnouncement {
  readonly runId: RunId;
  readonly round: number;
  readonly author: PeerId;
  readonly payload: ContentId;
  readonly payloadBytes: number;
  /** Root of the body that the author trained from. Differs between peers only while an update is in flight. */
  readonly baseRoot: BodyRoot;
  readonly tokens: number;
  readonly lossNatsPerToken: number;
  readonly bitsPerByte: number;
  /** Of a newcomer: its updates after this one that do not count whole either, and one more. Missing: it counts whole. */
  readonly probation?: number | undefined;
}

/** An announcement together with the exact signed bytes, so that any holder can pass it on and anyone can check it. */
export interface SignedUpdate {
  readonly announcement: UpdateAnnouncement;
  readonly envelope: Uint8Array;
}

/** What a peer is doing. `syncing` fetches a body, `settling` waits for agreement before it leaves. */
export type Phase = "waiting" | "syncing" | "warming" | "training" | "collecting" | "settling" | "done";

/** The heartbeat: who is there, where they stand and which body they hold. Signed like an announcement. */
export interface Presence {
  readonly runId: RunId;
  readonly author: PeerId;
  readonly name: string;
  /** Strictly increasing per author (also across restarts); an older presence never replaces a newer one. */
  readonly sequence: number;
  readonly phase: Phase;
  /** The round being trained or collected; the body at its start is `root`. */
  readonly round: number;
  readonly root: BodyRoot;
  /** Rounds below this one are closed at this peer; the body at its start is `closedRoot`. */
  readonly closedRound: number;
  readonly closedRoot: BodyRoot;
  /** Digest over the ids of the updates this peer holds in rounds >= closedRound (see update-set.ts). */
  readonly openUpdates: ContentId;
  readonly step: number;
  readonly steps: number;
  readonly bitsPerByte: number;
  /** Sent once on a clean exit: do not wait for me. */
  readonly leaving: boolean;
  /** Until the next presence at the latest, where that is longer than the two seconds of all others (crowd.ts). */
  readonly intervalMs?: number | undefined;
}

/** What a newcomer needs to stand where the sender stands: a closed body and the updates of the rounds still open. */
export interface SnapshotManifest {
  readonly runId: RunId;
  readonly closedRound: number;
  readonly root: BodyRoot;
  /** SHA-256 of each tile's bytes in order; they hash to `root`. */
  readonly tiles: readonly ContentId[];
  readonly updates: readonly SignedUpdate[];
}

/** Updates that a peer holds, and the closed bodies that those of closed rounds have led to. */
export interface Inventory {
  /** Of open and of closed rounds, oldest first. */
  readonly updates: readonly SignedUpdate[];
  /** Roots of its bodies at the start of closed rounds, by round, as far back as it knows them; the last is its newest. */
  readonly closedRoots: ReadonlyMap<number, BodyRoot>;
  /** Those of the updates that the run's defence has left out of the closed body: it does not carry them. */
  readonly opposed?: readonly SignedUpdate[] | undefined;
}

/** Why a peer is penalised. Each has a weight in protocol/net/scoring.ts. */
export type Offence =
  | "malformed-message"
  | "bad-signature"
  | "wrong-run"
  | "oversized"
  | "hash-mismatch"
  | "undecodable-payload"
  | "non-finite-update"
  | "out-of-bounds-update"
  | "equivocation"
  | "rate-exceeded";
