// What a simulation amounts to, as plain data: the same plan gives the same report, byte for byte.
import type { PeerId, UpdateAnnouncement } from "../core/types.ts";
import { keyOf, type Made } from "./observation.ts";
import type { SimulatedPeer } from "./simulated-peer.ts";
import type { Simulation } from "./simulation.ts";
import { standInLoss } from "./stand-in-trainer.ts";
import { CHANNELS, type Channel } from "./traffic.ts";

export interface RoundReport {
  readonly round: number;
  /** Honest peers that took part, and updates that counted. */
  readonly present: number;
  readonly updates: number;
  readonly medianMs: number;
  readonly longestMs: number;
  readonly utilisation: number;
  readonly loss: number;
  /** Sent by all peers since the round before. */
  readonly sentBytes: number;
}

export interface BytesReport {
  /** A peer and round, on average. */
  readonly sent: number;
  readonly received: number;
}

export interface JoinReport {
  readonly peer: string;
  readonly newcomer: boolean;
  readonly syncMs: number | undefined;
  /** Of its link's rate, while it fetched the body. */
  readonly linkShare: number | undefined;
  readonly firstRoundMs: number | undefined;
  readonly firstUpdateMs: number | undefined;
}

export interface PartitionReport {
  readonly cutOff: number;
  readonly fromRound: number;
  readonly untilRound: number;
  readonly lastedMs: number;
  readonly healed: boolean;
  readonly healMs: number | undefined;
  readonly healRounds: number | undefined;
  /** Updates made meanwhile on each side, and how many of them are in the final body. */
  readonly cutOffUpdates: { readonly made: number; readonly counted: number };
  readonly otherUpdates: { readonly made: number; readonly counted: number };
}

export interface SimulationReport {
  readonly atRest: boolean;
  readonly virtualMs: number;
  readonly rounds: readonly RoundReport[];
  readonly agreement: {
    readonly peers: number;
    readonly roots: number;
    /** Between any peer's body and the first one's, at rest. */
    readonly differingBits: number;
    /** Closed rounds at which honest peers have ever held different bodies. */
    readonly disputedRounds: number;
    readonly heals: number;
    readonly syncs: number;
    readonly failedSyncs: number;
    readonly fellBehind: number;
  };
  /** Time in training over time from a peer's first round to its end. */
  readonly utilisation: { readonly all: number; readonly least: number };
  /** Updates of honest peers. */
  readonly goodput: {
    readonly made: number;
    readonly counted: number;
    /** Went back to their author's residual, to be sent with a later update. */
    readonly returned: number;
    /** Do not count themselves, but their author has sent an update later that does, and with it what they hold. */
    readonly resent: number;
    /** Segments in updates of both kinds over segments trained. */
    readonly trained: number;
  };
  readonly staleness: {
    /** Share of applications by rounds late: 0, 1, 2 and more. */
    readonly lateShares: readonly number[];
    readonly medianAgeMs: number | undefined;
    readonly age90Ms: number | undefined;
  };
  readonly traffic: Readonly<Record<Channel, BytesReport>>;
  /** Of the access link, over the whole time, on average. */
  readonly linkUse: { readonly up: number; readonly down: number };
  readonly joins: readonly JoinReport[];
  readonly partition: PartitionReport | undefined;
  readonly churn: Simulation["faults"]["counts"];
  readonly liars: {
    readonly count: number;
    readonly counted: number;
    /** Updates that the run's defence did not count whole: theirs, and those of honest peers. */
    readonly restrained: number;
    readonly honestRestrained: number;
  };
  readonly offences: Readonly<Record<string, number>>;
  /** Of the stand-in: at the first body and at the last. */
  readonly loss: { readonly first: number; readonly last: number };
}

export function reportOf(simulation: Simulation): SimulationReport {
  const { observation, plan, clock, startMs, faults } = simulation;
  const honest = [...simulation.peers.values()].filter(({ isHonest }) => isHonest);
  const witness = witnessOf(simulation);
  const history = witness === undefined ? [] : observation.history(witness);
  const first = new Float32Array(plan.layout.total);
  return {
    atRest: simulation.atRest,
    virtualMs: clock.nowMs() - startMs,
    rounds: roundsOf(simulation),
    agreement: agreementOf(simulation),
    utilisation: utilisationOf(honest, clock.nowMs()),
    goodput: goodputOf(simulation, honest, history),
    staleness: stalenessOf(simulation),
    traffic: trafficOf(simulation),
    linkUse: linkUseOf(simulation, honest),
    joins: joinsOf(simulation),
    partition: partitionOf(simulation, history),
    churn: { ...faults.counts },
    liars: {
      count: simulation.liars.size,
      counted: history.filter(({ author }) => simulation.liars.has(author)).length,
      restrained: restrainedOf(simulation, true),
      honestRestrained: restrainedOf(simulation, false),
    },
    offences: Object.fromEntries([...observation.offences].sort(([a], [b]) => (a < b ? -1 : 1))),
    loss: {
      first: standInLoss(first, simulation.optimum),
      last: witness === undefined ? Number.NaN : standInLoss(witness.driver!.body(), simulation.optimum),
    },
  };
}

