// The network of one run: composes host, gossip, streams and discovery into the NetworkPort the protocol sees.
// Everything that leaves this file towards the protocol has been parsed, bounded, signature-checked and is of this run.
import type { GossipSub } from "@chainsafe/libp2p-gossipsub";
import { peerIdFromString } from "@libp2p/peer-id";
import type {
  ContentId,
  Offence,
  PeerId,
  Presence,
  RunId,
  SignedUpdate,
  SnapshotManifest,
  UpdateAnnouncement,
} from "../core/types.ts";
import type { ClockPort, NetworkListener, NetworkPort, ServedContent } from "../ports.ts";
import { topicOfRun } from "../wire/topics.ts";
import { requireAddress } from "./addresses.ts";
import { AssetFiles } from "./asset-files.ts";
import type { RunAsset } from "./assets.ts";
import { giveAsset, serveAssets } from "./assets.ts";
import type { BulkObject } from "./bulk.ts";
import { systemClock } from "./clock.ts";
import type { PeerCache } from "./discovery.ts";
import { Discovery } from "./discovery.ts";
import { NetworkError, reasonOf } from "./errors.ts";
import { Gossip, gossipService } from "./gossip.ts";
import { sha256Hex } from "./hash.ts";
import type { Host } from "./host.ts";
import { createHost, startHost } from "./host.ts";
import type { Identity } from "./identity.ts";
import { loadOrCreateIdentity } from "./identity.ts";
import { fetchInventory, serveInventories } from "./inventories.ts";
import { LinkWatch } from "./link-watch.ts";
import type { Logger } from "./logger.ts";
import { silentLogger } from "./logger.ts";
import { OffenceBook } from "./offences.ts";
import { fetchPayload, servePayloads } from "./payloads.ts";
import { PeerDirectory } from "./peer-directory.ts";
import { RateLimiter } from "./rate-limit.ts";
import { signPresence, signUpdate } from "./signatures.ts";
import { fetchSnapshot, serveSnapshots } from "./snapshots.ts";
import { Streams } from "./streams.ts";
import type { ByteCount, TrafficChannel } from "./traffic.ts";
import { TrafficMeter } from "./traffic.ts";

export interface NetworkOptions {
  /** An identity, or the file that holds one (created if missing). */
  readonly identity: Identity | { readonly file: string };
  readonly runId: RunId;
  /** The manifest's exact bytes: they hash to `runId` and are served to whoever wants to join through us. */
  readonly runManifest: Uint8Array;
  readonly listen: readonly string[];
  readonly announce?: readonly string[];
  /** Addresses of a rendezvous or of any peer of the run. All of them may be dead as long as the cache is not. */
  readonly bootstrap: readonly string[];
  /** float32 values in the run's body. */
  readonly bodyValues: number;
  /** Announcements of larger payloads are refused. */
  readonly maxPayloadBytes: number;
  /** Files of the run that are here and served to others; read when asked for, checked against their hash. */
  readonly assets?: readonly RunAsset[];
  /** Peers of the run to be connected to; default 16. */
  readonly targetPeers?: number;
  /** gossipsub's heartbeat; default 1000. */
  readonly heartbeatIntervalMs?: number;
}

export interface NetworkModules {
  readonly logger?: Logger;
  readonly clock?: ClockPort;
  readonly peerCache?: PeerCache;
}

export interface NetworkAttachments {
  readonly listener: NetworkListener;
  readonly content: ServedContent;
}

/** A connected peer of the run. */
export interface PeerLink extends ByteCount {
  readonly peer: PeerId;
  readonly direction: "inbound" | "outbound";
  readonly address: string;
  /** Round trip; undefined until the first ping has come back. */
  readonly latencyMs: number | undefined;
}

/** Bytes on streams since start, by channel and by peer of the run that is connected now. */
export interface NetworkTraffic extends ByteCount {
  readonly channels: Readonly<Record<TrafficChannel, ByteCount>>;
  readonly links: readonly PeerLink[];
}

export interface Network extends NetworkPort {
  /** Who hears and who serves; before `start`. Without it nothing is heard and nothing served. */
  attach(attachments: NetworkAttachments): void;
  /** Listens and begins to look for peers. Does not wait for any. Throws NetworkError, see host.ts. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Multiaddrs, with our peer id, that others can dial; known after `start`. */
  addresses(): readonly string[];
  traffic(): NetworkTraffic;
  offences(): Readonly<Partial<Record<Offence, number>>>;
}

const DEFAULT_TARGET_PEERS = 16;
/** Twice the target in each direction: others may dial us too. */
const CONNECTIONS_PER_TARGET_PEER = 4;
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

