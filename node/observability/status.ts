// What `glossa stats --json` prints: one peer's view of itself and of the others. A public, versioned format.
// Pure: everything is an argument, so that the same function serves the control endpoint, the metrics and tests.
import type { BodyRoot, Offence, PeerId, Phase, RunId } from "#protocol/core/types.ts";

export const STATUS_VERSION = 1;

/** Ways that bytes take: small talk, payloads of updates, bodies for newcomers, everything else. */
export const CHANNELS = ["gossip", "payload", "snapshot", "control"] as const;
export type Channel = (typeof CHANNELS)[number];

export interface Traffic {
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

export type TrafficByChannel = Readonly<Record<Channel, Traffic>>;

/** Another peer, as its last presence and the connection to it say. */
export interface RemotePeer {
  readonly peerId: PeerId;
  readonly name: string;
  readonly phase: Phase;
  readonly round: number;
  readonly bodyRoot: BodyRoot;
  /** The newest round that both have closed is `round`'s predecessor here; `undefined`: nothing to compare yet. */
  readonly agrees: boolean | undefined;
  readonly step: number;
  readonly steps: number;
  /** As the peer announced it; `undefined` before its first evaluation. */
  readonly bitsPerByte: number | undefined;
  readonly lastSeenAtMs: number;
}

/** Where the protocol stands, taken from the driver. */
export interface ProtocolFacts {
  readonly phase: Phase;
  readonly round: number;
  readonly bodyRoot: BodyRoot;
  readonly closedRound: number;
  readonly closedRoot: BodyRoot;
  readonly step: number;
  readonly steps: number;
  /** Updates held for the current round, this peer's own included. */
  readonly updatesHeld: number;
  readonly peers: readonly RemotePeer[];
}

/** What the network has measured. */
export interface NetworkFacts {
  readonly addresses: readonly string[];
  readonly total: TrafficByChannel;
  /** Since the current round began. */
  readonly thisRound: TrafficByChannel;
  readonly connections: readonly {
    readonly peerId: PeerId;
    readonly direction: "inbound" | "outbound";
    /** Round trip; `undefined` until measured. */
    readonly latencyMs: number | undefined;
  }[];
  readonly offences: Readonly<Partial<Record<Offence, number>>>;
}

/** What local training has measured. */
export interface TrainingFacts {
  readonly device: string;
  readonly vocabularySize: number;
  readonly embeddingParameters: number;
  readonly bodyParameters: number;
  /** Optimizer steps and tokens since this peer first joined, across restarts. */
  readonly steps: number;
  readonly tokens: number;
  readonly tokensPerSecond: number | undefined;
  readonly lossNatsPerToken: number | undefined;
  /** On held-out text: at first, and now. */
  readonly bitsPerByteStart: number | undefined;
  readonly bitsPerByte: number | undefined;
  /** Time spent inside training steps, and time since training first began, of this process. */
  readonly computeMs: number;
  readonly wallMs: number;
  /** Size of the last own update on the wire, and of the same update as float32. */
  readonly payloadBytes: number | undefined;
}

export interface StatusInputs {
  readonly nowMs: number;
  readonly startedAtMs: number;
  readonly pid: number;
  readonly name: string;
  readonly peerId: PeerId;
  readonly runId: RunId;
  readonly runName: string;
  readonly stateDirectory: string;
  readonly protocol: ProtocolFacts;
  readonly network: NetworkFacts;
  readonly training: TrainingFacts;
}

export interface PeerStatus {
  readonly version: typeof STATUS_VERSION;
  readonly name: string;
  readonly peerId: PeerId;
  readonly pid: number;
  readonly runId: RunId;
  readonly runName: string;
  readonly stateDirectory: string;
  readonly addresses: readonly string[];
  readonly uptimeMs: number;

  readonly phase: Phase;
  readonly round: number;
  readonly step: number;
  readonly steps: number;
  readonly updatesHeld: number;
  readonly bodyRoot: BodyRoot;
  readonly closedRound: number;
  readonly closedRoot: BodyRoot;
  readonly agreement: {
    /** Peers whose root could be compared, and those whose root is this one's. */
    readonly comparable: number;
    readonly agreeing: number;
    /** True while nobody disagrees. */
    readonly holds: boolean;
  };
  /** Rounds behind the peer that is furthest ahead; 0 for the one in front. */
  readonly lagRounds: number;

