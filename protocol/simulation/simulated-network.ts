// A network on a virtual clock: seeded latency, loss, duplication and reordering of gossip, partitions, unanswered
// requests; where asked for also bandwidth, a bounded number of connections, and bans. Implements NetworkPort; how
// payloads and bodies are fetched, and the checks that a real network owes for them, is in transfers.ts.
import type {
  Inventory,
  Offence,
  PeerId,
  Presence,
  SignedUpdate,
  UpdateAnnouncement,
} from "../core/types.ts";
import { gatherPages, pageOf } from "../net/inventory-pages.ts";
import { OffenceBook } from "../net/offences.ts";
import { STRANGER_INTERVAL_MS } from "../net/strangers.ts";
import type { NetworkPort, ServedContent } from "../ports.ts";
import { type Disturbance, Disturbances } from "./disturbances.ts";
import { Links } from "./links.ts";
import { type MessageSizes, messageSizes } from "./message-sizes.ts";
import {
  type Conditions,
  GOOD_CONDITIONS,
  type NetworkModel,
  type Penalty,
  type Station,
} from "./network-model.ts";
import type { Power } from "./power.ts";
import { seededRandom, shuffled } from "./random.ts";
import { SimulatedGossip } from "./simulated-gossip.ts";
import { Topology } from "./topology.ts";
import { type Channel, Traffic } from "./traffic.ts";
import { fetchPayload, fetchSnapshot, offerUpdate } from "./transfers.ts";
import type { VirtualClock } from "./virtual-clock.ts";

export type { Conditions } from "./network-model.ts";

/** A vanished request is given up after this; with a model of links as protocol/net/streams.ts does. */
const REQUEST_TIMEOUT_MS = 2_000;
const STREAM_TIMEOUT_MS = 15_000;
/** protocol/net: a search for more peers, and how long a silent link lives (link-watch.ts, with its interval). */
const SEARCH_INTERVAL_MS = 700;
const SILENT_LINK_MS = 127_500;

/** In an inventory. */
const ROOT_BYTES = 32;

/** One for all: made anew for each vain request of a large swarm, its stack alone is a tenth of the time. */
const NOT_CONNECTED = new Error("the peer is not connected");

export class SimulatedNetwork {
  readonly conditions: Conditions;
  readonly penalties: Penalty[] = [];
  readonly traffic = new Traffic();
  readonly sizes: MessageSizes = messageSizes();
  readonly bodyValues: number;
  readonly model: NetworkModel;
  readonly topology: Topology;
  readonly links: Links | undefined;
  readonly #clock: VirtualClock;
  readonly #random: () => number;
  readonly #stations = new Map<PeerId, Station>();
  readonly #faults: Disturbances;
  readonly #books = new Map<PeerId, OffenceBook>();
  readonly #gossip: SimulatedGossip;

