// One run on a host that may carry several: its topic, its members, its search for peers, and what is fetched from them.
// Everything that leaves this file towards the protocol has been parsed, bounded, signature-checked and is of this run.
import type { GossipSub, SubscriptionChangeData } from "@chainsafe/libp2p-gossipsub";
import { peerIdFromString } from "@libp2p/peer-id";
import type {
  ContentId,
  Inventory,
  Offence,
  PeerId,
  Presence,
  RunId,
  SignedUpdate,
  UpdateAnnouncement,
} from "../core/types.ts";
import type {
  ClockPort,
  FetchedSnapshot,
  NetworkListener,
  NetworkPort,
  ServedContent,
  SnapshotAids,
} from "../ports.ts";
import type { PeerExchangeRequest, PeerExchangeResponse } from "../wire/exchange.ts";
import { topicOfRun } from "../wire/topics.ts";
import type { DialTarget } from "./addresses.ts";
import { AssetFiles } from "./asset-files.ts";
import type { RunAsset } from "./assets.ts";
import { giveAsset } from "./assets.ts";
import type { BulkObject } from "./bulk.ts";
import type { PeerCache } from "./discovery.ts";
import { Discovery } from "./discovery.ts";
import { DonorRates } from "./donor-rates.ts";
import { NetworkError } from "./errors.ts";
import { Gossip } from "./gossip.ts";
import { sha256Hex } from "./hash.ts";
import type { Host } from "./host.ts";
import type { Identity } from "./identity.ts";
import { fetchInventory } from "./inventories.ts";
import type { LinkWatch } from "./link-watch.ts";
import type { Logger } from "./logger.ts";
import type { OffenceBook } from "./offences.ts";
import { offerUpdate } from "./offers.ts";
import { fetchPayload } from "./payloads.ts";
import { PeerDirectory } from "./peer-directory.ts";
import type { RateLimiter } from "./rate-limit.ts";
import { signPresence, signUpdate } from "./signatures.ts";
import { fetchSnapshot } from "./snapshots.ts";
import type { Streams } from "./streams.ts";

/** Neighbours that are asked for a payload without having said that they have it; other ones at the next attempt. */
const OTHERS_ASKED = 8;

export interface RunOptions {
  readonly runId: RunId;
  /** The manifest's exact bytes: they hash to `runId` and are served to whoever wants to join through us. */
  readonly runManifest: Uint8Array;
  /** float32 values in the run's body. */
  readonly bodyValues: number;
  /** Announcements of larger payloads are refused. */
  readonly maxPayloadBytes: number;
  /** Files of the run that are here and served to others; read when asked for, checked against their hash. */
  readonly assets?: readonly RunAsset[];
}

export interface NetworkAttachments {
  readonly listener: NetworkListener;
  readonly content: ServedContent;
}

/** A run as the protocol sees it, and as its peer starts and stops it. */
export interface RunNetwork extends NetworkPort {
  readonly runId: RunId;
  /** Who hears and who serves; before `start`. Without it nothing is heard and nothing served. */
  attach(attachments: NetworkAttachments): void;
  /** Begins to look for peers. Does not wait for any. */
  start(): Promise<void>;
  /** Leaves the run; the host stays as long as others use it. */
  stop(): Promise<void>;
}

/** What the runs of a host have in common. */
export interface HostParts {
  readonly identity: Identity;
  readonly host: Host<{ pubsub: GossipSub }>;
  readonly streams: Streams;
  readonly links: LinkWatch;
  readonly limiter: RateLimiter;
  readonly book: OffenceBook;
  readonly clock: ClockPort;
  readonly logger: Logger;
  readonly bootstrap: readonly DialTarget[];
  /** Addresses that proved to be a certain peer: those without an id are dialled once for all runs. */
  readonly provenIds: Map<string, PeerId>;
  readonly targetPeers: number;
  readonly penalise: (peer: PeerId, offence: Offence, detail: string) => void;
}

const DIRECTORY_BOUNDS = { maxPeers: 1024, lifetimeMs: 60 * 60_000 };
const DETACHED: NetworkAttachments = {
  listener: { onUpdate() {}, onPresence() {}, onPeerConnected() {}, onPeerDisconnected() {} },
  content: {
    payload: async () => undefined,
    inventory: () => [],
    snapshot: () => undefined,
    tile: () => undefined,
  },
};

export interface HostedRunModules {
  readonly peerCache?: PeerCache | undefined;
  readonly onStopped?: () => void;
}

export class HostedRun implements RunNetwork {
  readonly self: PeerId;
  readonly runId: RunId;
  readonly #options: RunOptions;
  readonly #parts: HostParts;
  readonly #gossip: Gossip;
  readonly #discovery: Discovery;
  readonly #directory: PeerDirectory;
  /** Connected peers that subscribe to the run's topic: those are its members, others merely pass by. */
  readonly #members = new Set<PeerId>();
  readonly #assetFiles = new AssetFiles();
  readonly #rates = new DonorRates();
  readonly #stopped = new AbortController();
  readonly #onStopped: () => void;
  #attached = DETACHED;