/** A peer that holds what most hold at the end. */
function restrainedOf({ observation, liars }: Simulation, areLiars: boolean): number {
  const rounds = [...observation.restrained].filter(([author]) => liars.has(author) === areLiars);
  return rounds.reduce((sum, [, { size }]) => sum + size, 0);
}

function witnessOf(simulation: Simulation): SimulatedPeer | undefined {
  const votes = new Map<string, SimulatedPeer[]>();
  for (const peer of simulation.up()) {
    const { closedRound, root } = peer.driver!.content.snapshot()!;
    const key = `${closedRound}/${root}`;
    votes.set(key, [...(votes.get(key) ?? []), peer]);
  }
  return [...votes.values()].sort((a, b) => b.length - a.length)[0]?.[0];
}

function roundsOf({ observation, samples, plan }: Simulation): RoundReport[] {
  return samples
    .filter(({ round }) => round < plan.rounds)
    .map(({ round, present, loss, computeMs, sentBytes }, at) => {
      const { durationsMs, updates } = observation.round(round);
      const sorted = [...durationsMs].sort((a, b) => a - b);
      return {
        round,
        present,
        updates,
        medianMs: sorted[sorted.length >> 1] ?? 0,
        longestMs: sorted.at(-1) ?? 0,
        utilisation: ratio(
          computeMs - (samples[at - 1]?.computeMs ?? 0),
          sorted.reduce((sum, ms) => sum + ms, 0),
        ),
        loss,
        sentBytes: sentBytes - (samples[at - 1]?.sentBytes ?? 0),
      };
    });
}

function agreementOf(simulation: Simulation): SimulationReport["agreement"] {
  const { observation } = simulation;
  const bodies = simulation.up().map(({ driver }) => driver!.body());
  const { heals, syncs, failedSyncs, fellBehind } = observation.counts;
  return {
    peers: bodies.length,
    roots: new Set(simulation.up().map(({ driver }) => driver!.status().root)).size,
    differingBits: bodies.reduce((most, body) => Math.max(most, differingBits(bodies[0]!, body)), 0),
    disputedRounds: [...observation.closedRoots.values()].filter(({ size }) => size > 1).length,
    heals,
    syncs,
    failedSyncs,
    fellBehind,
  };
}

/** Bits in which two bodies differ. */
export function differingBits(a: Float32Array, b: Float32Array): number {
  const left = new Uint32Array(a.buffer, a.byteOffset, a.length);
  const right = new Uint32Array(b.buffer, b.byteOffset, b.length);
  let bits = 0;
  for (let at = 0; at < left.length; at++) {
    for (let rest = left[at]! ^ right[at]!; rest !== 0; rest &= rest - 1) bits++;
  }
  return bits;
}

function utilisationOf(honest: readonly SimulatedPeer[], nowMs: number): SimulationReport["utilisation"] {
  const shares: number[] = [];
  let computeMs = 0;
  let presentMs = 0;
  for (const peer of honest) {
    const present = presentMsOf(peer, nowMs);
    if (present <= 0) continue;
    computeMs += peer.computeMs;
    presentMs += present;
    shares.push(ratio(peer.computeMs, present));
  }
  return { all: ratio(computeMs, presentMs), least: shares.length === 0 ? 0 : Math.min(...shares) };
}

/** From the first round of each life to its end, or to when the last round was done. */
function presentMsOf({ lives, restMs }: SimulatedPeer, nowMs: number): number {
  return lives.reduce((sum, { firstRoundMs, endMs }, at) => {
    const untilMs = endMs ?? (at === lives.length - 1 ? restMs : undefined) ?? nowMs;
    return firstRoundMs === undefined ? sum : sum + Math.max(0, untilMs - firstRoundMs);
  }, 0);
}

