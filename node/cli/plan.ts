// `glossa plan`: what a run will take of this machine, before anything is made or joined.
import { z } from "zod";
import { type PresetName, presetNames, presets } from "#protocol/core/presets.ts";
import { parseRunConfig, type RunConfig, type RunConfigInput } from "#protocol/core/run-config.ts";
import { DEFAULT_VOCABULARY_SIZE, nodeConfigSchema } from "../config.ts";
import { withChosenCodec } from "../planning/automatic-codec.ts";
import { type Calibration, calibrate } from "../planning/calibrate.ts";
import { machineMemoryBytes } from "../planning/machine-memory.ts";
import { PLANNED_UPDATES, PlanDoesNotFitError, planRun, type RunPlan } from "../planning/run-plan.ts";
import { choice, flagSwitch, integer, setting } from "../settings.ts";
import { bytes, count, duration, factor } from "../terminal/format.ts";
import { table } from "../terminal/table.ts";
import { defineCommand } from "./command.ts";
import { mergeConfigs, nestRunFlags, runFlags } from "./run-flags.ts";

/** As of --vocabulary-size. */
const MOST_ROWS = 1_048_576;

const { vocabularySize, device, microBatch, recompute, precision, threads } = nodeConfigSchema.shape;

export const planCommand = defineCommand({
  name: "plan",
  summary: "Say what a run will take of this machine, before anything runs.",
  description:
    "Counts parameters, memory at the peak, arithmetic and traffic of a run, and times a few steps of a small model on " +
    "the device. A run that does not fit is refused with what would fit instead. Takes the run's own settings as init does.",
  settings: z.object({
    preset: setting(choice(presetNames as readonly [PresetName, ...PresetName[]]).default("tiny"), {
      description: "Which run; the defaults of the flags below are those of tiny.",
      value: "PRESET",
      group: "This peer",
    }),
    vocabularySize,
    heldRows: setting(integer(2, MOST_ROWS).optional(), {
      description:
        "Tokens that this peer has of the vocabulary: rows that its text uses (spec, trim), its own (spec-opt).",
      value: "N",
      defaultText: "all",
      group: "Text and vocabulary",
    }),
    peers: setting(integer(1, 1_024).default(PLANNED_UPDATES), {
      description: "Peers: updates that a round has to hold in memory, up to a cohort of them.",
      value: "N",
      group: "This peer",
    }),
    device,
    microBatch,
    recompute,
    precision,
    threads,
    noCalibration: setting(flagSwitch(), { description: "Count only; time nothing.", group: "This peer" }),
    ...runFlags,
  }),
  examples: [
    ["glossa plan --preset 12-block --vocabulary-size 50257 --micro-batch 1", "The paper's smallest model"],
    [
      "glossa plan --preset 12-block --variant trim --vocabulary-size 250112 --held-rows 216135 --no-calibration",
      "What a variant of DEPT saves (the paper's table 2)",
    ],
    ["glossa plan --preset tiny --json | jq .plan.memory.total", "For programs"],
  ],
  async run(settings, { signal, stdout, flags: { json } }) {
    const {
      preset,
      vocabularySize: tokens = DEFAULT_VOCABULARY_SIZE,
      heldRows,
      peers,
      noCalibration,
      ...rest
    } = settings;
    const { device: wanted, microBatch: atOnce, recompute: again, precision: products, ...more } = rest;
    const { threads: cores, ...runSettings } = more;
    const run = planned(mergeConfigs(presets[preset].config, nestRunFlags(runSettings)), tokens);
    const plan = planRun(run, {
      vocabularySize: tokens,
      heldRows,
      peers,
      microBatch: atOnce,
      recompute: again,
      precision: products,
      machineBytes: machineMemoryBytes(),
    });
    const calibration =
      plan.fits && !noCalibration
        ? await calibrate(plan.config, { device: wanted, precision: products, threads: cores, signal })
        : undefined;
    const speed = calibration && speedOf(plan, calibration);
    stdout.write(
      json
        ? `${JSON.stringify({ plan, ...(calibration && { calibration, expected: speed }) })}\n`
        : `${planLines(plan, calibration).join("\n")}\n`,
    );
    if (!plan.fits) throw new PlanDoesNotFitError(plan, remedyOf(plan), bytes);
  },
});

