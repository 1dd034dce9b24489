// What `glossa stats --json` prints: one peer's view of itself and of the others. A public, versioned format.
// Pure: everything is an argument, so that the same function serves the control endpoint, the metrics and tests.
import type { Variant } from "#protocol/core/run-config.ts";
import type { BodyRoot, Offence, PeerId, Phase, RunId } from "#protocol/core/types.ts";
import type { Agreement, MemberStatus, ProtocolStatus, RoundRecord } from "#protocol/driver.ts";
import type { NetworkTraffic } from "#protocol/net/network.ts";
import type { ByteCount, TrafficChannel } from "#protocol/net/traffic.ts";

export const STATUS_VERSION = 1;

/** Ways that bytes take: small talk, payloads of updates, bodies for newcomers, everything else. */
export const CHANNELS = [
  "gossip",
  "payload",
  "snapshot",
  "control",
] as const satisfies readonly TrafficChannel[];

export type TrafficByChannel = Readonly<Record<TrafficChannel, ByteCount>>;

/** What the network has measured. */
export interface NetworkFacts {
  readonly addresses: readonly string[];
  readonly traffic: Pick<NetworkTraffic, "channels" | "links">;
  /** `traffic.channels` as it was when the current round began. */
  readonly atRoundStart: TrafficByChannel;
  readonly offences: Readonly<Partial<Record<Offence, number>>>;
}

/** What local training has measured; `undefined` until it has. */
export interface TrainingFacts {
  readonly device: string;
  /** What is shared. */
  readonly variant: Variant;
  /** Tokens that this peer uses, of a vocabulary of its own or of the common one. */
  readonly vocabularySize: number;
  /** Tokens of the common vocabulary; `undefined` where each peer has its own. */
  readonly commonVocabularySize: number | undefined;
  /** Embedding rows that this peer shares with the others; `undefined` where the embedding is private. */
  readonly heldRows: number | undefined;
  readonly embeddingParameters: number;
  readonly bodyParameters: number;
  /** Optimizer steps and tokens since this peer first joined, across restarts. */
  readonly steps: number;
  readonly tokens: number;
  /** Steps since this process started, which is what `traffic` counts from. */
  readonly stepsThisProcess: number;
  readonly tokensPerSecond: number | undefined;
  /** Mean over the batches of the last own round. */
  readonly lossNatsPerToken: number | undefined;
  /** On held-out text: at first, and now. */
  readonly bitsPerByteStart: number | undefined;
  readonly bitsPerByte: number | undefined;
  /** Of `steps`, such as moved nothing: in float16 their loss was scaled too far. Those of the warm-up are counted too. */
  readonly skippedSteps: number;
  /** Crashes of the trainer's process that this process has outlived, and why the last one was. */
  readonly trainerRestarts: number;
  readonly lastTrainerCrash: string | undefined;
}

export interface GroupFacts {
  readonly name: string;
  readonly runId: RunId;
  readonly protocol: ProtocolStatus;
}

export interface StatusInputs {
  readonly nowMs: number;
  readonly startedAtMs: number;
  readonly pid: number;
  readonly runId: RunId;
  readonly runName: string;
  readonly stateDirectory: string;
  readonly protocol: ProtocolStatus;
  /** The group that shares this peer's embedding, if it is in one. */
  readonly group?: GroupFacts | undefined;
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
  /** Updates counted in the current round, the own one included, and peers that are still waited for. */
  readonly updatesHeld: number;
  readonly missing: readonly PeerId[];
  readonly bodyRoot: BodyRoot;
  readonly closedRound: number;
  readonly closedRoot: BodyRoot;
  /** The other peers by whether their body is this peer's. */
  readonly agreement: Agreement;
  /** Rounds behind the peer that is furthest ahead; 0 for the one in front. */
  readonly lagRounds: number;
  readonly peers: readonly RemotePeer[];

  /** Peers that share this peer's embedding; absent where it is in no group. */
  readonly group?: GroupStatus | undefined;

  readonly traffic: {
    readonly total: ByteCount & { readonly byChannel: TrafficByChannel };
    readonly thisRound: ByteCount & { readonly byChannel: TrafficByChannel };
    /** Bytes of an update as float32 over its bytes on the wire; `undefined` before the first own update. */
    readonly payloadRatio: number | undefined;
    /** See `dataParallelBytes`; `undefined` before the first step. */
    readonly reductionAgainstDataParallel: number | undefined;
  };
  readonly training: TrainingFacts & {
    /** T_compute / T_wall since the first round of this process; `undefined` before it. */
    readonly computeUtilisation: number | undefined;
  };
  /** The last rounds, oldest first. */
  readonly recentRounds: readonly RoundRecord[];
  readonly events: {
    readonly lateUpdates: number;
    /** Times this peer was outvoted and took the plurality's body. */
    readonly heals: number;
    /** Times it fell behind and fetched a body. */
    readonly syncs: number;
  };
  /** Updates of closed rounds that the run's defence did not count whole, by why. */
  readonly restrained: ProtocolStatus["restrained"];
  readonly offences: Readonly<Partial<Record<Offence, number>>>;
}

