// Finds the run's peers and keeps finding them: dials known addresses with back-off, asks whoever answers for more,
// registers with the rendezvous. libp2p has no auto-dialler and forgets failed bootstraps; this is the loop it lacks.
import { peerIdFromString } from "@libp2p/peer-id";
import type { PeerId, RunId } from "../core/types.ts";
import type { ClockPort } from "../ports.ts";
import type { PeerRecord } from "../wire/exchange.ts";
import { MAX_ADDRESSES_PER_PEER } from "../wire/exchange.ts";
import type { DialTarget } from "./addresses.ts";
import { joinAddress, parseAddress } from "./addresses.ts";
import { Backoff, jittered } from "./backoff.ts";
import { NetworkError, reasonOf } from "./errors.ts";
import type { Host } from "./host.ts";
import type { Logger } from "./logger.ts";
import type { PeerDirectory } from "./peer-directory.ts";
import { MOST_STRANGERS, STRANGER_INTERVAL_MS } from "./strangers.ts";
import type { Streams } from "./streams.ts";

/** Peers remembered across restarts. Injected: the network does not know where a peer keeps its state. */
export interface PeerCache {
  load(): Promise<readonly PeerRecord[]>;
  save(peers: readonly PeerRecord[]): Promise<void>;
}

/** Between two looks while we have fewer peers than we want, and when we are content. */
const SEARCH_INTERVAL_MS = 700;
const CONTENT_INTERVAL_MS = 5_000;
/** One neighbour is asked again this soon while we search, and otherwise often enough to stay registered. */
const ASK_AGAIN_SEARCHING_MS = 2_500;
const ASK_AGAIN_CONTENT_MS = 30_000;
const SAVE_INTERVAL_MS = 60_000;
const MAX_DIALS_AT_ONCE = 8;
/** After this many failures in a row a peer that others told us about is dropped. */
const HOPELESS_FAILURES = 8;

export interface DiscoveryOptions {
  readonly runId: RunId;
  readonly runManifest: Uint8Array;
  readonly self: PeerId;
  readonly bootstrap: readonly DialTarget[];
  /** Connections to peers of the run that we try to have. */
  readonly targetPeers: number;
}

export interface DiscoveryModules {
  readonly host: Host;
  readonly streams: Streams;
  readonly directory: PeerDirectory;
  readonly clock: ClockPort;
  readonly logger: Logger;
  readonly cache: PeerCache | undefined;
  /** Addresses that proved to be a certain peer: bootstrap addresses may come without an id. */
  readonly provenIds: Map<string, PeerId>;
  readonly memberCount: () => number;
  readonly isBanned: (peer: PeerId) => boolean;
  /** Gives the run's files to a rendezvous that may have lost them. */
  readonly giveAssets: (peer: PeerId, signal: AbortSignal) => Promise<void>;
}

export class Discovery {
  readonly #options: DiscoveryOptions;
  readonly #modules: DiscoveryModules;
  readonly #backoff: Backoff;
  readonly #stopped = new AbortController();
  /** When each neighbour was asked last, and whether it then knew the run: those that do not are asked seldom. */
  readonly #asked = new Map<PeerId, { readonly atMs: number; knew: boolean }>();
  readonly #bootstrapPeers = new Set<PeerId>();
  /** Bootstrap peers that were offered the run's files since they were connected. */
  readonly #offered = new Set<PeerId>();
  #cancelTimer: (() => void) | undefined;
  #looking: Promise<void> | undefined;
  #lookAgain = false;
  #savedMs = 0;
  /** Met although there were peers enough, oldest first. */
  readonly #strangers: PeerId[] = [];
  #nextStrangerMs: number;

  constructor(options: DiscoveryOptions, modules: DiscoveryModules) {
    this.#options = options;
    this.#modules = modules;
    this.#backoff = new Backoff(modules.clock);
    this.#nextStrangerMs = modules.clock.nowMs() + jittered(STRANGER_INTERVAL_MS);
  }