/** A run of variant spec, trim or glob names the file of its tokenizer; for a plan any will do. */
function planned(config: unknown, vocabularySize: number): RunConfig {
  const { variant = "spec-opt" } = config as RunConfigInput;
  const vocabulary = { tokenizer: "0".repeat(64), size: vocabularySize };
  const named = mergeConfigs(config, variant === "spec-opt" ? {} : { vocabulary }) as RunConfigInput;
  return parseRunConfig(withChosenCodec(named).config);
}

function speedOf(plan: RunPlan, { flopsPerSecond }: Calibration) {
  const tokensPerSecond = flopsPerSecond / plan.flopsPerToken;
  return { tokensPerSecond, roundMs: (1000 * plan.tokensPerRound) / tokensPerSecond };
}

/** The plan as people read it. */
export function planLines(plan: RunPlan, calibration: Calibration | undefined): string[] {
  const { config, memory, step } = plan;
  const rows: [string, string, string][] = [
    [
      "parameters",
      count(plan.bodyParameters + plan.embeddingParameters),
      `body ${count(plan.bodyParameters)}, embedding ${count(plan.embeddingParameters)} (${config.vocabularySize} tokens)`,
    ],
    [
      "memory",
      bytes(memory.total),
      `of ${bytes(plan.machineBytes)}, with ${step.microBatchSize} of ${step.batchSize} sequences at once${step.recompute ? ", recomputed" : ""}`,
    ],
    ["  parameters", bytes(memory.parameters), "changed in place"],
    ["  moments", bytes(memory.moments), "two of AdamW's"],
    ["  gradients", bytes(memory.gradients), ""],
    ["  activations", bytes(memory.activations), ""],
    ["  runtime", bytes(memory.runtime), "process, what it began with, allocator"],
    ["  sharing", bytes(memory.sharing), "averaging and checkpoints"],
    ["  rounds", bytes(memory.rounds), "sums of the open rounds, and what the defence keeps of them"],
    ["arithmetic", flops(plan.flopsPerToken), "a token, forward and backward"],
    ...costRows(plan),
    ["update", bytes(plan.updateBytesPerRound), `a round at most, as ${plan.codec}`],
    ["round", count(plan.tokensPerRound), "tokens of this peer"],
  ];
  if (calibration !== undefined) {
    const { tokensPerSecond, roundMs } = speedOf(plan, calibration);
    const { config: small, flopsPerSecond, steps } = calibration;
    rows.push(
      [
        "speed",
        count(tokensPerSecond),
        `tokens/s expected on ${calibration.device}: ${duration(roundMs)} a round`,
      ],
      [
        "  from",
        `${flops(flopsPerSecond)}/s`,
        `the fastest of ${steps} steps of one block, width ${small.width}, vocabulary ${small.vocabularySize}, ${calibration.batchSize} x ${small.sequenceLength} tokens`,
      ],
    );
  }
  return table([{ title: "" }, { title: "", align: "right" }, { title: "" }], rows).slice(1);
}

/** What the paper's tables 1, 2 and 9 say of a variant, for this run. */
function costRows(plan: RunPlan): [string, string, string][] {
  const { costs, variant, config, vocabularySize, localSteps, updateBytesPerRound, codec } = plan;
  const codedBytesPerStep = updateBytesPerRound / localSteps;
  const standardBytesPerStep = costs.factor * costs.sentBytesPerStep;
  return [
    [
      variant,
      count(costs.modelParameters),
      `parameters of a worker, ${Math.round(100 * costs.memoryShare)}% of std's; embedding ${count(costs.embeddingParameters)} (${config.vocabularySize} of ${vocabularySize} tokens)`,
    ],
    [
      "  sent",
      count(costs.sentParametersPerStep),
      `parameters a step, ${bytes(costs.sentBytesPerStep)} as float32: ${factor(costs.factor)} less than std, which sends all at each step`,
    ],
    [
      `  as ${codec}`,
      bytes(codedBytesPerStep),
      `a step at most: ${factor(standardBytesPerStep / codedBytesPerStep)} less than std in float32`,
    ],
  ];
}

/** `115 kFLOP`, `37.4 GFLOP`. */
function flops(value: number): string {
  return count(value).replace(/[A-Za-z]?$/, (unit) => ` ${unit === "B" ? "G" : unit}FLOP`);
}

function remedyOf({ instead, step }: RunPlan): string {
  if (instead === undefined) return "take a smaller vocabulary, a smaller run or a larger machine";
  const flags = [
    ...(instead.microBatchSize === step.microBatchSize ? [] : [`--micro-batch ${instead.microBatchSize}`]),
    ...(instead.recompute ? ["--recompute"] : []),
  ];
  return `it fits with ${flags.join(" ")}`;
}