function goodputOf(
  { observation, plan }: Simulation,
  honest: readonly SimulatedPeer[],
  history: readonly UpdateAnnouncement[],
): SimulationReport["goodput"] {
  const { made, counts } = observation;
  const inBody = new Set(history.map(({ round, author }) => keyOf(round, author)));
  /** By author: when it made the last update that counts. */
  const lastMs = new Map<PeerId, number>();
  for (const [key, { author, atMs }] of made) {
    if (inBody.has(key)) lastMs.set(author, Math.max(atMs, lastMs.get(author) ?? 0));
  }
  let counted = 0;
  let resent = 0;
  let tokens = 0;
  for (const [key, { author, atMs, tokens: own }] of made) {
    const counts = inBody.has(key);
    // What a body lacks of a peer's own updates is in its residual, from where the next update takes it (own-updates.ts).
    if (!counts && atMs >= (lastMs.get(author) ?? 0)) continue;
    if (counts) counted++;
    else resent++;
    tokens += own;
  }
  const segments = honest.reduce((sum, { segments: trained }) => sum + trained, 0);
  return {
    made: made.size,
    counted,
    returned: counts.returned,
    resent,
    trained: ratio(tokens, segments * plan.tokensPerSegment),
  };
}

function stalenessOf({ observation }: Simulation): SimulationReport["staleness"] {
  const { lateness, ages } = observation;
  const all = lateness.reduce((sum, count = 0) => sum + count, 0);
  const later = lateness.slice(2).reduce((sum, count = 0) => sum + count, 0);
  return {
    lateShares: [lateness[0] ?? 0, lateness[1] ?? 0, later].map((count) => ratio(count, all)),
    medianAgeMs: ages.quantile(0.5),
    age90Ms: ages.quantile(0.9),
  };
}

function trafficOf({ network, observation }: Simulation): SimulationReport["traffic"] {
  const peerRounds = [...observation.rounds.values()].reduce(
    (sum, { durationsMs }) => sum + durationsMs.length,
    0,
  );
  const report = {} as Record<Channel, BytesReport>;
  for (const channel of CHANNELS) {
    let sent = 0;
    let received = 0;
    for (const [, traffic] of network.traffic.entries()) {
      sent += traffic[channel].sent;
      received += traffic[channel].received;
    }
    report[channel] = { sent: ratio(sent, peerRounds), received: ratio(received, peerRounds) };
  }
  return report;
}

function linkUseOf(
  { network, plan, clock }: Simulation,
  honest: readonly SimulatedPeer[],
): SimulationReport["linkUse"] {
  const nowMs = clock.nowMs();
  let up = 0;
  let down = 0;
  let presentMs = 0;
  for (const peer of honest) {
    presentMs += presentMsOf(peer, nowMs);
    const traffic = network.traffic.of(peer.id);
    for (const channel of CHANNELS) {
      up += traffic[channel].sent;
      down += traffic[channel].received;
    }
  }
  const { upMbits, downMbits } = plan.network;
  return { up: ratio(up, presentMs * upMbits * 125), down: ratio(down, presentMs * downMbits * 125) };
}

function joinsOf({ observation, plan }: Simulation): JoinReport[] {
  return observation.joinings.map((joining) => {
    const { peer, newcomer, bootMs, syncStartedMs, syncedMs, firstRoundMs, firstUpdateMs } = joining;
    const syncMs =
      syncedMs === undefined || syncStartedMs === undefined ? undefined : syncedMs - syncStartedMs;
    return {
      peer,
      newcomer,
      syncMs,
      linkShare: syncMs && plan.bodyBytes / syncMs / (plan.network.downMbits * 125),
      firstRoundMs: firstRoundMs === undefined ? undefined : firstRoundMs - bootMs,
      firstUpdateMs: firstUpdateMs === undefined ? undefined : firstUpdateMs - bootMs,
    };
  });
}

function partitionOf(
  { partitions, observation }: Simulation,
  history: readonly UpdateAnnouncement[],
): PartitionReport | undefined {
  const { divided } = partitions;
  if (divided?.untilMs === undefined) return undefined;
  const { cutOff, fromMs, untilMs, fromRound, untilRound, healedMs, healedRound } = divided;
  const counted = new Set(history.map(({ round, author }) => keyOf(round, author)));
  const meanwhile = [...observation.made].filter(([, { atMs }]) => atMs >= fromMs && atMs <= untilMs);
  const side = (isOf: (made: Made) => boolean) => {
    const made = meanwhile.filter(([, update]) => isOf(update));
    return { made: made.length, counted: made.filter(([key]) => counted.has(key)).length };
  };
  return {
    cutOff: cutOff.size,
    fromRound,
    untilRound: untilRound ?? fromRound,
    lastedMs: untilMs - fromMs,
    healed: healedMs !== undefined,
    healMs: healedMs === undefined ? undefined : healedMs - untilMs,
    healRounds: healedRound === undefined ? undefined : healedRound - untilRound!,
    cutOffUpdates: side(({ author }) => cutOff.has(author)),
    otherUpdates: side(({ author }) => !cutOff.has(author)),
  };
}

const ratio = (part: number, whole: number): number => (whole > 0 ? part / whole : 0);
