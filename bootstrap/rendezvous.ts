// The rendezvous: tells the peers of a run where the others are and keeps the run's manifest and the files that it names.
// It joins no gossip and sees no text, no embeddings and no updates; a run whose peers know each other goes on without it.
import { join } from "node:path";
import type { Offence, PeerId, RunId } from "#protocol/core/types.ts";
import { serveAssets, takeAssets } from "#protocol/net/assets.ts";
import { systemClock } from "#protocol/net/clock.ts";
import type { Host } from "#protocol/net/host.ts";
import { createHost, startHost } from "#protocol/net/host.ts";
import type { Identity } from "#protocol/net/identity.ts";
import { loadOrCreateIdentity } from "#protocol/net/identity.ts";
import type { Logger } from "#protocol/net/logger.ts";
import { silentLogger } from "#protocol/net/logger.ts";
import { OffenceBook } from "#protocol/net/offences.ts";
import { RateLimiter } from "#protocol/net/rate-limit.ts";
import { Streams } from "#protocol/net/streams.ts";
import type { ClockPort } from "#protocol/ports.ts";
import { AssetStore } from "./asset-store.ts";
import { ManifestStore } from "./manifest-store.ts";
import { RunRegistry } from "./run-registry.ts";

export interface RendezvousOptions {
  readonly listen: readonly string[];
  readonly announce?: readonly string[];
  /** Holds the identity (`identity.key`), the manifests (`manifests/`) and their files (`assets/`); created if missing. */
  readonly stateDirectory: string;
  /** Default: `identity.key` in the state directory. */
  readonly identityFile?: string;
  /** Runs served at once; default 256. The one unused for longest is dropped for a new one. */
  readonly maxRuns?: number;
  /** Bytes of runs' files kept; default 1 GiB. The file unused for longest is dropped for a new one. */
  readonly maxAssetBytes?: number;
}

export interface RendezvousModules {
  readonly logger?: Logger;
  readonly clock?: ClockPort;
}

export interface RendezvousStats {
  readonly connections: number;
  readonly runs: readonly { readonly runId: RunId; readonly peers: number }[];
  readonly manifests: number;
  readonly assetBytes: number;
  readonly offences: Readonly<Partial<Record<Offence, number>>>;
}

export interface Rendezvous {
  readonly self: PeerId;
  /** Throws NetworkError: port in use, address not of this machine. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Multiaddrs to hand out, with our peer id; known after `start`. */
  addresses(): readonly string[];
  stats(): RendezvousStats;
}

const DEFAULT_MAX_RUNS = 256;
/** Fifty of the largest tokenizers. */
const DEFAULT_MAX_ASSET_BYTES = 1024 * 1024 * 1024;
const MAX_CONNECTIONS = 1024;

/** Throws NetworkError where an address is malformed or the identity cannot be read. */
export async function createRendezvous(
  options: RendezvousOptions,
  modules: RendezvousModules = {},
): Promise<Rendezvous> {
  const clock = modules.clock ?? systemClock;
  const logger = modules.logger ?? silentLogger;
  const identity = await loadOrCreateIdentity(
    options.identityFile ?? join(options.stateDirectory, "identity.key"),
  );
  const maxRuns = options.maxRuns ?? DEFAULT_MAX_RUNS;
  let assets: AssetStore | undefined;
  const manifests = await ManifestStore.open(
    join(options.stateDirectory, "manifests"),
    maxRuns,
    async (runId) => assets?.forget(runId),
  );
  assets = await AssetStore.open(
    join(options.stateDirectory, "assets"),
    options.maxAssetBytes ?? DEFAULT_MAX_ASSET_BYTES,
    { isNamed: (runId, contentId) => manifests.names(runId, contentId) },
  );
  const book = new OffenceBook(clock);
  const { listen, announce = [] } = options;
  const host = await createHost(
    { identity, listen, announce, maxConnections: MAX_CONNECTIONS },
    { isBanned: (peer) => book.isBanned(peer) },
    {},
  );
  return new StreamRendezvous({ identity, host, listen, manifests, assets, book, clock, logger, maxRuns });
}

interface Parts {
  readonly identity: Identity;
  readonly host: Host;
  readonly listen: readonly string[];
  readonly manifests: ManifestStore;
  readonly assets: AssetStore;
  readonly book: OffenceBook;
  readonly clock: ClockPort;
  readonly logger: Logger;
  readonly maxRuns: number;
}

class StreamRendezvous implements Rendezvous {
  readonly self: PeerId;
  readonly #parts: Parts;
  readonly #registry: RunRegistry;
  readonly #streams: Streams;

  constructor(parts: Parts) {
    const { host, logger, clock, book } = parts;
    this.self = parts.identity.peer;
    this.#parts = parts;
    this.#registry = new RunRegistry(parts.maxRuns, clock);
    this.#streams = new Streams(host, {
      logger,
      limiter: new RateLimiter(clock),
      penalise: (peer, offence, detail) => {
        const { banned } = book.penalise(peer, offence);
        logger.warn({ peer, offence, detail, banned }, banned ? "peer banned" : "peer penalised");
        if (banned) for (const connection of host.getConnections()) this.#abortIf(peer, connection);
      },
    });
  }

  async start(): Promise<void> {
    const { manifests, assets, host, listen, logger } = this.#parts;
    await this.#streams.answer("peer-exchange", async (request, peer) => {
      const { runId, register, addresses } = request;
      // Only runs whose manifest is here: whoever brings a run brings its manifest, and invented ids cost nothing.
      if (!manifests.has(runId)) return { known: false, peers: [] };
      const peers = this.#registry.peersOf(runId, peer);
      if (register) this.#registry.register(runId, { peer, addresses });
      return { known: true, peers };
    });
    await this.#streams.answer("run-manifest", async ({ runId }) => ({
      manifest: await manifests.get(runId),
    }));
    await this.#streams.answer("store-manifest", async ({ manifest }, peer) => {
      const outcome = await manifests.put(manifest);
      if (!outcome.stored) return outcome;
      logger.info({ runId: outcome.runId, peer }, "run manifest stored");
      return { stored: true, reason: "" };
    });
    await serveAssets(this.#streams, (runId, contentId) => assets.get(runId, contentId));
    await takeAssets(this.#streams, (offer, peer) => assets.begin(offer, peer));
    await startHost(host, listen);
  }

  async stop(): Promise<void> {
    await this.#streams.stop();
    await this.#parts.host.stop();
  }

  addresses(): readonly string[] {
    return this.#parts.host.getMultiaddrs().map(String);
  }

  stats(): RendezvousStats {
    const { host, manifests, assets, book } = this.#parts;
    return {
      connections: host.getConnections().length,
      runs: this.#registry.runs(),
      manifests: manifests.size,
      assetBytes: assets.bytes,
      offences: book.counts(),
    };
  }

  #abortIf(peer: PeerId, connection: ReturnType<Host["getConnections"]>[number]): void {
    if (connection.remotePeer.toString() === peer) connection.abort(new Error("banned"));
  }
}