  constructor(
    clock: VirtualClock,
    seed: number,
    bodyValues: number,
    conditions = GOOD_CONDITIONS,
    model: NetworkModel = {},
  ) {
    this.#clock = clock;
    this.#random = seededRandom(seed);
    this.bodyValues = bodyValues;
    this.conditions = { ...conditions };
    this.model = model;
    this.#faults = new Disturbances(this.#random);
    this.topology = new Topology(model.connections ?? Number.POSITIVE_INFINITY, this.#random);
    const [least, most] = conditions.latencyMs;
    this.links =
      model.links &&
      new Links(clock, {
        ...model.links,
        meanLatencyMs: (least + most) / 2,
        latencyMs: () => this.#latencyMs(),
        reachable: (from, to) => this.reachable(from, to),
        life: (peer) => this.#stations.get(peer),
      });
    this.#gossip = new SimulatedGossip({
      clock,
      network: this,
      stations: this.#stations,
      faults: this.#faults,
      latencyMs: () => this.#latencyMs(),
    });
  }

  /** Plugs a peer in: it connects, and both sides hear of it. */
  plug(peer: PeerId, station: Station): void {
    this.#stations.set(peer, station);
    this.#gossip.starts();
    this.topology.add(peer);
    this.#connect(peer);
    this.#lookAgain(peer);
    this.#meetStrangers(peer, station);
  }

  unplug(peer: PeerId): void {
    if (!this.#stations.delete(peer)) return;
    this.links?.forget(peer);
    this.#gossip.forget(peer);
    for (const other of this.topology.remove(peer)) {
      this.#stations.get(other)?.listener.onPeerDisconnected(peer);
      this.#lookAgain(other);
    }
  }

  /** Only peers of the same group reach each other; without groups everyone does. */
  partition(...groups: readonly (readonly PeerId[])[]): void {
    this.topology.partition(...groups);
    if (this.model.connections === undefined) return;
    if (groups.length > 0) this.#clock.after(SILENT_LINK_MS, () => this.#cutSilent());
    else for (const peer of this.topology.peers) this.#lookAgain(peer);
  }

  reachable(a: PeerId, b: PeerId): boolean {
    return this.topology.reachable(a, b);
  }

  /** Faults around a peer from now on; without any the peer is as the others again. */
  disturb(peer: PeerId, disturbance?: Disturbance): void {
    this.#faults.set(peer, disturbance);
  }

  port(self: PeerId, power: Power): NetworkPort {
    return {
      self,
      signUpdate: async (announcement) => signed(announcement),
      publishUpdate: async (update) => {
        if (!power.on) return;
        this.#gossip.update(self, update);
      },
      offerUpdate: (peer, update, signal) => power.through(offerUpdate(this, self, peer, update, signal)),
      publishPresence: async (presence: Presence) => {
        if (power.on) this.#gossip.presence(self, presence);
      },
      fetchPayload: (update, holders, signal) =>
        power.through(fetchPayload(this, self, update, holders, signal)),
      fetchInventory: (peer, fromRound, signal) =>
        power.through(this.#fetchInventory(self, peer, fromRound, signal)),
      fetchSnapshot: (peer, signal, onProgress, aids) =>
        power.through(fetchSnapshot(this, self, peer, signal, onProgress ?? (() => {}), aids)),
      penalise: (peer, offence, detail) => this.penalise(self, peer, offence, detail),
      connectedPeers: () => this.connected(self),
    };
  }

  connected(self: PeerId): readonly PeerId[] {
    return [...this.topology.neighbours(self)];
  }

  penalise(by: PeerId, peer: PeerId, offence: Offence, detail: string): void {
    this.penalties.push({ by, peer, offence, detail });
    if (this.model.bans !== true) return;
    const book = this.#books.get(by) ?? new OffenceBook(this.#clock);
    this.#books.set(by, book);
    book.penalise(peer, offence);
  }

  isBanned(by: PeerId, peer: PeerId): boolean {
    return this.#books.get(by)?.isBanned(peer) === true;
  }

  /**
   * Asks a peer: the way there, its answer, and the bytes of that on their way back. Rejects where the peer is gone or not
   * reached. `received` hears of bytes that are through; `isOpen`: over a stream that is there already.
   */
  async request<Answer>(
    self: PeerId,
    peer: PeerId,
    channel: Channel,
    signal: AbortSignal,
    answer: (content: ServedContent) => Answer | Promise<Answer>,
    bytesOf: (answer: Answer) => number,
    { received = () => {}, isOpen = false }: { received?: (bytes: number) => void; isOpen?: boolean } = {},
  ): Promise<Answer> {
    signal.throwIfAborted();
    const station = this.#stations.get(peer);
    if (this.model.connections !== undefined && !this.topology.connected(self, peer)) {
      throw NOT_CONNECTED;
    }
    if (this.isBanned(self, peer) || this.isBanned(peer, self)) throw new Error(`${peer} is banned`);
    const extraMs = this.#faults.delayMs(self, peer);
    const lost = !this.reachable(self, peer) || this.#requestIsLost(self, peer);
    const gone = station === undefined && this.links === undefined;
    const timeoutMs = this.links === undefined ? REQUEST_TIMEOUT_MS : STREAM_TIMEOUT_MS;
    // With links, a stream is opened first: one more way there and back.
    const openingMs = this.links === undefined || isOpen ? 0 : this.#latencyMs() + this.#latencyMs();
    this.#count(self, peer, channel, this.sizes.request);
    await this.wait(lost || gone ? timeoutMs : openingMs + this.#latencyMs() + extraMs, signal);
    if (lost || station === undefined || this.#stations.get(peer) !== station) {
      throw new Error(`${peer} does not answer`);
    }
    const answered = await answer(station.content);
    await this.#carry(peer, self, channel, bytesOf(answered), received, signal);
    if (extraMs > 0) await this.wait(extraMs, signal);
    if (!this.reachable(self, peer)) throw new Error(`${peer} is gone`);
    return answered;
  }

  /** The bytes of an answer as they arrive, whole or not. */
  delivered(from: PeerId, to: PeerId, bytes: Uint8Array): Uint8Array {
    return this.#faults.delivered(from, to, bytes);
  }

  /** So many of the peers, at random. */
  drawn(peers: readonly PeerId[], most: number): readonly PeerId[] {
    return shuffled(peers, this.#random).slice(0, most);
  }

  wait(delayMs: number, signal: AbortSignal): Promise<void> {
    if (this.links !== undefined) return this.#waitIn(delayMs, signal);
    return new Promise((resolve, reject) => {
      const abort = () => {
        cancel();
        reject(signal.reason);
      };
      const cancel = this.#clock.after(delayMs, () => {
        signal.removeEventListener("abort", abort);
        resolve();
      });
      signal.addEventListener("abort", abort, { once: true });
    });
  }

  /** A large swarm has ten thousand waits at once: one that was given up is over when its time is, not before. */
  #waitIn(delayMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#clock.after(delayMs, () => (signal.aborted ? reject(signal.reason) : resolve()));
    });
  }

  async #fetchInventory(
    self: PeerId,
    peer: PeerId,
    fromRound: number,
    signal: AbortSignal,
  ): Promise<Inventory> {
    return gatherPages((after) =>
      this.request(
        self,
        peer,
        "control",
        signal,
        (content) => pageOf(content, { fromRound, after }),
        ({ updates, closedRoots }) =>
          this.sizes.request + this.sizes.listed * updates.length + ROOT_BYTES * closedRoots.size,
      ),
    );
  }

  /** Bytes from one peer to another: by the links where there are any, else in one message's time. */
  #carry(
    from: PeerId,
    to: PeerId,
    channel: Channel,
    bytes: number,
    received: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { links } = this;
    if (links === undefined) {
      this.#count(from, to, channel, bytes);
      return this.wait(this.#latencyMs(), signal);
    }
    let through = 0;
    const progress = (now: number) => {
      this.#count(from, to, channel, links.onWire(now - through));
      through = now;
      received(now);
    };
    return new Promise((resolve, reject) => {
      const failed = (why: string) => reject(new Error(`${from}: ${why}`));
      const isOver = () => signal.aborted;
      const done = () => (isOver() ? reject(signal.reason) : resolve());
      links.start({ from, to, bytes, progress, done, failed, isOver });
    });
  }

  #count(from: PeerId, to: PeerId, channel: Channel, bytes: number): void {
    this.traffic.of(from)[channel].sent += bytes;
    this.traffic.of(to)[channel].received += bytes;
  }

  #connect(peer: PeerId): boolean {
    const added = this.topology.look(peer);
    for (const other of added) {
      this.#stations.get(other)?.listener.onPeerConnected(peer);
      this.#stations.get(peer)?.listener.onPeerConnected(other);
    }
    return added.length > 0;
  }

  /** A peer that has too few connections looks for more until it has enough, or knows of nobody else. */
  #lookAgain(peer: PeerId): void {
    if (this.model.connections === undefined || !this.topology.wantsMore(peer)) return;
    this.#clock.after(SEARCH_INTERVAL_MS, () => {
      if (this.topology.has(peer) && this.topology.wantsMore(peer) && this.#connect(peer)) {
        this.#lookAgain(peer);
      }
    });
  }

  #meetStrangers(peer: PeerId, station: Station): void {
    if (this.model.connections === undefined) return;
    this.#clock.after(STRANGER_INTERVAL_MS * (0.5 + this.#random()), () => {
      if (this.#stations.get(peer) !== station) return;
      const { met, left } = this.topology.meetStranger(peer);
      for (const [one, other] of [
        [peer, met],
        [met, peer],
      ]) {
        if (one !== undefined && other !== undefined)
          this.#stations.get(one)?.listener.onPeerConnected(other);
      }
      if (left !== undefined) {
        this.#stations.get(left)?.listener.onPeerDisconnected(peer);
        this.#stations.get(peer)?.listener.onPeerDisconnected(left);
        this.#lookAgain(left);
      }
      this.#meetStrangers(peer, station);
    });
  }

  #cutSilent(): void {
    for (const [a, b] of this.topology.cutSilent()) {
      this.#stations.get(a)?.listener.onPeerDisconnected(b);
      this.#stations.get(b)?.listener.onPeerDisconnected(a);
      this.#lookAgain(a);
      this.#lookAgain(b);
    }
  }

  #latencyMs(): number {
    const [least, most] = this.conditions.latencyMs;
    return least + this.#random() * (most - least);
  }

  #requestIsLost(a: PeerId, b: PeerId): boolean {
    const everywhere = this.links === undefined ? this.conditions.loss : 0;
    return this.#chance(Math.max(everywhere, this.#faults.share("loss", a, b)));
  }

  #chance(probability: number): boolean {
    return this.#faults.chance(probability);
  }
}

/** A simulation has no keys: the network itself lets nobody speak for another. */
export const signed = (announcement: UpdateAnnouncement): SignedUpdate => ({
  announcement,
  envelope: new TextEncoder().encode(`${announcement.author}/${announcement.payload}`),
});