  readonly peers: readonly (Omit<RemotePeer, "lastSeenAtMs"> & {
    readonly connected: boolean;
    readonly direction: "inbound" | "outbound" | undefined;
    readonly latencyMs: number | undefined;
    readonly lastSeenMs: number;
  })[];

  readonly traffic: {
    readonly total: Traffic & { readonly byChannel: TrafficByChannel };
    readonly thisRound: Traffic & { readonly byChannel: TrafficByChannel };
    /** Bytes of an update as float32 over its bytes on the wire; `undefined` before the first own update. */
    readonly payloadRatio: number | undefined;
    /** See `dataParallelBytes`; `undefined` before the first step. */
    readonly reductionAgainstDataParallel: number | undefined;
  };

  readonly training: Omit<TrainingFacts, "payloadBytes"> & {
    /** T_compute / T_wall; `undefined` before training begins. */
    readonly computeUtilisation: number | undefined;
  };
  readonly offences: Readonly<Partial<Record<Offence, number>>>;
}

/**
 * Bytes that one peer would send with fp32 data parallelism over the same steps: each step all-reduces the whole
 * model's gradient (body and embeddings, as all would share them). A ring moves 2 (n - 1) / n times the gradient's
 * size through each peer, which tends to 2 x 4 bytes a parameter: steps x 8 x (body + embedding).
 */
export function dataParallelBytes(training: {
  readonly steps: number;
  readonly bodyParameters: number;
  readonly embeddingParameters: number;
}): number {
  return training.steps * 8 * (training.bodyParameters + training.embeddingParameters);
}

export function composeStatus({ protocol, network, training, ...self }: StatusInputs): PeerStatus {
  const { payloadBytes, ...trained } = training;
  const connections = new Map(network.connections.map((connection) => [connection.peerId, connection]));
  const comparable = protocol.peers.filter(({ agrees }) => agrees !== undefined);
  const agreeing = comparable.filter(({ agrees }) => agrees === true).length;
  const total = sumOf(network.total);
  return {
    version: STATUS_VERSION,
    name: self.name,
    peerId: self.peerId,
    pid: self.pid,
    runId: self.runId,
    runName: self.runName,
    stateDirectory: self.stateDirectory,
    addresses: network.addresses,
    uptimeMs: self.nowMs - self.startedAtMs,
    phase: protocol.phase,
    round: protocol.round,
    step: protocol.step,
    steps: protocol.steps,
    updatesHeld: protocol.updatesHeld,
    bodyRoot: protocol.bodyRoot,
    closedRound: protocol.closedRound,
    closedRoot: protocol.closedRoot,
    agreement: { comparable: comparable.length, agreeing, holds: agreeing === comparable.length },
    lagRounds: Math.max(protocol.round, ...protocol.peers.map(({ round }) => round)) - protocol.round,
    peers: protocol.peers.map(({ lastSeenAtMs, ...peer }) => {
      const connection = connections.get(peer.peerId);
      return {
        ...peer,
        connected: connection !== undefined,
        direction: connection?.direction,
        latencyMs: connection?.latencyMs,
        lastSeenMs: Math.max(0, self.nowMs - lastSeenAtMs),
      };
    }),
    traffic: {
      total: { ...total, byChannel: network.total },
      thisRound: { ...sumOf(network.thisRound), byChannel: network.thisRound },
      payloadRatio: ratio(4 * training.bodyParameters, payloadBytes ?? 0),
      reductionAgainstDataParallel: ratio(
        dataParallelBytes(training),
        training.steps > 0 ? total.bytesSent : 0,
      ),
    },
    training: { ...trained, computeUtilisation: ratio(training.computeMs, training.wallMs) },
    offences: network.offences,
  };
}

export function sumOf(channels: TrafficByChannel): Traffic {
  const all = Object.values(channels);
  return {
    bytesSent: all.reduce((sum, { bytesSent }) => sum + bytesSent, 0),
    bytesReceived: all.reduce((sum, { bytesReceived }) => sum + bytesReceived, 0),
  };
}

function ratio(numerator: number, denominator: number): number | undefined {
  return denominator > 0 ? numerator / denominator : undefined;
}