/** Throws NetworkError: bad addresses, an unreadable identity, a manifest that does not hash to the run. */
export async function createNetwork(options: NetworkOptions, modules: NetworkModules): Promise<Network> {
  if (sha256Hex(options.runManifest) !== options.runId) {
    throw new NetworkError(
      "manifest-mismatch",
      `The manifest at hand is not that of run ${options.runId}; join with the run's own invite.`,
      { runId: options.runId },
    );
  }
  const { identity: given } = options;
  const identity = "file" in given ? await loadOrCreateIdentity(given.file) : given;
  const clock = modules.clock ?? systemClock;
  const book = new OffenceBook(clock);
  const targetPeers = options.targetPeers ?? DEFAULT_TARGET_PEERS;
  const meter = new TrafficMeter();
  const host = await createHost(
    {
      identity,
      listen: options.listen,
      announce: options.announce ?? [],
      maxConnections: Math.max(64, targetPeers * CONNECTIONS_PER_TARGET_PEER),
    },
    { isBanned: (peer) => book.isBanned(peer), metrics: meter.metrics },
    { pubsub: gossipService(options.runId, book, options.heartbeatIntervalMs ?? 1000) },
  );
  meter.whose = (stream) =>
    host
      .getConnections()
      .find(({ streams }) => streams.includes(stream))
      ?.remotePeer.toString();
  const logger = modules.logger ?? silentLogger;
  return new RunNetwork(options, {
    identity,
    clock,
    book,
    host,
    meter,
    logger,
    targetPeers,
    cache: modules.peerCache,
  });
}

interface Parts {
  readonly identity: Identity;
  readonly clock: ClockPort;
  readonly book: OffenceBook;
  readonly host: Host<{ pubsub: GossipSub }>;
  readonly meter: TrafficMeter;
  readonly logger: Logger;
  readonly targetPeers: number;
  readonly cache: PeerCache | undefined;
}

class RunNetwork implements Network {
  readonly self: PeerId;
  readonly #options: NetworkOptions;
  readonly #parts: Parts;
  readonly #streams: Streams;
  readonly #gossip: Gossip;
  readonly #discovery: Discovery;
  readonly #directory: PeerDirectory;
  readonly #links: LinkWatch;
  /** Connected peers that subscribe to the run's topic: those are its members, others merely pass by. */
  readonly #members = new Set<PeerId>();
  readonly #assetFiles = new AssetFiles();
  #attached = DETACHED;