/** Another peer: what it says of itself, and the connection to it if there is one. */
export interface RemotePeer extends MemberStatus {
  readonly connected: boolean;
  readonly direction: "inbound" | "outbound" | undefined;
  readonly latencyMs: number | undefined;
}

/** A group within the run: rounds of its own, over the embedding alone. */
export interface GroupStatus {
  readonly name: string;
  readonly runId: RunId;
  readonly phase: Phase;
  readonly round: number;
  readonly embeddingRoot: BodyRoot;
  /** The other members by whether their embedding is this peer's. */
  readonly agreement: Agreement;
  readonly peers: readonly MemberStatus[];
  /** Bytes of the last own update of the embedding; `undefined` before one. */
  readonly payloadBytes: number | undefined;
}

const RECENT_ROUNDS = 16;

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

export function composeStatus({
  protocol,
  group,
  network,
  training,
  nowMs,
  startedAtMs,
  ...self
}: StatusInputs): PeerStatus {
  const links = new Map(network.traffic.links.map((link) => [link.peer, link]));
  const { channels } = network.traffic;
  const total = sumOf(channels);
  const thisRound = difference(channels, network.atRoundStart);
  return {
    version: STATUS_VERSION,
    ...self,
    name: protocol.name,
    peerId: protocol.peer,
    addresses: network.addresses,
    uptimeMs: nowMs - startedAtMs,
    phase: protocol.phase,
    round: protocol.round,
    step: protocol.step,
    steps: protocol.steps,
    updatesHeld: protocol.updatesHeld,
    missing: protocol.missing,
    bodyRoot: protocol.root,
    closedRound: protocol.closedRound,
    closedRoot: protocol.closedRoot,
    agreement: protocol.agreement,
    lagRounds: Math.max(0, ...protocol.members.map(({ lag }) => lag)),
    peers: protocol.members.map((member) => {
      const link = links.get(member.peer);
      const connected = link !== undefined;
      return { ...member, connected, direction: link?.direction, latencyMs: link?.latencyMs };
    }),
    group: group && groupStatus(group),
    traffic: {
      total: { ...total, byChannel: channels },
      thisRound: { ...sumOf(thisRound), byChannel: thisRound },
      payloadRatio: protocol.payloadRatio,
      reductionAgainstDataParallel: reduction(training, total.bytesSent),
    },
    training: { ...training, computeUtilisation: ratio(protocol.computeMs, protocol.wallMs) },
    recentRounds: protocol.rounds.slice(-RECENT_ROUNDS),
    events: { lateUpdates: protocol.lateUpdates, heals: protocol.heals, syncs: protocol.syncs },
    restrained: { ...protocol.restrained },
    offences: network.offences,
  };
}

function groupStatus({ name, runId, protocol }: GroupFacts): GroupStatus {
  const { phase, round, root: embeddingRoot, agreement, members: peers, rounds } = protocol;
  const payloadBytes = rounds.findLast((record) => record.payloadBytes !== undefined)?.payloadBytes;
  return { name, runId, phase, round, embeddingRoot, agreement, peers, payloadBytes };
}

function reduction(training: TrainingFacts, bytesSent: number): number | undefined {
  const { stepsThisProcess: steps, bodyParameters, embeddingParameters } = training;
  return steps > 0
    ? ratio(dataParallelBytes({ steps, bodyParameters, embeddingParameters }), bytesSent)
    : undefined;
}

function sumOf(channels: TrafficByChannel): ByteCount {
  const all = Object.values(channels);
  return {
    bytesSent: all.reduce((sum, { bytesSent }) => sum + bytesSent, 0),
    bytesReceived: all.reduce((sum, { bytesReceived }) => sum + bytesReceived, 0),
  };
}

function difference(now: TrafficByChannel, before: TrafficByChannel): TrafficByChannel {
  const of = (channel: TrafficChannel): ByteCount => ({
    bytesSent: now[channel].bytesSent - before[channel].bytesSent,
    bytesReceived: now[channel].bytesReceived - before[channel].bytesReceived,
  });
  return { gossip: of("gossip"), payload: of("payload"), snapshot: of("snapshot"), control: of("control") };
}

function ratio(numerator: number, denominator: number): number | undefined {
  return denominator > 0 ? numerator / denominator : undefined;
}
