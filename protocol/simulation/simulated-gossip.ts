// How gossip reaches everyone in a simulated network: peer by peer, with the faults around each, in small swarms, and hop by hop
// in large ones. Counts the bytes; decides nothing about what is said.
import type { PeerId, Presence, SignedUpdate } from "../core/types.ts";
import type { Disturbances } from "./disturbances.ts";
import { Heartbeats, type Thinning } from "./heartbeats.ts";
import type { Station } from "./network-model.ts";
import type { SimulatedNetwork } from "./simulated-network.ts";
import type { Spread } from "./topology.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/** Beyond so many peers a message is not brought to each of them by a timer of its own. */
const LARGE = 256;
/** In a large swarm a heartbeat is heard up to so much later than it comes. */
const GATHER_MS = 250;

interface Said {
  readonly presence: Presence;
  readonly dueMs: number;
  /** Not lost on the way. */
  readonly surely: boolean;
  /** Undefined: everyone. */
  readonly receivers: ReadonlySet<PeerId> | undefined;
}

export interface GossipParts {
  readonly clock: VirtualClock;
  readonly network: Pick<
    SimulatedNetwork,
    "model" | "topology" | "traffic" | "conditions" | "links" | "reachable" | "isBanned" | "sizes"
  >;
  readonly stations: ReadonlyMap<PeerId, Station>;
  readonly faults: Disturbances;
  readonly latencyMs: () => number;
}

export class SimulatedGossip {
  readonly #parts: GossipParts;
  readonly #heartbeats = new Heartbeats();
  /** Heartbeats of a large swarm that are on their way. */
  #said: Said[] = [];

  constructor(parts: GossipParts) {
    this.#parts = parts;
  }

  /** A peer that has just started has heard nobody. */
  starts(): void {
    this.#heartbeats.newcomer(this.#parts.clock.nowMs());
  }

  forget(peer: PeerId): void {
    this.#heartbeats.forget(peer);
  }

  update(self: PeerId, update: SignedUpdate): void {
    const deliver = ({ listener }: Station, from: PeerId) => listener.onUpdate(update, from);
    const { sizes } = this.#parts.network;
    if (this.#isLarge) {
      this.#flood(self, sizes.update, deliver);
      return;
    }
    const receivers = this.#receivers(self);
    this.#countCopies(self, receivers, sizes.update);
    for (const peer of receivers) this.#deliver(self, peer, deliver);
  }

  presence(self: PeerId, presence: Presence): void {
    const { clock, stations, network } = this.#parts;
    // Said before it is connected with anyone: the next one is not its repetition.
    if (network.model.connections !== undefined && !stations.has(self)) return;
    const deliver = ({ listener }: Station, from: PeerId) => listener.onPresence(presence, from);
    const thinning =
      network.model.thinHeartbeats === true ? this.#heartbeats.hear(presence, clock.nowMs()) : undefined;
    if (this.#isLarge) {
      this.#say(self, presence, thinning);
      return;
    }
    const receivers = this.#receivers(self);
    this.#countCopies(self, receivers, this.#parts.network.sizes.presence);
    for (const peer of receivers) {
      if (thinning === undefined) this.#deliver(self, peer, deliver);
      else if (thinning.isDue || !this.#heartbeats.agree(self, peer)) {
        this.#deliver(self, peer, deliver, thinning.standsForMore);
      }
    }
  }