  async start(): Promise<void> {
    for (const record of await this.#loadCache()) this.#modules.directory.mention(record);
    this.lookNow();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#cancelTimer?.();
    await this.#looking;
    await this.#saveCache();
  }

  /** Something changed: a peer was lost, or we heard of new ones. */
  lookNow(): void {
    if (this.#stopped.signal.aborted) return;
    this.#cancelTimer?.();
    if (this.#looking !== undefined) {
      this.#lookAgain = true;
      return;
    }
    this.#looking = this.#look().finally(() => {
      this.#looking = undefined;
      if (this.#stopped.signal.aborted) return;
      const again = this.#lookAgain;
      this.#lookAgain = false;
      const delayMs = this.#isContent() ? CONTENT_INTERVAL_MS : SEARCH_INTERVAL_MS;
      this.#cancelTimer = this.#modules.clock.after(again ? 0 : jittered(delayMs), () => this.lookNow());
    });
  }

  /** Addresses at which others can dial us, without `/p2p`. */
  ownAddresses(): readonly string[] {
    return this.#modules.host
      .getMultiaddrs()
      .map((address) => parseAddress(address.toString())?.address)
      .filter((address) => address !== undefined)
      .slice(0, MAX_ADDRESSES_PER_PEER);
  }

  /** Content with as many peers as we want, or with all that anybody knows. */
  #isContent(): boolean {
    const members = this.#modules.memberCount();
    return members >= this.#options.targetPeers || (members > 0 && this.#candidates().length === 0);
  }

