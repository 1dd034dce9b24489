// A peer's network: one host that carries its run, and further runs beside it (groups). Composes host, gossip, streams and
// the runs; answers what is asked for any of them. What a run does is in run-network.ts.
import { peerIdFromString } from "@libp2p/peer-id";
import type { Offence, PeerId, RunId } from "../core/types.ts";
import type { ClockPort } from "../ports.ts";
import { topicOfRun } from "../wire/topics.ts";
import { requireAddress } from "./addresses.ts";
import { serveAssets } from "./assets.ts";
import { systemClock } from "./clock.ts";
import type { PeerCache } from "./discovery.ts";
import { reasonOf } from "./errors.ts";
import { gossipService } from "./gossip.ts";
import { createHost, startHost } from "./host.ts";
import type { Identity } from "./identity.ts";
import { loadOrCreateIdentity } from "./identity.ts";
import { serveInventories } from "./inventories.ts";
import { LinkWatch } from "./link-watch.ts";
import type { Logger } from "./logger.ts";
import { silentLogger } from "./logger.ts";
import { OffenceBook } from "./offences.ts";
import { serveOffers } from "./offers.ts";
import { servePayloads } from "./payloads.ts";
import { RateLimiter } from "./rate-limit.ts";
import type { HostParts, RunNetwork, RunOptions } from "./run-network.ts";
import { HostedRun } from "./run-network.ts";
import { serveSnapshots } from "./snapshots.ts";
import { Streams } from "./streams.ts";
import type { ByteCount, TrafficChannel } from "./traffic.ts";
import { TrafficMeter } from "./traffic.ts";
import { UploadGate } from "./upload-gate.ts";

export type { NetworkAttachments, RunNetwork, RunOptions } from "./run-network.ts";

export interface NetworkOptions extends RunOptions {
  /** An identity, or the file that holds one (created if missing). */
  readonly identity: Identity | { readonly file: string };
  readonly listen: readonly string[];
  readonly announce?: readonly string[];
  /** Addresses of a rendezvous or of any peer of the run. All of them may be dead as long as the cache is not. */
  readonly bootstrap: readonly string[];
  /** Peers of a run to be connected to; default 16. */
  readonly targetPeers?: number;
  /** gossipsub's heartbeat; default 1000. */
  readonly heartbeatIntervalMs?: number;
}

export interface NetworkModules {
  readonly logger?: Logger;
  readonly clock?: ClockPort;
  readonly peerCache?: PeerCache;
}

/** A connected peer of one of our runs. */
export interface PeerLink extends ByteCount {
  readonly peer: PeerId;
  readonly direction: "inbound" | "outbound";
  readonly address: string;
  /** Round trip; undefined until the first ping has come back. */
  readonly latencyMs: number | undefined;
}

/** Bytes on streams since start, by channel and by peer of our runs that is connected now. */
export interface NetworkTraffic extends ByteCount {
  readonly channels: Readonly<Record<TrafficChannel, ByteCount>>;
  readonly links: readonly PeerLink[];
}

export interface Network extends RunNetwork {
  /** Listens and begins to look for peers. Does not wait for any. Throws NetworkError, see host.ts. */
  start(): Promise<void>;
  /** Ends the host, and with it all runs on it. */
  stop(): Promise<void>;
  /**
   * Another run over the same host: same identity, connections and bans, its own topic, members and content. To be
   * attached and started by the caller, after `start`. Throws NetworkError `MANIFEST_MISMATCH`.
   */
  besides(run: RunOptions): RunNetwork;
  /** Multiaddrs, with our peer id, that others can dial; known after `start`. */
  addresses(): readonly string[];
  traffic(): NetworkTraffic;
  offences(): Readonly<Partial<Record<Offence, number>>>;
}

const DEFAULT_TARGET_PEERS = 16;
/** Twice the target in each direction: others may dial us too. */
const CONNECTIONS_PER_TARGET_PEER = 4;

