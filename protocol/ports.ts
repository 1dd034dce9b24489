// What the protocol needs from the outside, as narrow interfaces: the network, the trainer, the disk and the clock.
// node/ plugs in the real ones, protocol/testing plugs in a simulated network on a virtual clock.
import type { Restraint } from "./core/judging.ts";
import type { SyncReason } from "./core/round-state.ts";
import type {
  BodyRoot,
  ContentId,
  Inventory,
  Offence,
  PeerId,
  Presence,
  SignedUpdate,
  SnapshotManifest,
  UpdateAnnouncement,
} from "./core/types.ts";

/** Called by the network with things already parsed, bounded, signature-checked and of this run. */
export interface NetworkListener {
  onUpdate(update: SignedUpdate, from: PeerId): void;
  onPresence(presence: Presence, from: PeerId): void;
  onPeerConnected(peer: PeerId): void;
  onPeerDisconnected(peer: PeerId): void;
}

/** What this peer serves to others over streams. Every method is cheap and never throws on unknown ids. */
export interface ServedContent {
  payload(id: ContentId): Promise<Uint8Array | undefined>;
  /** Updates this peer holds in rounds >= fromRound, oldest first. */
  inventory(fromRound: number): readonly SignedUpdate[];
  /**
   * Roots of the closed bodies in rounds >= fromRound that its updates have led to, by round; the last is the newest. A log
   * is believed only together with the body that it is of: a peer that says no roots gives no body to anyone.
   */
  closedRoots?(fromRound: number): ReadonlyMap<number, BodyRoot>;
  /** Whether one of these updates is in no body although its round is closed. */
  isOpposed?(update: SignedUpdate): boolean;
  snapshot(): SnapshotManifest | undefined;
  /** Bytes (float32 little-endian) of one tile of the body whose root is `root`, if it is the one we serve. */
  tile(root: string, index: number): Uint8Array | undefined;
  /**
   * `from` is about to announce this update of its own. Resolves with true once its payload is on our disk, with false where
   * it will not be, or not soon.
   */
  offer?(update: SignedUpdate, from: PeerId): Promise<boolean>;
}

/** The network as the protocol sees it: gossip out, content in by hash. Every fetch is verified before it resolves. */
export interface NetworkPort {
  readonly self: PeerId;
  /** Signs, remembers and gossips; resolves with the signed form once it is handed to the mesh. */
  signUpdate(announcement: UpdateAnnouncement): Promise<SignedUpdate>;
  publishUpdate(update: SignedUpdate): Promise<void>;
  /** Asks `peer` to have the payload of our own update before it is announced; whether it has it. */
  offerUpdate(peer: PeerId, update: SignedUpdate, signal: AbortSignal): Promise<boolean>;
  publishPresence(presence: Presence): Promise<void>;
  /** Payload of an update, asked of `holders` in turn, then of its author and of anybody else; checked for length and SHA-256. */
  fetchPayload(update: SignedUpdate, holders: readonly PeerId[], signal: AbortSignal): Promise<Uint8Array>;
  fetchInventory(peer: PeerId, fromRound: number, signal: AbortSignal): Promise<Inventory>;
  /**
   * Newest snapshot of `peer`, its manifest signed-for by the root; tiles come from everyone who serves that root and are
   * checked one by one.
   */
  fetchSnapshot(
    peer: PeerId,
    signal: AbortSignal,
    onProgress?: (bytes: number, totalBytes: number) => void,
    aids?: SnapshotAids,
  ): Promise<FetchedSnapshot>;
  penalise(peer: PeerId, offence: Offence, detail: string): void;
  connectedPeers(): readonly PeerId[];
}

/** What a snapshot is fetched with, beside the peer that gives its manifest. */
export interface SnapshotAids {
  /** Judges the manifest before any tile is fetched: throws to refuse it, and the fetch rejects with that. */
  readonly accept?: (manifest: SnapshotManifest) => void;
  /** A body at hand with its tiles' ids: tiles that are the same are not fetched. Not written to. */
  readonly held?: { readonly tiles: readonly ContentId[]; readonly body: Float32Array } | undefined;
  readonly draft?: SnapshotDraft | undefined;
}