  /** Throws NetworkError `MANIFEST_MISMATCH` where the manifest does not hash to the run. */
  constructor(options: RunOptions, parts: HostParts, { peerCache, onStopped = () => {} }: HostedRunModules) {
    const { runId, runManifest, maxPayloadBytes } = options;
    if (sha256Hex(runManifest) !== runId) {
      throw new NetworkError(
        "MANIFEST_MISMATCH",
        `The manifest at hand is not that of run ${runId}; join with the run's own invite.`,
        { runId },
      );
    }
    const { host, clock, logger, book, limiter, penalise, links, streams } = parts;
    this.self = parts.identity.peer;
    this.runId = runId;
    this.#options = options;
    this.#parts = parts;
    this.#onStopped = onStopped;
    this.#directory = new PeerDirectory(DIRECTORY_BOUNDS, clock);
    this.#gossip = new Gossip(
      host.services.pubsub,
      { runId, self: this.self, maxPayloadBytes },
      {
        book,
        limiter,
        logger,
        penalise,
        onUpdate: (update, from) => this.#attached.listener.onUpdate(update, from),
        onPresence: (presence, from) => {
          this.#rates.announced(presence);
          this.#attached.listener.onPresence(presence, from);
        },
        onHeard: (peer, intervalMs) => links.heard(peer, intervalMs),
      },
    );
    this.#discovery = new Discovery(
      { runId, runManifest, self: this.self, targetPeers: parts.targetPeers, bootstrap: parts.bootstrap },
      {
        host,
        streams,
        directory: this.#directory,
        clock,
        logger,
        cache: peerCache,
        provenIds: parts.provenIds,
        memberCount: () => this.#members.size,
        isBanned: (peer) => book.isBanned(peer),
        giveAssets: (peer, signal) => this.#giveAssets(peer, signal),
      },
    );
  }

  get content(): ServedContent {
    return this.#attached.content;
  }

  get manifest(): Uint8Array {
    return this.#options.runManifest;
  }

  get bodyValues(): number {
    return this.#options.bodyValues;
  }

  get maxPayloadBytes(): number {
    return this.#options.maxPayloadBytes;
  }

  attach(attachments: NetworkAttachments): void {
    this.#attached = attachments;
  }

  async start(): Promise<void> {
    const { host } = this.#parts;
    const { pubsub } = host.services;
    pubsub.addEventListener("subscription-change", this.#onSubscriptions);
    host.addEventListener("peer:disconnect", this.#onDisconnect);
    this.#gossip.start();
    // Those who were there before us have told the host, not us.
    for (const peer of pubsub.getSubscribers(topicOfRun(this.runId))) this.#setMember(peer.toString(), true);
    await this.#discovery.start();
  }

  async stop(): Promise<void> {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort(new NetworkError("NETWORK_STOPPED", "The run has been left."));
    const { host, links } = this.#parts;
    host.services.pubsub.removeEventListener("subscription-change", this.#onSubscriptions);
    host.removeEventListener("peer:disconnect", this.#onDisconnect);
    await this.#discovery.stop();
    this.#gossip.stop();
    for (const peer of this.#members) links.left(peer);
    this.#members.clear();
    this.#onStopped();
  }

  signUpdate(announcement: UpdateAnnouncement): Promise<SignedUpdate> {
    return signUpdate(this.#parts.identity, announcement);
  }

  async publishUpdate(update: SignedUpdate): Promise<void> {
    const recipients = await this.#gossip.publish(update.envelope);
    const { round, author } = update.announcement;
    this.#parts.logger.debug({ round, author, recipients }, "update published");
  }

  offerUpdate(peer: PeerId, update: SignedUpdate, signal: AbortSignal): Promise<boolean> {
    return offerUpdate(this.#parts.streams, peer, update, this.#untilStopped(signal));
  }

  async publishPresence(presence: Presence): Promise<void> {
    await this.#gossip.publish(await signPresence(this.#parts.identity, presence));
  }

  async fetchPayload(
    update: SignedUpdate,
    holders: readonly PeerId[],
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const { author, payloadBytes } = update.announcement;
    if (payloadBytes > this.#options.maxPayloadBytes) {
      this.penalise(author, "oversized", "an announced payload is larger than the run allows");
      throw new NetworkError(
        "PAYLOAD_TOO_LARGE",
        `${author} announced a payload of ${payloadBytes} bytes, at most ${this.#options.maxPayloadBytes} are allowed; it is ignored.`,
        { peer: author },
      );
    }
    const { streams, penalise } = this.#parts;
    const preferred = new Set([...holders, author]);
    const reachable = this.#reachable([...preferred]);
    const others = reachable.filter((peer) => !preferred.has(peer));
    const sources = [...reachable.filter((peer) => preferred.has(peer)), ...someOf(others, OTHERS_ASKED)];
    return fetchPayload(streams, update, sources, penalise, this.#untilStopped(signal));
  }

  fetchInventory(peer: PeerId, fromRound: number, signal: AbortSignal): Promise<Inventory> {
    const { streams, penalise } = this.#parts;
    const request = { runId: this.runId, fromRound };
    return fetchInventory(streams, peer, request, penalise, this.#untilStopped(signal));
  }

  async fetchSnapshot(
    peer: PeerId,
    signal: AbortSignal,
    onProgress: (bytes: number, totalBytes: number) => void = () => {},
    aids: SnapshotAids = {},
  ): Promise<FetchedSnapshot> {
    const { streams, clock, penalise } = this.#parts;
    const others = () => this.#reachable([]);
    const request = { runId: this.runId, bodyValues: this.bodyValues, peer, others, onProgress, aids };
    const modules = { streams, clock, rates: this.#rates, penalise };
    return fetchSnapshot(modules, request, this.#untilStopped(signal));
  }

  penalise(peer: PeerId, offence: Offence, detail: string): void {
    this.#parts.penalise(peer, offence, detail);
  }

  connectedPeers(): readonly PeerId[] {
    return [...this.#members];
  }

  /** A banned peer is not looked for any more. */
  forget(peer: PeerId): void {
    this.#directory.forget(peer);
    this.#rates.forget(peer);
  }

  /** What to tell a peer that asks who else is in the run. */
  introduce({ register, addresses }: PeerExchangeRequest, peer: PeerId): PeerExchangeResponse {
    const peers = this.#directory.answerFor(peer);
    if (register) this.#directory.introduce({ peer, addresses });
    return { known: true, peers };
  }

  async openAsset(contentId: ContentId): Promise<BulkObject | undefined> {
    const asset = this.#options.assets?.find((candidate) => candidate.contentId === contentId);
    return asset && this.#assetFiles.open(asset.file, contentId);
  }

  async #giveAssets(peer: PeerId, signal: AbortSignal): Promise<void> {
    for (const { contentId } of this.#options.assets ?? []) {
      const object = await this.openAsset(contentId);
      if (object === undefined) continue;
      try {
        const offer = { runId: this.runId, contentId, lengthBytes: object.lengthBytes };
        await giveAsset(this.#parts.streams, peer, offer, object, signal);
      } finally {
        await object.close?.();
      }
    }
  }

  /** The given peers that we are connected to, then every other member: any of them may hold it. */
  #reachable(preferred: readonly PeerId[]): readonly PeerId[] {
    const isUsable = (peer: PeerId) =>
      peer !== this.self && this.#members.has(peer) && !this.#parts.book.isBanned(peer);
    return [...new Set([...preferred, ...this.#members])].filter(isUsable);
  }

  /** Transfers try one source after another; the end of the network must end them all. */
  #untilStopped(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.#stopped.signal, this.#parts.streams.stopped]);
  }

  readonly #onSubscriptions = ({ detail }: CustomEvent<SubscriptionChangeData>): void => {
    const topic = topicOfRun(this.runId);
    const change = detail.subscriptions.findLast((subscription) => subscription.topic === topic);
    if (change !== undefined) this.#setMember(detail.peerId.toString(), change.subscribe);
  };

  readonly #onDisconnect = ({ detail }: CustomEvent<{ toString(): string }>): void =>
    this.#setMember(detail.toString(), false);

  /** Where we dialled a member is where it can be found again, also if it has told nobody its addresses yet. */
  #rememberAddress(peer: PeerId): void {
    const addresses = this.#parts.host
      .getConnections(peerIdFromString(peer))
      .filter(({ direction }) => direction === "outbound")
      .map(({ remoteAddr }) => remoteAddr.toString());
    this.#directory.mention({ peer, addresses });
    this.#directory.confirm(peer);
  }

  #setMember(peer: PeerId, isMember: boolean): void {
    if (this.#members.has(peer) === isMember) return;
    const { listener } = this.#attached;
    const { links } = this.#parts;
    if (isMember) {
      this.#members.add(peer);
      this.#rememberAddress(peer);
      links.joined(peer);
      listener.onPeerConnected(peer);
    } else {
      this.#members.delete(peer);
      links.left(peer);
      listener.onPeerDisconnected(peer);
    }
    this.#discovery.lookNow();
  }
}

/** So many of the peers at most, drawn at random. */
function someOf(peers: readonly PeerId[], most: number): readonly PeerId[] {
  if (peers.length <= most) return peers;
  return peers
    .map((peer) => ({ peer, lot: Math.random() }))
    .sort((a, b) => a.lot - b.lot)
    .slice(0, most)
    .map(({ peer }) => peer);
}
