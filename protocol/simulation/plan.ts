// What is simulated: plain data, so that it can be printed, compared and run again.
import type { ParameterLayout } from "../core/layout.ts";
import type { RunConfig } from "../core/run-config.ts";
import { DISTORTIONS, type Distortion } from "./distortions.ts";
import { IMPOSTURES, type Imposture } from "./impostors.ts";
import type { BodyCosts } from "./simulated-peer.ts";

export const BEHAVIOURS = [...DISTORTIONS, ...IMPOSTURES] as const;
export type Behaviour = Distortion | Imposture;

export interface SimulationPlan {
  readonly seed: number;
  /** Peers from the start, liars included. */
  readonly peers: number;
  readonly rounds: number;
  /** Configuration and layout of the stand-in: what the drivers run. Its local steps are the segments of a round. */
  readonly config: RunConfig;
  readonly layout: ParameterLayout;
  /** What is charged for it: the planned run's sizes and times. */
  readonly payloadBytes: number;
  readonly bodyBytes: number;
  readonly segmentMs: number;
  readonly tokensPerSegment: number;
  readonly costs: BodyCosts;
  /** The slowest peer trains this many times as long as the fastest; the geometric middle takes `segmentMs`. */
  readonly speedSpread: number;
  readonly network: {
    /** Mbit/s of each peer's access link. */
    readonly downMbits: number;
    readonly upMbits: number;
    /** One way, on average, and how much more or less it may be. */
    readonly latencyMs: number;
    readonly jitterMs: number;
    /** Share of packets lost. */
    readonly packetLoss: number;
    readonly lossLimitsRate: boolean;
    /** Shares of gossip messages that never reach a peer, and that reach it twice. */
    readonly gossipLoss: number;
    readonly duplication: number;
    /** Connections that a peer tries to have. */
    readonly connections: number;
  };
  readonly churn: Churn;
  readonly partition: Partition | undefined;
  readonly byzantine: { readonly share: number; readonly behaviours: readonly Behaviour[] };
  /** Peers that join late, one after another from this round on. */
  readonly joiners: {
    readonly count: number;
    readonly round: number;
    /** Mbit/s down their access links; as everybody's where it is left out. */
    readonly downMbits?: number | undefined;
  };
}

export interface Churn {
  /** Of the peers, each round. */
  readonly share: number;
  /** `crash` is kill -9, `leave` says goodbye; both come back with their disk. `replace`: a new peer comes instead. */
  readonly kind: "crash" | "leave" | "replace";
  /** Rounds until a peer comes back or another comes instead. */
  readonly awayRounds: number;
}

export interface Partition {
  /** Of the peers, cut off from the others. */
  readonly share: number;
  readonly round: number;
  readonly rounds: number;
}