/**
 * Where the tiles of a snapshot are kept until the whole is there, so that a kill or a lost connection costs none of them.
 * Room for one body. What is read from it is believed only if it hashes to what is wanted; losing it costs time alone.
 */
export interface SnapshotDraft {
  /** What was last kept as this tile, or anything else. */
  tile(index: number): Promise<Uint8Array | undefined>;
  keep(index: number, tile: Uint8Array): Promise<void>;
  drop(): Promise<void>;
}

export interface FetchedSnapshot {
  readonly manifest: SnapshotManifest;
  readonly body: Float32Array;
  readonly tiles: SnapshotTiles;
}

/** Where the tiles of a snapshot came from. */
export interface SnapshotTiles {
  /** As they were in the body at hand. */
  readonly held: number;
  /** From the draft of an earlier attempt. */
  readonly kept: number;
  readonly fetched: readonly DonorShare[];
}

export interface DonorShare {
  readonly peer: PeerId;
  readonly tiles: number;
  readonly bytesPerSecond: number;
}

/** What one round of local training gave. */
export interface RoundTraining {
  /**
   * theta_start - theta_end over the whole layout, flat, in layout order: the body, in variants trim and glob followed by
   * the embedding [vocabulary.size, width] by the common tokenizer's ids. 0 in rows that this peer does not hold; what
   * is there all the same is neither sent nor kept.
   */
  readonly delta: Float32Array;
  readonly tokens: number;
  readonly bytes: number;
  readonly lossNatsPerToken: number;
  readonly bitsPerByte: number;
  readonly computeMs: number;
  /** Of the time since the update before: how long there was nothing to do. Missing where that is not measured. */
  readonly idleMs?: number;
}

/**
 * Local training, off this thread. One call at a time, but for trainAhead. A `body` is the whole layout, so in variants trim and glob with the
 * shared embedding behind it, all its rows; it is shared and read-only.
 */
export interface TrainerPort {
  /**
   * Round of the local progress that was on its disk when it started, without what was trained ahead of it; -1 where there
   * was none. Progress of a round later than the last published one is what `carry` is for. Undefined where it cannot say.
   */
  readonly progressRound?: number | undefined;
  /**
   * Fits the private embeddings for `steps` steps with the body frozen at `body` (a newcomer's first act).
   * Does not move the body. Never called where the embedding is shared.
   */
  warmUp(
    body: Float32Array,
    steps: number,
    onStep: (step: number) => void,
    signal: AbortSignal,
  ): Promise<void>;
  /**
   * Trains round `round` from `body` up to the run's local steps. Where the trainer already stands inside this
   * round (resumed), or has unpublished progress from an expired one and `carry` is set, that progress is kept:
   * theta = body - (start - theta). Rejects with AbortError when the signal fires; progress made is kept. With `goOn`
   * trainAhead of the next round will be asked for at once, and may begin before.
   */
  trainRound(
    round: number,
    body: Float32Array,
    carry: boolean,
    onStep: (step: number, bitsPerByte: number) => void,
    signal: AbortSignal,
    goOn?: boolean,
  ): Promise<RoundTraining>;
  /**
   * Goes on with steps of `round` from where the trainer stands, after trainRound of the round before has resolved and
   * while its update is on its way. Resolves when the local steps are all taken, or with the step in hand when trainRound
   * is called: that takes over, and keeps this progress whatever its `carry` says, which is about the progress before.
   * Called for the round before instead, it takes all of it as progress of that one. Rejects with AbortError when the
   * signal fires; progress made is kept. Beside it trainRound and evaluate may be called.
   */
  trainAhead(
    round: number,
    onStep: (step: number, bitsPerByte: number) => void,
    signal: AbortSignal,
  ): Promise<void>;
  /**
   * What is enough for `round`: its trainRound resolves after the step in hand, at least one step of the round being taken.
   * Nothing happens where it has resolved already; where it has not begun it will do with one.
   */
  endRound(round: number): void;
  /** Bits per byte on this peer's held-out text with `body` and, where they are not in it, its own embeddings. */
  evaluate(body: Float32Array, signal: AbortSignal): Promise<number>;
}

