// `glossa sim`: a swarm on a virtual clock, to see before it runs whether a network keeps it busy and what faults do to it.
import { z } from "zod";
import { type PresetName, presetNames, presets } from "#protocol/core/presets.ts";
import { parseRunConfig, type RunConfig, type RunConfigInput } from "#protocol/core/run-config.ts";
import { BEHAVIOURS } from "#protocol/simulation/plan.ts";
import { reportOf } from "#protocol/simulation/report.ts";
import { Simulation } from "#protocol/simulation/simulation.ts";
import { DEFAULT_VOCABULARY_SIZE } from "../config.ts";
import { withChosenCodec } from "../planning/automatic-codec.ts";
import { planRun } from "../planning/run-plan.ts";
import { choice, decimal, integer, setting, text } from "../settings.ts";
import { svgCharts } from "../simulating/charts.ts";
import { chartsOf, descriptionOf, progressOf, reportLines } from "../simulating/describe.ts";
import { planSwarm } from "../simulating/plan-swarm.ts";
import { writeAtomic } from "../storage/atomic-file.ts";
import { ProgressLine } from "../terminal/progress-line.ts";
import { defineCommand } from "./command.ts";
import { mergeConfigs, nestRunFlags, runFlags } from "./run-flags.ts";

const SWARM = "Swarm";
const NETWORK = "Network of each peer";
const FAULTS = "Faults";
/** More would not fit into memory. */
const MOST_PEERS = 50_000;
const MOST_CONNECTIONS = 1_024;
const MOST_ROWS = 1_048_576;

