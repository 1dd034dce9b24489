// Bytes that each peer of a simulation sent and received, by channel. The channels are those of protocol/net/traffic.ts.
import type { PeerId } from "../core/types.ts";

/** Payloads of updates; what joining takes (bodies and their manifests); gossip; inventories and other requests. */
export const CHANNELS = ["payload", "snapshot", "gossip", "control"] as const;
export type Channel = (typeof CHANNELS)[number];

export interface ByteCount {
  sent: number;
  received: number;
}

export type PeerTraffic = Readonly<Record<Channel, ByteCount>>;

export class Traffic {
  readonly #peers = new Map<PeerId, PeerTraffic>();

  of(peer: PeerId): PeerTraffic {
    const known = this.#peers.get(peer);
    if (known !== undefined) return known;
    const traffic = Object.fromEntries(
      CHANNELS.map((channel) => [channel, { sent: 0, received: 0 }]),
    ) as unknown as PeerTraffic;
    this.#peers.set(peer, traffic);
    return traffic;
  }

  /** All peers ever counted. */
  entries(): Iterable<[PeerId, PeerTraffic]> {
    return this.#peers.entries();
  }
}
