// What can be said of a simulated network, as plain data.
import type { Offence, PeerId } from "../core/types.ts";
import type { NetworkListener, ServedContent } from "../ports.ts";
import type { Access } from "./links.ts";

export interface Conditions {
  /** One way, uniform between the two: messages overtake each other. */
  latencyMs: readonly [number, number];
  /** Share of gossip messages, and without a model of links of requests, that vanish. */
  loss: number;
  /** Share of gossip messages that arrive twice. */
  duplication: number;
}

export const GOOD_CONDITIONS: Conditions = { latencyMs: [5, 40], loss: 0, duplication: 0 };

/** What more of a real network is modelled. Without it everyone is connected with everyone and bytes take no time. */
export interface NetworkModel {
  /** Connections that a peer tries to have. */
  readonly connections?: number;
  readonly links?: {
    readonly access: (peer: PeerId) => Access;
    /** Streams send what is lost again. */
    readonly packetLoss: number;
    readonly lossLimitsRate: boolean;
    /** Parts in which a transfer goes at most. */
    readonly parts?: number | undefined;
  };
  /** Bytes on the wire that stand for a payload and for a body. */
  readonly payloadBytes?: (bytes: number) => number;
  readonly bodyBytes?: (bytes: number) => number;
  /** Peers charged with too many offences are no longer heard or answered. */
  readonly bans?: boolean;
  /** Heartbeats that change nothing are delivered less often; see heartbeats.ts. */
  readonly thinHeartbeats?: boolean;
}

export interface Station {
  readonly listener: NetworkListener;
  readonly content: ServedContent;
}

export interface Penalty {
  readonly by: PeerId;
  readonly peer: PeerId;
  readonly offence: Offence;
  readonly detail: string;
}