  /** In a large swarm heartbeats are gathered, and each peer hears some at once: to come to it is what takes the time. */
  #say(
    self: PeerId,
    presence: Presence,
    { isDue = true, standsForMore = false }: Partial<Thinning> = {},
  ): void {
    const { clock, network, stations, latencyMs } = this.#parts;
    const { waves, reached } = this.#spread(self, network.sizes.presence);
    if (!isDue) return;
    const delayMs = waves.reduce((sum) => sum + latencyMs(), 0);
    const everyone = reached >= stations.size - 1;
    const receivers = everyone ? undefined : new Set(waves.flatMap(({ peers }) => peers));
    this.#said.push({ presence, dueMs: clock.nowMs() + delayMs, surely: standsForMore, receivers });
    if (this.#said.length === 1) this.#listenSoon();
  }

  #listenSoon(): void {
    const { clock } = this.#parts;
    clock.afterQuietly(GATHER_MS - (clock.nowMs() % GATHER_MS), () => {
      const nowMs = clock.nowMs();
      const heard = this.#said.filter(({ dueMs }) => dueMs <= nowMs);
      this.#said = this.#said.filter(({ dueMs }) => dueMs > nowMs);
      if (this.#said.length > 0) this.#listenSoon();
      if (heard.length > 0)
        for (const [peer, station] of this.#parts.stations) this.#hear(peer, station, heard);
    });
  }

  #hear(peer: PeerId, { listener }: Station, heard: readonly Said[]): void {
    const { network, faults } = this.#parts;
    const { loss, duplication } = network.conditions;
    for (const { presence, surely, receivers } of heard) {
      const { author } = presence;
      if (author === peer || receivers?.has(peer) === false) continue;
      if (!surely && faults.chance(loss)) continue;
      if (!network.reachable(author, peer) || network.isBanned(peer, author)) continue;
      listener.onPresence(presence, author);
      if (faults.chance(duplication)) listener.onPresence(presence, author);
    }
  }

  /** The way of a message to everyone; what it costs is all written down for its author. */
  #spread(author: PeerId, bytes: number): Spread {
    const { network } = this.#parts;
    const spread = network.topology.spreadFrom(author);
    const { gossip } = network.traffic.of(author);
    gossip.sent += bytes * spread.copies;
    gossip.received += bytes * spread.copies;
    return spread;
  }

  get #isLarge(): boolean {
    return this.#parts.network.model.connections !== undefined && this.#parts.stations.size > LARGE;
  }

  /**
   * Brings a message to everyone, a hop at a time: those at the same distance hear it at the same moment. What it costs is all
   * written down for its author, and does not hold up links; faults around single peers are not looked at.
   */
  #flood(author: PeerId, bytes: number, deliver: (station: Station, from: PeerId) => void): void {
    const { waves } = this.#spread(author, bytes);
    const { loss, duplication } = this.#parts.network.conditions;
    let delayMs = 0;
    for (const { peers, from } of waves) {
      delayMs += this.#parts.latencyMs();
      this.#parts.clock.afterQuietly(delayMs, () => {
        for (let at = 0; at < peers.length; at++) {
          const peer = peers[at]!;
          if (this.#parts.faults.chance(loss)) continue;
          const station = this.#parts.stations.get(peer);
          if (
            station === undefined ||
            !this.#parts.network.reachable(author, peer) ||
            this.#parts.network.isBanned(peer, author)
          )
            continue;
          deliver(station, from[at]!);
          if (this.#parts.faults.chance(duplication)) deliver(station, from[at]!);
        }
      });
    }
  }

  #receivers(author: PeerId): readonly PeerId[] {
    const reached =
      this.#parts.network.model.connections === undefined
        ? this.#parts.stations
        : this.#parts.network.topology.hopsFrom(author);
    return [...reached.keys()].filter((peer) => peer !== author);
  }

  /** Brings a message to a peer, once or twice or not at all. `surely`: not lost on the way. */
  #deliver(
    author: PeerId,
    peer: PeerId,
    deliver: (station: Station, from: PeerId) => void,
    surely = false,
  ): void {
    const { loss, duplication } = this.#parts.network.conditions;
    const twice = this.#parts.faults.chance(
      Math.max(duplication, this.#parts.faults.share("duplication", author, peer)),
    );
    const hops =
      this.#parts.network.model.connections === undefined
        ? 1
        : (this.#parts.network.topology.hopsFrom(author).get(peer) ?? 1);
    for (let copy = 0; copy < (twice ? 2 : 1); copy++) {
      const lost = Math.max(surely ? 0 : loss, this.#parts.faults.share("loss", author, peer));
      if (this.#parts.faults.chance(lost)) continue;
      const delayMs = this.#parts.latencyMs() * hops + this.#parts.faults.gossipDelayMs(author, peer);
      this.#parts.clock.after(delayMs, () => {
        const station = this.#parts.stations.get(peer);
        if (
          station === undefined ||
          !this.#parts.network.reachable(author, peer) ||
          this.#parts.network.isBanned(peer, author)
        )
          return;
        deliver(station, this.#handedOnBy(author, peer));
      });
    }
  }

  /** The neighbour from which gossip came: its author where the two are connected, else one who had it before. */
  #handedOnBy(author: PeerId, peer: PeerId): PeerId {
    if (
      this.#parts.network.model.connections === undefined ||
      this.#parts.network.topology.connected(author, peer)
    )
      return author;
    const hops = this.#parts.network.topology.hopsFrom(author);
    const own = hops.get(peer) ?? 1;
    for (const other of this.#parts.network.topology.neighbours(peer))
      if ((hops.get(other) ?? own) < own) return other;
    return author;
  }

  /** A publisher sends to its mesh; everyone hands on to theirs but to whom it came from: all but one of their links. */
  #countCopies(author: PeerId, receivers: readonly PeerId[], bytes: number): void {
    const { topology } = this.#parts.network;
    const copiesOf = (peer: PeerId) => Math.max(0, topology.meshDegree(peer) - 1);
    const first = Math.min(receivers.length, topology.meshDegree(author));
    const copies = receivers.reduce((sum, peer) => sum + copiesOf(peer), first);
    this.#countGossip(author, bytes * first, 0);
    for (const peer of receivers) {
      this.#countGossip(peer, bytes * copiesOf(peer), (bytes * copies) / receivers.length);
    }
  }

  #countGossip(peer: PeerId, sent: number, received: number): void {
    const { gossip } = this.#parts.network.traffic.of(peer);
    gossip.sent += sent;
    gossip.received += received;
    this.#parts.network.links?.occupy(peer, sent, received);
  }
}
