// How gossip reaches everyone in a simulated network: peer by peer, with the faults around each, in small swarms, and hop by hop
// in large ones. Counts the bytes; decides nothing about what is said.
import type { PeerId, Presence, SignedUpdate } from "../core/types.ts";
import type { Disturbances } from "./disturbances.ts";
import { Heartbeats } from "./heartbeats.ts";
import type { Station } from "./network-model.ts";
import type { SimulatedNetwork } from "./simulated-network.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/** Beyond so many peers a message is not brought to each of them by a timer of its own. */
const LARGE = 256;

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
      const { isDue = true, standsForMore = false } = thinning ?? {};
      this.#flood(self, this.#parts.network.sizes.presence, isDue ? deliver : undefined, standsForMore);
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

  get #isLarge(): boolean {
    return this.#parts.network.model.connections !== undefined && this.#parts.stations.size > LARGE;
  }

  /**
   * Brings a message to everyone, a hop at a time: those at the same distance hear it at the same moment. What it costs is all
   * written down for its author, and does not hold up links; faults around single peers are not looked at.
   */
  #flood(
    author: PeerId,
    bytes: number,
    deliver: ((station: Station, from: PeerId) => void) | undefined,
    surely = false,
  ): void {
    const { waves, copies } = this.#parts.network.topology.spreadFrom(author);
    const { gossip } = this.#parts.network.traffic.of(author);
    gossip.sent += bytes * copies;
    gossip.received += bytes * copies;
    if (deliver === undefined) return;
    const { loss, duplication } = this.#parts.network.conditions;
    let delayMs = 0;
    for (const { peers, from } of waves) {
      delayMs += this.#parts.latencyMs();
      this.#parts.clock.afterQuietly(delayMs, () => {
        for (let at = 0; at < peers.length; at++) {
          const peer = peers[at]!;
          if (!surely && this.#parts.faults.chance(loss)) continue;
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