/** The protocol's durable state. Everything is needed to resume, nothing else is kept. */
export interface ProtocolCheckpoint {
  readonly closedRound: number;
  readonly closedBody: Float32Array;
  /** The round this peer stands in. */
  readonly round: number;
  /** Updates known in rounds >= closedRound, and of the last closed rounds which ones their bodies contain. */
  readonly updates: readonly SignedUpdate[];
  /** Error feedback: what compression has dropped so far, flat, in layout order. */
  readonly residual: Float32Array;
  /** Rounds whose local training has been published (its delta is spent). */
  readonly publishedRound: number;
  /** Own updates of open and recently closed rounds: those that the plurality lacks go back into the residual. */
  readonly pendingOwn: readonly SignedUpdate[];
  readonly presenceSequence: number;
  /** Keys of the updates of open rounds that came when this peer stood in a later one. */
  readonly late?: readonly string[] | undefined;
  /** Keys of the updates of closed rounds that the run's defence has left out. */
  readonly opposed?: readonly string[] | undefined;
  /** Of a newcomer: updates that it has yet to make before one counts whole. */
  readonly probation?: number | undefined;
}

/** Durable storage. Writes are atomic: after kill -9 either the old or the new state is there, whole. */
export interface StorePort {
  load(): Promise<ProtocolCheckpoint | undefined>;
  save(checkpoint: ProtocolCheckpoint): Promise<void>;
  putPayload(id: ContentId, round: number, bytes: Uint8Array): Promise<void>;
  payload(id: ContentId): Promise<Uint8Array | undefined>;
  /** Forgets payloads of rounds below `round`. */
  prunePayloads(round: number): Promise<void>;
  readonly snapshotDraft?: SnapshotDraft;
}

/** An update that is in a closed body, and what this peer has seen of it. */
export interface LoggedUpdate {
  readonly update: SignedUpdate;
  /** It came when this peer stood in a later round already. */
  readonly late: boolean;
  /** Rows of the embedding that it has, where it lacks some. */
  readonly heldRows: number | undefined;
  /** What the run's defence took from it; undefined where it counts whole. */
  readonly restraint?: Restraint | undefined;
}

/** A round that has just been closed: nothing changes in it any more. */
export interface ClosedRound {
  readonly round: number;
  /** Exactly the updates that made the body after the round of the one before, by author. */
  readonly updates: readonly LoggedUpdate[];
  /** The body after the round, and its root. Shared and never written to: it may be kept. */
  readonly body: Float32Array;
  readonly root: BodyRoot;
}

/** A closed body that does not follow from rounds that this peer has closed itself since it started. */
export interface LogOrigin {
  /** Why: this peer has started, with or without a checkpoint, or has taken the body of `donor`. */
  readonly cause: "genesis" | "resumed" | SyncReason;
  readonly donor: PeerId | undefined;
  /** The body is the one at the start of this round. Shared and never written to. */
  readonly closedRound: number;
  readonly body: Float32Array;
  readonly root: BodyRoot;
}

/**
 * Keeps how the body came to be. Told in order, each time before the checkpoint that says the same is saved: after a crash
 * it may be ahead of the checkpoint, never behind it. Nothing depends on it, so that no call may reject.
 */
export interface UpdateLogPort {
  begin(origin: LogOrigin): Promise<void>;
  closed(round: ClosedRound): Promise<void>;
}

/** Time, injected. `after` returns a cancel function. */
export interface ClockPort {
  nowMs(): number;
  after(delayMs: number, callback: () => void): () => void;
}