/** Throws NetworkError: bad addresses, an unreadable identity, a manifest that does not hash to the run. */
export async function createNetwork(options: NetworkOptions, modules: NetworkModules): Promise<Network> {
  const { identity: given } = options;
  const identity = "file" in given ? await loadOrCreateIdentity(given.file) : given;
  const clock = modules.clock ?? systemClock;
  const logger = modules.logger ?? silentLogger;
  const bootstrap = options.bootstrap.map(requireAddress);
  const book = new OffenceBook(clock);
  const targetPeers = options.targetPeers ?? DEFAULT_TARGET_PEERS;
  const meter = new TrafficMeter();
  const runs = new Map<RunId, HostedRun>();
  const isOurTopic = (topic: string) => [...runs.keys()].some((runId) => topicOfRun(runId) === topic);
  const host = await createHost(
    {
      identity,
      listen: options.listen,
      announce: options.announce ?? [],
      maxConnections: Math.max(64, targetPeers * CONNECTIONS_PER_TARGET_PEER),
    },
    { isBanned: (peer) => book.isBanned(peer), metrics: meter.metrics },
    { pubsub: gossipService(book, isOurTopic, options.heartbeatIntervalMs ?? 1000) },
  );
  meter.whose = (stream) =>
    host
      .getConnections()
      .find(({ streams }) => streams.includes(stream))
      ?.remotePeer.toString();
  const penalise = (peer: PeerId, offence: Offence, detail: string): void => {
    if (peer === identity.peer) return;
    const { banned } = book.penalise(peer, offence);
    logger.warn({ peer, offence, detail, banned }, banned ? "peer banned" : "peer penalised");
    if (!banned) return;
    for (const run of runs.values()) run.forget(peer);
    host.hangUp(peerIdFromString(peer)).catch((error: unknown) => {
      logger.debug({ peer, reason: reasonOf(error) }, "hanging up failed");
    });
  };
  const limiter = new RateLimiter(clock);
  const streams = new Streams(host, { logger, limiter, penalise });
  const links = new LinkWatch(host, { clock, logger });
  const shared = { identity, host, streams, links, limiter, book, clock, logger, bootstrap, targetPeers };
  const parts: HostParts = { ...shared, provenIds: new Map(), penalise };
  const network = new HostNetwork(options, parts, modules.peerCache, { listen: options.listen, runs, meter });
  runs.set(network.runId, network);
  return network;
}

interface HostOnly {
  readonly listen: readonly string[];
  /** By id, ours among them. */
  readonly runs: Map<RunId, HostedRun>;
  readonly meter: TrafficMeter;
}

/** The run that a host was made for, and the host around it. */
class HostNetwork extends HostedRun implements Network {
  readonly #parts: HostParts;
  readonly #own: HostOnly;

  constructor(options: RunOptions, parts: HostParts, peerCache: PeerCache | undefined, own: HostOnly) {
    super(options, parts, { peerCache });
    this.#parts = parts;
    this.#own = own;
  }

  override async start(): Promise<void> {
    await this.#serve();
    await startHost(this.#parts.host, this.#own.listen);
    this.#parts.links.start();
    await super.start();
  }

  override async stop(): Promise<void> {
    const { host, links, streams } = this.#parts;
    links.stop();
    const others = [...this.#own.runs.values()].filter((run) => run !== this);
    await Promise.all([super.stop(), ...others.map((run) => run.stop())]);
    await streams.stop();
    await host.stop();
  }

  besides(options: RunOptions): RunNetwork {
    const { runs } = this.#own;
    if (runs.has(options.runId)) throw new TypeError(`the run ${options.runId} is on this host already`);
    const run = new HostedRun(options, this.#parts, { onStopped: () => runs.delete(options.runId) });
    runs.set(run.runId, run);
    return run;
  }

  addresses(): readonly string[] {
    return this.#parts.host.getMultiaddrs().map(String);
  }

  traffic(): NetworkTraffic {
    const { peers, ...totals } = this.#own.meter.report();
    const links = this.#parts.links.describe().map((link) => ({
      ...link,
      bytesSent: peers.get(link.peer)?.bytesSent ?? 0,
      bytesReceived: peers.get(link.peer)?.bytesReceived ?? 0,
    }));
    return { ...totals, links };
  }

  offences(): Readonly<Partial<Record<Offence, number>>> {
    return this.#parts.book.counts();
  }

  /** Whatever is asked names its run; of a run that is not here, or no longer, there is nothing. */
  async #serve(): Promise<void> {
    const { streams, clock, penalise } = this.#parts;
    const gate = new UploadGate(clock);
    const find = (runId: RunId) => this.#own.runs.get(runId);
    await streams.answer(
      "peer-exchange",
      async (request, peer) => find(request.runId)?.introduce(request, peer) ?? { known: false, peers: [] },
    );
    await streams.answer("run-manifest", async ({ runId }) => ({ manifest: find(runId)?.manifest }));
    await serveInventories(streams, (runId) => find(runId)?.content);
    await servePayloads(streams, (runId) => find(runId)?.content, gate);
    await serveSnapshots(streams, find, gate);
    await serveOffers(streams, find, penalise);
    await serveAssets(streams, async (runId, contentId) => find(runId)?.openAsset(contentId));
  }
}