  async #look(): Promise<void> {
    await this.#reachBootstrap();
    await this.#askConnected();
    const wanted = this.#options.targetPeers - this.#modules.memberCount();
    const candidates = this.#candidates().slice(0, Math.min(Math.max(wanted, 0), MAX_DIALS_AT_ONCE));
    await Promise.all(candidates.map((record) => this.#dialRecord(record)));
    if (wanted <= 0) await this.#meetStranger();
    const nowMs = this.#modules.clock.nowMs();
    if (nowMs - this.#savedMs >= SAVE_INTERVAL_MS) await this.#saveCache();
  }

  async #meetStranger(): Promise<void> {
    const { clock, host } = this.#modules;
    if (clock.nowMs() < this.#nextStrangerMs) return;
    this.#nextStrangerMs = clock.nowMs() + jittered(STRANGER_INTERVAL_MS);
    const candidates = this.#candidates();
    const stranger = candidates[Math.floor(Math.random() * candidates.length)];
    if (stranger === undefined) return;
    await this.#dialRecord(stranger);
    if (!this.#connected().has(stranger.peer)) return;
    this.#strangers.push(stranger.peer);
    while (this.#strangers.length > MOST_STRANGERS) {
      await host.hangUp(peerIdFromString(this.#strangers.shift()!)).catch(() => {});
    }
  }

  /** Peers we know of, are not connected to and may dial now. */
  #candidates(): readonly PeerRecord[] {
    const connected = this.#connected();
    return this.#modules.directory
      .all()
      .filter(
        ({ peer }) =>
          peer !== this.#options.self &&
          !connected.has(peer) &&
          !this.#modules.isBanned(peer) &&
          this.#backoff.isDue(peer),
      );
  }

  #connected(): ReadonlySet<PeerId> {
    return new Set(this.#modules.host.getPeers().map(String));
  }

  async #reachBootstrap(): Promise<void> {
    const connected = this.#connected();
    const due = this.#options.bootstrap.filter((target) => {
      const key = joinAddress(target);
      const peer = target.peer ?? this.#modules.provenIds.get(key);
      if (peer === this.#options.self) return false;
      if (peer === undefined || !connected.has(peer)) return this.#backoff.isDue(key);
      // Connected already, for another run or because it dialled us.
      this.#bootstrapPeers.add(peer);
      return false;
    });
    await Promise.all(
      due.map(async (target) => {
        const key = joinAddress(target);
        const peer = await this.#connect(target, key);
        if (peer === undefined) return;
        this.#modules.provenIds.set(key, peer);
        this.#bootstrapPeers.add(peer);
        await this.#ask(peer);
      }),
    );
  }

  /** Asks neighbours for peers; asking also tells them, and the rendezvous, that we are still here. */
  async #askConnected(): Promise<void> {
    const nowMs = this.#modules.clock.nowMs();
    const searching = !this.#isContent();
    const connected = this.#connected();
    for (const peer of this.#asked.keys()) if (!connected.has(peer)) this.#asked.delete(peer);
    for (const peer of this.#offered) if (!connected.has(peer)) this.#offered.delete(peer);
    const due = [...connected]
      .filter((peer) => {
        const { atMs, knew } = this.#asked.get(peer) ?? { atMs: Number.NEGATIVE_INFINITY, knew: false };
        return nowMs - atMs >= (searching && knew ? ASK_AGAIN_SEARCHING_MS : ASK_AGAIN_CONTENT_MS);
      })
      .slice(0, MAX_DIALS_AT_ONCE);
    await Promise.all(due.map((peer) => this.#ask(peer)));
  }

  async #dialRecord({ peer, addresses }: PeerRecord): Promise<void> {
    for (const address of addresses) {
      if (this.#stopped.signal.aborted) return;
      if ((await this.#connect({ peer, address }, peer)) !== undefined) return this.#ask(peer);
    }
    if (this.#backoff.failures(peer) >= HOPELESS_FAILURES) this.#modules.directory.forget(peer);
  }

  /** Dials; returns who is there, or undefined (and backs off from `key`) where nobody is. */
  async #connect(target: DialTarget, key: string): Promise<PeerId | undefined> {
    try {
      const peer = await this.#modules.streams.connect(target, this.#stopped.signal);
      this.#backoff.succeeded(key);
      return peer;
    } catch (error) {
      if (this.#stopped.signal.aborted) return undefined;
      this.#backoff.failed(key);
      this.#modules.logger.debug({ target: key, reason: reasonOf(error) }, "dial failed");
      return undefined;
    }
  }

  /** One peer exchange with a connected peer. */
  async #ask(peer: PeerId): Promise<void> {
    const { streams, directory, logger, clock } = this.#modules;
    const { runId, self } = this.#options;
    const asked = { atMs: clock.nowMs(), knew: true };
    this.#asked.set(peer, asked);
    try {
      const request = { runId, register: true, addresses: this.ownAddresses() };
      const answer = await streams.ask(peer, "peer-exchange", request, this.#stopped.signal);
      if (answer.known) directory.confirm(peer);
      for (const record of answer.peers) if (record.peer !== self) directory.mention(record);
      asked.knew = answer.known;
      if (answer.known) this.#offerAssets(peer);
      else await this.#introduceRun(peer);
    } catch (error) {
      if (this.#stopped.signal.aborted) return;
      logger.debug({ peer, reason: reasonOf(error) }, "peer exchange failed");
    }
  }

  /** A rendezvous that does not know the run, because it is new or lost its state, is given the manifest. */
  async #introduceRun(peer: PeerId): Promise<void> {
    if (!this.#bootstrapPeers.has(peer)) return;
    try {
      const request = { manifest: this.#options.runManifest };
      const { stored } = await this.#modules.streams.ask(
        peer,
        "store-manifest",
        request,
        this.#stopped.signal,
      );
      if (stored) this.#asked.delete(peer); // asked again at the next look, now for a run it knows
    } catch (error) {
      if (error instanceof NetworkError && error.code === "NOT_SERVED") return; // a peer of another run
      this.#modules.logger.debug({ peer, reason: reasonOf(error) }, "the run manifest was not taken");
    }
  }

  /** Not waited for: a file may take minutes, and looking for peers goes on. */
  #offerAssets(peer: PeerId): void {
    if (!this.#bootstrapPeers.has(peer) || this.#offered.has(peer)) return;
    this.#offered.add(peer);
    this.#modules.giveAssets(peer, this.#stopped.signal).catch((error: unknown) => {
      this.#modules.logger.debug({ peer, reason: reasonOf(error) }, "the run's files were not taken");
    });
  }

  async #loadCache(): Promise<readonly PeerRecord[]> {
    try {
      return (await this.#modules.cache?.load()) ?? [];
    } catch (error) {
      this.#modules.logger.warn(
        { reason: reasonOf(error) },
        "the peer cache cannot be read; starting without",
      );
      return [];
    }
  }

  async #saveCache(): Promise<void> {
    this.#savedMs = this.#modules.clock.nowMs();
    try {
      await this.#modules.cache?.save(this.#modules.directory.all());
    } catch (error) {
      this.#modules.logger.warn({ reason: reasonOf(error) }, "the peer cache cannot be written");
    }
  }
}
