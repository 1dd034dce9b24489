// A simulation's report as people read it.
import type { SimulationPlan } from "#protocol/simulation/plan.ts";
import type { JoinReport, RoundReport, SimulationReport } from "#protocol/simulation/report.ts";
import { CHANNELS } from "#protocol/simulation/traffic.ts";
import { bytes, count, duration } from "../terminal/format.ts";
import { table } from "../terminal/table.ts";
import { type Chart, sparkline } from "./charts.ts";

/** What was asked for and what stands for it. */
export interface Planned {
  readonly preset: string;
  readonly codec: string;
  readonly variant: string;
  readonly sharedValues: number;
  readonly roundMs: number;
  /** Where the round's time comes from. */
  readonly roundFrom: string;
}

export function descriptionOf(plan: SimulationPlan, planned: Planned): string[] {
  const { network, costs } = plan;
  const speed = plan.speedSpread > 1 ? `, the slowest ${plan.speedSpread} times as long as the fastest` : "";
  return [
    `${plan.peers} peers, ${plan.rounds} rounds of ${duration(planned.roundMs)} of training (${planned.roundFrom})${speed}; seed ${plan.seed}`,
    `${planned.preset}, ${planned.variant}: ${count(planned.sharedValues)} shared values; an update as ${planned.codec} is ${bytes(plan.payloadBytes)}`,
    `${network.downMbits} Mbit/s down, ${network.upMbits} up, ${network.latencyMs} ± ${network.jitterMs} ms one way, ${share(network.packetLoss)} of packets lost, ${network.connections} connections a peer`,
    `Real protocol, codec and averaging on a stand-in of ${plan.layout.total} values, charged as above; an update takes ` +
      `${duration(costs.encodeMs)} to make and ${duration(costs.applyMs)} to count, a round ${duration(costs.openMs)} to apply, a checkpoint ${duration(costs.saveMs)}`,
    "libp2p itself does not run: links, connections and gossip are modelled. Training is a walk towards an optimum.",
  ];
}

/** Rounds last longer than their training, and begin when all are there. */
const ROUND_STRETCH = 1.1;
const START_MS = 10_000;
/** Before so much real time has passed nothing is guessed. */
const LEAST_REAL_MS = 5_000;

export interface Progress {
  readonly round: number;
  readonly rounds: number;
  readonly roundMs: number;
  readonly virtualMs: number;
  readonly realMs: number;
}

/** How far a simulation is, and how long it takes if the rest of the swarm's time passes as what has passed. */
export function progressOf({ round, rounds, roundMs, virtualMs, realMs }: Progress): string {
  const far = `round ${round} of ${rounds}, ${duration(virtualMs)} of the swarm's time`;
  const leftMs = rounds * roundMs * ROUND_STRETCH + START_MS - virtualMs;
  if (realMs < LEAST_REAL_MS || virtualMs <= 0 || leftMs <= 0) return far;
  return `${far}, about ${duration((realMs * leftMs) / virtualMs)} left`;
}

export function reportLines(plan: SimulationPlan, report: SimulationReport): string[] {
  const { agreement, utilisation, goodput, staleness, linkUse, loss } = report;
  const durations = report.rounds.map(({ medianMs }) => medianMs).sort((a, b) => a - b);
  const rows: [string, string, string][] = [
    [
      "time",
      duration(report.virtualMs),
      report.atRest ? "until all were at rest" : "and the swarm was not at rest",
    ],
    ["round", durations.length === 0 ? "–" : duration(durations[durations.length >> 1]!), "median"],
    [
      "agreement",
      agreement.roots === 1 ? "yes" : "NO",
      `${agreement.peers} peers, ${agreement.roots} ${agreement.roots === 1 ? "body" : "bodies"}, ${agreement.differingBits} bits differ; ` +
        `on the way ${agreement.disputedRounds} rounds in dispute, ${agreement.heals} healed, ${agreement.syncs} synced, ${agreement.failedSyncs} failed`,
    ],
    [
      "utilisation",
      share(utilisation.all),
      `time in training; the least of a peer ${share(utilisation.least)}`,
    ],
    [
      "goodput",
      share(goodput.made === 0 ? 0 : (goodput.counted + goodput.resent) / goodput.made),
      `${goodput.counted} of ${goodput.made} updates counted and ${goodput.resent} with later ones, ${share(goodput.trained)} of the steps; ${goodput.returned} times one returned`,
    ],
    [
      "staleness",
      staleness.medianAgeMs === undefined ? "–" : duration(staleness.medianAgeMs),
      `from made to counted elsewhere (90% within ${duration(staleness.age90Ms ?? 0)}); ${staleness.lateShares.map(share).join(", ")} are 0, 1, 2 or more rounds late`,
    ],
    ...CHANNELS.map((channel): [string, string, string] => [
      channel,
      bytes(report.traffic[channel].received),
      `received a peer and round, ${bytes(report.traffic[channel].sent)} sent`,
    ]),
    ["link", share(linkUse.down), `of the downlink used on average, ${share(linkUse.up)} of the uplink`],
    ["loss", loss.last.toPrecision(3), `of the stand-in, from ${loss.first.toPrecision(3)}`],
    ...churnRows(report),
    ...joinRows(report.joins),
    ...partitionRows(report),
    ...liarRows(report),
  ];
  return [
    ...table([{ title: "" }, { title: "", align: "right" }, { title: "" }], rows).slice(1),
    "",
    ...chartLines(plan, report.rounds),
  ];
}