/** Of the run's settings, those that the stand-in has no use for, and those that a simulation has its own of. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  ...["name", "seed", "rounds", "warmupSteps", "learningRate", "finalLearningRateRatio", "beta1", "beta2"],
  ...["epsilon", "weightDecay", "gradientClip", "momentsAcrossRounds", "minimumPeers"],
]);
const plannedFlags = Object.fromEntries(Object.entries(runFlags).filter(([key]) => !WITHOUT_EFFECT.has(key)));

const share = () => decimal(0, 0.999);

export const simCommand = defineCommand({
  name: "sim",
  summary: "Simulate a swarm: will this network keep it busy, and what do faults do to it?",
  description:
    "Runs the real protocol of as many peers as you like on a virtual clock, with a modelled network and a stand-in for " +
    "training that takes the time and sends the bytes of the planned run. The same flags and seed print the same result, " +
    "byte for byte. Takes the run's own settings as plan and init do. Three rounds of a minute take some 2 minutes for 1,000 " +
    "peers and 6 for 3,000; 10,000 need about 35 and 8 GB, which Node is given with NODE_OPTIONS=--max-old-space-size=8192.",
  settings: z.object({
    peers: setting(integer(1, MOST_PEERS).default(8), {
      description: "Peers from the start.",
      value: "N",
      group: SWARM,
    }),
    rounds: setting(integer(1, 10_000).default(10), {
      description: "Rounds to simulate.",
      value: "N",
      group: SWARM,
    }),
    seed: setting(integer(0, 2 ** 32 - 1).default(1), {
      description: "Of everything that is drawn.",
      value: "N",
      group: SWARM,
    }),
    preset: setting(choice(presetNames as readonly [PresetName, ...PresetName[]]).default("tiny"), {
      description: "Which run is planned.",
      value: "PRESET",
      group: SWARM,
    }),
    vocabularySize: setting(integer(2, MOST_ROWS).default(DEFAULT_VOCABULARY_SIZE), {
      description: "Tokens in the vocabulary: part of an update in variants glob and trim.",
      value: "N",
      group: SWARM,
    }),
    heldRows: setting(integer(2, MOST_ROWS).optional(), {
      description: "Tokens of it that a peer has: rows that its text uses (spec, trim), its own (spec-opt).",
      value: "N",
      defaultText: "all",
      group: SWARM,
    }),
    roundSeconds: setting(decimal(0.001, 1e7).optional(), {
      description: "Training time of a round.",
      value: "S",
      defaultText: "from --tflops",
      group: SWARM,
    }),
    stepMs: setting(decimal(0.001, 1e9).optional(), {
      description: "Time of a step, instead of --round-seconds.",
      value: "MS",
      group: SWARM,
    }),
    tflops: setting(decimal(1e-6, 1e6).default(0.05), {
      description: "Arithmetic that a peer gets done, in TFLOP/s; `glossa plan` measures it.",
      value: "T",
      group: SWARM,
    }),
    speedSpread: setting(decimal(1, 1_000).default(1), {
      description: "How many times as long the slowest peer trains as the fastest.",
      value: "X",
      group: SWARM,
    }),
    diskRate: setting(decimal(1, 1e6).default(500), {
      description: "MB/s at which a checkpoint is written.",
      value: "MB/S",
      group: SWARM,
    }),
    bandwidth: setting(decimal(0.01, 1e6).default(100), {
      description: "Mbit/s of the access link.",
      value: "MBIT/S",
      group: NETWORK,
    }),
    upload: setting(decimal(0.01, 1e6).optional(), {
      description: "Mbit/s upwards.",
      value: "MBIT/S",
      defaultText: "as --bandwidth",
      group: NETWORK,
    }),
    latency: setting(decimal(0, 60_000).default(50), {
      description: "Milliseconds one way to any other peer.",
      value: "MS",
      group: NETWORK,
    }),
    jitter: setting(decimal(0, 60_000).optional(), {
      description: "How much more or less it is for each message.",
      value: "MS",
      defaultText: "a tenth",
      group: NETWORK,
    }),
    loss: setting(decimal(0, 0.5).default(0), {
      description: "Share of packets lost.",
      value: "SHARE",
      group: NETWORK,
    }),
    congestion: setting(choice(["cubic", "none"]).default("cubic"), {
      description:
        "Whether loss slows a connection down as TCP CUBIC does, or is only sent again (near BBR).",
      value: "WORD",
      group: NETWORK,
    }),
    gossipLoss: setting(share().optional(), {
      description: "Share of gossip messages that never reach a peer.",
      value: "SHARE",
      defaultText: "as --loss",
      group: NETWORK,
    }),
    duplicates: setting(share().default(0), {
      description: "Share of gossip messages that reach a peer twice.",
      value: "SHARE",
      group: NETWORK,
    }),
    connections: setting(integer(1, MOST_CONNECTIONS).default(16), {
      description: "Connections that a peer tries to have, as `glossa peer` does.",
      value: "N",
      group: NETWORK,
    }),
    churn: setting(share().default(0), {
      description: "Share of the peers that go in each round.",
      value: "SHARE",
      group: FAULTS,
    }),
    churnKind: setting(choice(["crash", "leave", "replace"]).default("crash"), {
      description:
        "How: crash is kill -9, leave says goodbye, both come back with their state; replace is a crash and a new peer.",
      value: "WORD",
      group: FAULTS,
    }),
    away: setting(integer(1, 10_000).default(3), {
      description: "Rounds until it is back, or until a new one comes.",
      value: "ROUNDS",
      group: FAULTS,
    }),
    partition: setting(text("must be SHARE:ROUND:ROUNDS").optional(), {
      description: "A share of the peers cut off from a round on, for so many rounds: 0.5:3:5.",
      value: "SHARE:ROUND:ROUNDS",
      group: FAULTS,
    }),
    byzantine: setting(text("must be SHARE or SHARE:BEHAVIOUR,…").optional(), {
      description: `Share of the peers that lie, and how in turn (${BEHAVIOURS.join(", ")}): 0.2:sign-flip,copy.`,
      value: "SHARE:WORD",
      group: FAULTS,
    }),
    joiners: setting(integer(0, MOST_PEERS).default(0), {
      description: "Peers that join late, one each round.",
      value: "N",
      group: FAULTS,
    }),
    joinRound: setting(integer(1, 10_000).default(3), {
      description: "The round in which the first of them comes.",
      value: "N",
      group: FAULTS,
    }),
    joinerBandwidth: setting(decimal(0.01, 1e6).optional(), {
      description: "Mbit/s down the access links of those who join late.",
      value: "MBIT/S",
      defaultText: "as --bandwidth",
      group: FAULTS,
    }),
    plot: setting(text("must be a file").optional(), {
      description: "Where the charts go as SVG.",
      value: "FILE.svg",
      group: "Output",
    }),
    ...plannedFlags,
  }),
  examples: [
    [
      "glossa sim --peers 4 --bandwidth 100 --latency 50 --loss 0.01",
      "Four peers of the tiny preset on slow lines",
    ],
    [
      "glossa sim --preset 12-block --codec topk --peers 32 --bandwidth 20 --round-seconds 600 --rounds 20",
      "Will 32 peers stay busy with rounds of ten minutes?",
    ],
    [
      "glossa sim --peers 16 --churn 0.03 --partition 0.5:5:5 --rounds 30 --plot swarm.svg",
      "Faults, and a picture",
    ],
    ["glossa sim --peers 10 --byzantine 0.2:sign-flip --json | jq .report.loss", "For programs"],
  ],
  async run(settings, { signal, stdout, stderr, flags: { json } }) {
    const { preset, vocabularySize, heldRows, plot, ...wishes } = settings;
    const run = plannedRun(settings);
    const runPlan = planRun(run, {
      vocabularySize,
      heldRows,
      microBatch: undefined,
      recompute: false,
      machineBytes: Number.POSITIVE_INFINITY,
    });
    const { plan, ...planned } = planSwarm(run, runPlan, wishes);
    const progress = new ProgressLine(stderr);
    const startedMs = performance.now();
    const simulation = new Simulation(plan, {
      signal,
      onSecond: (round, virtualMs) =>
        progress.show(() =>
          progressOf({
            ...{ round, rounds: plan.rounds, roundMs: planned.roundMs },
            ...{ virtualMs, realMs: performance.now() - startedMs },
          }),
        ),
    });
    try {
      await simulation.run();
    } finally {
      progress.end();
    }
    const report = reportOf(simulation);
    const description = descriptionOf(plan, {
      preset,
      codec: run.averaging.codec,
      variant: run.variant,
      ...planned,
    });
    if (plot !== undefined)
      await writeAtomic(plot, Buffer.from(svgCharts(description[0]!, chartsOf(report.rounds))));
    const lines = [...description, "", ...reportLines(plan, report)];
    stdout.write(json ? `${JSON.stringify({ plan: printable(plan), report })}\n` : `${lines.join("\n")}\n`);
  },
});

/** The run as planned: `rounds` and `seed` of the settings are the simulation's. */
function plannedRun({
  preset,
  vocabularySize,
  seed,
  rounds: _rounds,
  ...flags
}: { preset: PresetName; vocabularySize: number; seed: number; rounds: number } & Record<
  string,
  unknown
>): RunConfig {
  const config = mergeConfigs(presets[preset].config, nestRunFlags(flags), { seed });
  const { variant = "spec-opt" } = config as RunConfigInput;
  const vocabulary = { tokenizer: "0".repeat(64), size: vocabularySize };
  const named = mergeConfigs(config, variant === "spec-opt" ? {} : { vocabulary }) as RunConfigInput;
  // The stand-in's peers share most of what they learn: the sum of their updates, which fits texts, would overshoot. No
  // byte and no root depends on it.
  const outerLearningRate = named.averaging?.outerLearningRate ?? 1;
  return parseRunConfig(mergeConfigs(withChosenCodec(named).config, { averaging: { outerLearningRate } }));
}

/** The plan without what only the stand-in needs. */
function printable<Plan extends { config: RunConfig; layout: unknown }>({
  config,
  layout: _layout,
  ...plan
}: Plan) {
  return { ...plan, averaging: config.averaging };
}