  constructor(options: NetworkOptions, parts: Parts) {
    this.self = parts.identity.peer;
    this.#options = options;
    this.#parts = parts;
    const { runId, runManifest, maxPayloadBytes } = options;
    const { host, clock, logger, book, targetPeers, cache } = parts;
    const limiter = new RateLimiter(clock);
    const penalise = this.penalise.bind(this);
    this.#streams = new Streams(host, { logger, limiter, penalise });
    this.#directory = new PeerDirectory(DIRECTORY_BOUNDS, clock);
    this.#links = new LinkWatch(host, { clock, logger, members: () => [...this.#members] });
    this.#gossip = new Gossip(
      host.services.pubsub,
      { runId, self: this.self, maxPayloadBytes },
      {
        book,
        limiter,
        logger,
        penalise,
        onUpdate: (update, from) => this.#attached.listener.onUpdate(update, from),
        onPresence: (presence, from) => this.#attached.listener.onPresence(presence, from),
        onHeard: (peer) => this.#links.heard(peer),
      },
    );
    this.#discovery = new Discovery(
      { runId, runManifest, self: this.self, targetPeers, bootstrap: options.bootstrap.map(requireAddress) },
      {
        host,
        streams: this.#streams,
        directory: this.#directory,
        clock,
        logger,
        cache,
        memberCount: () => this.#members.size,
        isBanned: (peer) => book.isBanned(peer),
        giveAssets: (peer, signal) => this.#giveAssets(peer, signal),
      },
    );
  }

  attach(attachments: NetworkAttachments): void {
    this.#attached = attachments;
  }

  async start(): Promise<void> {
    const { host } = this.#parts;
    await this.#serve();
    host.services.pubsub.addEventListener("subscription-change", ({ detail }) => {
      const topic = topicOfRun(this.#options.runId);
      const change = detail.subscriptions.findLast((subscription) => subscription.topic === topic);
      if (change !== undefined) this.#setMember(detail.peerId.toString(), change.subscribe);
    });
    host.addEventListener("peer:disconnect", ({ detail }) => this.#setMember(detail.toString(), false));
    await startHost(host, this.#options.listen);
    this.#gossip.start();
    this.#links.start();
    await this.#discovery.start();
  }

  async stop(): Promise<void> {
    this.#links.stop();
    await this.#discovery.stop();
    this.#gossip.stop();
    await this.#streams.stop();
    await this.#parts.host.stop();
    this.#members.clear();
  }

  addresses(): readonly string[] {
    return this.#parts.host.getMultiaddrs().map(String);
  }

  signUpdate(announcement: UpdateAnnouncement): Promise<SignedUpdate> {
    return signUpdate(this.#parts.identity, announcement);
  }

  async publishUpdate(update: SignedUpdate): Promise<void> {
    const recipients = await this.#gossip.publish(update.envelope);
    const { round, author } = update.announcement;
    this.#parts.logger.debug({ round, author, recipients }, "update published");
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
        "payload-too-large",
        `${author} announced a payload of ${payloadBytes} bytes, at most ${this.#options.maxPayloadBytes} are allowed; it is ignored.`,
        { peer: author },
      );
    }
    const sources = this.#reachable([author, ...holders]);
    return fetchPayload(this.#streams, update, sources, this.penalise.bind(this), this.#untilStopped(signal));
  }

  fetchInventory(peer: PeerId, fromRound: number, signal: AbortSignal): Promise<readonly SignedUpdate[]> {
    const request = { runId: this.#options.runId, fromRound };
    return fetchInventory(this.#streams, peer, request, this.penalise.bind(this), signal);
  }

  async fetchSnapshot(
    peer: PeerId,
    signal: AbortSignal,
    onProgress: (bytes: number, totalBytes: number) => void = () => {},
  ): Promise<{ manifest: SnapshotManifest; body: Float32Array }> {
    const { runId, bodyValues } = this.#options;
    const helpers = this.connectedPeers().filter((helper) => helper !== peer);
    const request = { runId, bodyValues, peer, helpers, onProgress };
    return fetchSnapshot(this.#streams, request, this.penalise.bind(this), this.#untilStopped(signal));
  }

  penalise(peer: PeerId, offence: Offence, detail: string): void {
    if (peer === this.self) return;
    const { book, host, logger } = this.#parts;
    const { banned } = book.penalise(peer, offence);
    logger.warn({ peer, offence, detail, banned }, banned ? "peer banned" : "peer penalised");
    if (!banned) return;
    this.#directory.forget(peer);
    host.hangUp(peerIdFromString(peer)).catch((error: unknown) => {
      logger.debug({ peer, reason: reasonOf(error) }, "hanging up failed");
    });
  }

  connectedPeers(): readonly PeerId[] {
    return [...this.#members];
  }

  traffic(): NetworkTraffic {
    const { peers, ...totals } = this.#parts.meter.report();
    const links = this.#links.describe().map((link) => ({
      ...link,
      bytesSent: peers.get(link.peer)?.bytesSent ?? 0,
      bytesReceived: peers.get(link.peer)?.bytesReceived ?? 0,
    }));
    return { ...totals, links };
  }

  offences(): Readonly<Partial<Record<Offence, number>>> {
    return this.#parts.book.counts();
  }

  async #serve(): Promise<void> {
    const { runId, runManifest, bodyValues } = this.#options;
    const content = () => this.#attached.content;
    await this.#streams.answer("peer-exchange", async (request, peer) => {
      if (request.runId !== runId) return { known: false, peers: [] };
      const peers = this.#directory.answerFor(peer);
      if (request.register) this.#directory.introduce({ peer, addresses: request.addresses });
      return { known: true, peers };
    });
    await this.#streams.answer("run-manifest", async (request) => ({
      manifest: request.runId === runId ? runManifest : undefined,
    }));
    await serveInventories(this.#streams, runId, (fromRound) => content().inventory(fromRound));
    await servePayloads(this.#streams, runId, (id) => content().payload(id));
    await serveSnapshots(this.#streams, { runId, bodyValues }, content);
    await serveAssets(this.#streams, async (asked, contentId) =>
      asked === runId ? this.#openAsset(contentId) : undefined,
    );
  }

  async #openAsset(contentId: ContentId): Promise<BulkObject | undefined> {
    const asset = this.#options.assets?.find((candidate) => candidate.contentId === contentId);
    return asset && this.#assetFiles.open(asset.file, contentId);
  }

  async #giveAssets(peer: PeerId, signal: AbortSignal): Promise<void> {
    for (const { contentId } of this.#options.assets ?? []) {
      const object = await this.#openAsset(contentId);
      if (object === undefined) continue;
      try {
        const offer = { runId: this.#options.runId, contentId, lengthBytes: object.lengthBytes };
        await giveAsset(this.#streams, peer, offer, object, signal);
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
    return AbortSignal.any([signal, this.#streams.stopped]);
  }

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
    if (isMember) {
      this.#members.add(peer);
      this.#rememberAddress(peer);
      this.#links.joined(peer);
      listener.onPeerConnected(peer);
    } else {
      this.#members.delete(peer);
      this.#links.left(peer);
      listener.onPeerDisconnected(peer);
    }
    this.#discovery.lookNow();
  }
}