export function chartsOf(rounds: readonly RoundReport[]): Chart[] {
  const chart = (
    title: string,
    value: (round: RoundReport) => number,
    format: (value: number) => string,
  ): Chart => ({
    title,
    values: rounds.map(value),
    format,
  });
  return [
    chart("utilisation", ({ utilisation }) => utilisation, share),
    chart("updates counted", ({ updates }) => updates, count),
    chart("round", ({ medianMs }) => medianMs, duration),
    chart("sent by all", ({ sentBytes }) => sentBytes, bytes),
    chart(
      "loss",
      ({ loss }) => loss,
      (value) => value.toPrecision(2),
    ),
  ];
}

function chartLines(plan: SimulationPlan, rounds: readonly RoundReport[]): string[] {
  if (rounds.length < 2) return [];
  const rows = chartsOf(rounds).map(({ title, values, format }) => [
    title,
    sparkline(values, { from: 0 }),
    `${format(values[0]!)} … ${format(values.at(-1)!)}`,
  ]);
  return table([{ title: "" }, { title: `round 0 to ${plan.rounds - 1}` }, { title: "" }], rows);
}

function churnRows({ churn }: SimulationReport): [string, string, string][] {
  const gone = churn.crashed + churn.left;
  if (gone === 0) return [];
  return [["gone", String(gone), `${churn.cameBack} came back, ${churn.replaced} were replaced`]];
}

function joinRows(joins: readonly JoinReport[]): [string, string, string][] {
  return [true, false].flatMap((newcomer): [string, string, string][] => {
    const these = joins.filter((join) => join.newcomer === newcomer);
    const ready = these.filter(({ firstUpdateMs }) => firstUpdateMs !== undefined);
    if (these.length === 0) return [];
    const median = (pick: (join: JoinReport) => number | undefined) => {
      const values = ready
        .map(pick)
        .filter((value) => value !== undefined)
        .sort((a, b) => a - b);
      return values[values.length >> 1];
    };
    const synced = median(({ syncMs }) => syncMs);
    const shares = median(({ linkShare }) => linkShare);
    const fetched =
      synced === undefined
        ? "no body fetched"
        : `a body in ${duration(synced)}, ${share(shares ?? 0)} of its link`;
    return [
      [
        newcomer ? "joining" : "coming back",
        duration(median(({ firstUpdateMs }) => firstUpdateMs) ?? 0),
        `to a first update (median); ${fetched}; ${ready.length} of ${these.length} got there`,
      ],
    ];
  });
}

function partitionRows({ partition }: SimulationReport): [string, string, string][] {
  if (partition === undefined) return [];
  const { cutOff, lastedMs, fromRound, untilRound, healed, healMs, healRounds, cutOffUpdates, otherUpdates } =
    partition;
  return [
    ["partition", duration(lastedMs), `${cutOff} peers cut off from round ${fromRound} to ${untilRound}`],
    [
      "healing",
      healed ? duration(healMs ?? 0) : "never",
      `${healed ? `${healRounds} rounds; ` : ""}of the updates made meanwhile ${cutOffUpdates.counted} of ${cutOffUpdates.made} and ${otherUpdates.counted} of ${otherUpdates.made} are in the body`,
    ],
  ];
}

function liarRows({ liars, offences }: SimulationReport): [string, string, string][] {
  if (liars.count === 0) return [];
  const named = Object.entries(offences).map(([offence, times]) => `${offence} ${times}`);
  return [
    [
      "liars",
      String(liars.count),
      `${liars.counted} of their updates counted, ${liars.restrained} of them not whole, and ${liars.honestRestrained} of the others'; ` +
        `charged: ${named.join(", ") || "nothing"}`,
    ],
  ];
}

/** `93.4%`, `0%`, `100%`. */
function share(value: number): string {
  const text = (100 * value).toFixed(1);
  return `${text.endsWith(".0") ? text.slice(0, -2) : text}%`;
}
