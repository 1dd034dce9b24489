// `npm run bench -- step`: how fast a training step is, on random text of a given shape, and where its time goes.
// Times the production TrainingModel as it is; decides nothing.
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { bodyLength, EMBEDDING_NAME, embeddingLength } from "#model/architecture.ts";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { elementCount, type Graph } from "#model/graph/ops.ts";
import { flopsPerToken } from "#model/plan.ts";
import { RandomStream } from "#model/random.ts";
import { buildGradientStep, groupTensors, stepInputs } from "#model/train-step.ts";
import { createTrainingModel } from "#model/training-model.ts";
import type { Batch, Device, ModelConfig, OptimizerConfig, Precision, TrainingModel } from "#model/types.ts";
import { describeMachine, type Machine } from "./machine.ts";
import { median } from "./median.ts";
import { compete, describeOpponents, type Opponent } from "./step-against.ts";
import { type Comparison, compareWith, readBaseline, writeBaseline } from "./step-baseline.ts";
import { measureProducts, type Product, productMilliseconds } from "./step-products.ts";
import { type NodeCost, partOf, profileStep, type StepFeeds, sharesBy } from "./step-profile.ts";

const USAGE = `npm run bench -- step [--json] [options]
  --blocks 4 --width 256 --heads 4 --vocabulary 8192 --batch 8 --sequence 128   the model and its batch
  --steps N        steps that are timed, after a warm-up (default 20)
  --device NAME    cpu, webgpu or cuda (default cpu); shares are given for cpu alone
  --threads N      threads within one operation (default: one per physical core)
  --precision NAME float32 or float16: what products are computed in (default float32)
  --steps-per-run N  steps in one run of the graph, in a loop (cpu, cuda); on cuda the default is learnt
  --interleave     (with --precision float16) also times float32, in turns with it
  --spinning       threads spin while they wait: for a machine that does nothing else
  --nodes N        also lists the N dearest nodes
  --products       also times the step's matrix products alone: what the step could reach at best
  --against CMD    also runs another program's step in turns with ours, as often as given, for instance
                   --against "python3 bench/step-pytorch.py" --against "python3 bench/step-pytorch.py --compile"
  --turns N        turns that everyone has then (default 6), each of a sixth of the steps
  --save FILE      keeps the report as a baseline
  --compare FILE   puts the report beside a baseline that was saved for the same model and batch`;

/** The first steps allocate, page in and pack; three runs show how many steps a run is to take (cuda). */
const WARM_UP_RUNS = 3;
const PROFILED_STEPS = 5;

const OPTIMIZER: OptimizerConfig = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  gradientClip: 1,
  warmupSteps: 0,
  totalSteps: 1_000_000,
  finalLearningRateRatio: 0.1,
};

export interface StepOptions {
  readonly config: ModelConfig;
  readonly batchSize: number;
  readonly device: Device;
  readonly threads?: number;
  /** Default float32. */
  readonly precision?: Precision;
  readonly stepsPerRun?: number;
  readonly spinning: boolean;
  readonly steps: number;
  /** How many of the dearest nodes to list. */
  readonly nodes: number;
}

export interface StepReport {
  readonly benchmark: "step";
  /** From the median step. */
  readonly tokensPerSecond: number;
  /** Median of the timed steps. */
  readonly millisecondsPerStep: number;
  /** The fastest step: what the code costs when the machine does nothing else. */
  readonly bestTokensPerSecond: number;
  readonly bestMillisecondsPerStep: number;
  /** Arithmetic of the matrix products, forward and backward, over the median step. */
  readonly gigaflopsPerSecond: number;
  /** From graph building to a session that is ready. */
  readonly compileMilliseconds: number;
  /** Resident size of this process at its peak, after the timed steps. */
  readonly peakBytes: number;
  /** What went between host and device in each timed step, beside the size of what stays: parameters and moments. */
  readonly transfers: {
    readonly toDeviceBytesPerStep: number;
    readonly fromDeviceBytesPerStep: number;
    readonly stateBytes: number;
  };
  /** Steps in one run, after the timed ones. */
  readonly stepsPerRun: number;
  /** Median time of a step in float32 over that in float16, pair by pair; absent where not asked for. */
  readonly speedOfFloat16?: number;
  /** Summed node time of a profiled step. The rest of a step is spent outside the nodes. Absent where not profiled. */
  readonly nodeMillisecondsPerStep?: number;
  /** Share of node time by operator type, largest first; they add up to 1. Empty where not profiled. */
  readonly shares: Readonly<Record<string, number>>;
  /** The same by part of the step: attn, ffn, head, backward… */
  readonly parts: Readonly<Record<string, number>>;
  readonly nodes: readonly NodeCost[];
  /** The matrix products by themselves; absent where not asked for. */
  readonly products?: readonly Product[];
  /** Time of all products alone over the best step's. */
  readonly shareOfProducts?: number;
  /** Absent where nobody was asked. */
  readonly opponents?: readonly Opponent[];
  readonly setting: StepOptions;
  readonly bodyParameters: number;
  readonly embeddingParameters: number;
  readonly machine: Machine;
}

export async function benchStep(args: string[]): Promise<void> {
  const { values: flags } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
      blocks: { type: "string", default: "4" },
      width: { type: "string", default: "256" },
      heads: { type: "string", default: "4" },
      vocabulary: { type: "string", default: "8192" },
      batch: { type: "string", default: "8" },
      sequence: { type: "string", default: "128" },
      steps: { type: "string", default: "20" },
      device: { type: "string", default: "cpu" },
      threads: { type: "string" },
      precision: { type: "string", default: "float32" },
      "steps-per-run": { type: "string" },
      interleave: { type: "boolean", default: false },
      spinning: { type: "boolean", default: false },
      nodes: { type: "string", default: "0" },
      products: { type: "boolean", default: false },
      against: { type: "string", multiple: true, default: [] },
      turns: { type: "string", default: "6" },
      save: { type: "string" },
      compare: { type: "string" },
    },
  });
  if (flags.help) return console.log(USAGE);
  const options: StepOptions = {
    config: {
      blocks: count("blocks", flags.blocks),
      width: count("width", flags.width),
      heads: count("heads", flags.heads),
      sequenceLength: count("sequence", flags.sequence),
      vocabularySize: count("vocabulary", flags.vocabulary),
    },
    batchSize: count("batch", flags.batch),
    device: parseDevice(flags.device),
    ...(flags.threads !== undefined && { threads: count("threads", flags.threads) }),
    ...(flags.precision !== "float32" && { precision: parsePrecision(flags.precision) }),
    ...(flags["steps-per-run"] !== undefined && {
      stepsPerRun: count("steps-per-run", flags["steps-per-run"]),
    }),
    spinning: flags.spinning,
    steps: count("steps", flags.steps),
    nodes: count("nodes", flags.nodes, 0),
  };
  const contest = { commands: flags.against, turns: count("turns", flags.turns) };
  // Read first: a baseline that does not fit must not cost a measurement.
  const baseline = flags.compare === undefined ? undefined : await readBaseline(flags.compare, options);
  const report = await measureStep(options, {
    products: flags.products,
    interleaves: flags.interleave && options.precision === "float16",
    contest,
  });
  if (flags.save !== undefined) await writeBaseline(flags.save, report);
  const comparison = baseline && compareWith(baseline, report);
  console.log(
    flags.json
      ? JSON.stringify({ ...report, ...(comparison && { comparison }) })
      : describe(report, comparison),
  );
}

interface Extras {
  readonly products: boolean;
  /** Whether float32 takes a turn after each of float16's. */
  readonly interleaves?: boolean;
  readonly contest: { readonly commands: readonly string[]; readonly turns: number };
}

/** Times the steps, then profiles the same graph (on the CPU; clipping and AdamW are not in it). */
export async function measureStep(
  options: StepOptions,
  { products: wantsProducts, interleaves = false, contest }: Extras,
): Promise<StepReport> {
  const { config, batchSize, device, threads, precision, stepsPerRun, spinning, steps } = options;
  const body = genesisBody(config, "bench");
  const embedding = initialEmbedding(config, "bench");
  const stream = RandomStream.fromSeed("bench/tokens");

  const createdMs = performance.now();
  const create = (own: Precision | undefined) =>
    createTrainingModel({
      ...{ config, optimizer: OPTIMIZER, batchSize, device, spinning, body, embedding, stepsPerRun },
      precision: own,
      ...(threads !== undefined && { threads }),
    });
  const model = await create(precision);
  const compileMilliseconds = performance.now() - createdMs;
  const other = interleaves ? await create("float32") : undefined;
  const timesMs: number[] = [];
  const ratios: number[] = [];
  let transfers: StepReport["transfers"];
  let opponents: Opponent[] = [];
  try {
    if (contest.commands.length > 0) {
      const batch = randomBatch(stream, config, batchSize);
      let step = 0;
      opponents = await compete({
        ...{ config, batchSize, body, embedding, batch },
        ...contest,
        threads: threads ?? availableParallelism(),
        stepsPerTurn: Math.ceil(steps / contest.turns),
        ourStep: async () => (await model.trainStep(batch, step++)).loss,
      });
    }
    /** Milliseconds a step of one run. */
    const time = async (timed: TrainingModel, batches: readonly Batch[], step: number) => {
      const startedMs = performance.now();
      await timed.trainSteps(batches, step);
      return (performance.now() - startedMs) / batches.length;
    };
    const draw = (most: number) =>
      Array.from({ length: Math.min(most, model.stepsPerRun("whole")) }, () =>
        randomBatch(stream, config, batchSize),
      );
    let step = 0;
    for (let run = 0; run < WARM_UP_RUNS; run++) {
      const batches = draw(Number.POSITIVE_INFINITY);
      for (const warmed of [model, other]) await warmed?.trainSteps(batches, step);
      step += batches.length;
    }
    const before = model.transfers();
    while (timesMs.length < steps) {
      const batches = draw(steps - timesMs.length);
      const stepMs = await time(model, batches, step);
      if (other !== undefined) ratios.push((await time(other, batches, step)) / stepMs);
      step += batches.length;
      timesMs.push(...batches.map(() => stepMs));
    }
    const after = model.transfers();
    transfers = {
      toDeviceBytesPerStep: (after.toDeviceBytes - before.toDeviceBytes) / steps,
      fromDeviceBytesPerStep: (after.fromDeviceBytes - before.fromDeviceBytes) / steps,
      stateBytes: 3 * 4 * (bodyLength(config) + embeddingLength(config)),
    };
  } finally {
    await model.dispose();
    await other?.dispose();
  }

  // Node gives it in kibibytes.
  const peakBytes = 1024 * process.resourceUsage().maxRSS;

  let costs: NodeCost[] = [];
  let products: Product[] | undefined;
  if (device === "cpu") {
    const graph = buildGradientStep(config, batchSize, batchSize, ["body", "embedding"], {
      rowsApart: true,
      precision,
    });
    const feeds = stepFeeds(graph, config, body, embedding, randomBatch(stream, config, batchSize));
    costs = await profileStep(graph, feeds, Math.min(steps, PROFILED_STEPS), threads);
    if (wantsProducts) products = await measureProducts(graph, threads);
  }
  const medianMs = median(timesMs);
  const bestMs = Math.min(...timesMs);
  const tokens = batchSize * config.sequenceLength;
  return {
    benchmark: "step",
    tokensPerSecond: (1000 * tokens) / medianMs,
    millisecondsPerStep: medianMs,
    bestTokensPerSecond: (1000 * tokens) / bestMs,
    bestMillisecondsPerStep: bestMs,
    gigaflopsPerSecond: (tokens * flopsPerToken(config)) / (1e6 * medianMs),
    compileMilliseconds,
    peakBytes,
    transfers,
    stepsPerRun: model.stepsPerRun("whole"),
    ...(ratios.length > 0 && { speedOfFloat16: median(ratios) }),
    ...(costs.length > 0 && {
      nodeMillisecondsPerStep: costs.reduce((sum, cost) => sum + cost.milliseconds, 0),
    }),
    shares: sharesBy(costs, ({ op }) => op),
    parts: sharesBy(costs, partOf),
    nodes: costs.slice(0, options.nodes),
    ...(products !== undefined && { products, shareOfProducts: productMilliseconds(products) / bestMs }),
    ...(opponents.length > 0 && { opponents }),
    setting: options,
    bodyParameters: bodyLength(config),
    embeddingParameters: embeddingLength(config),
    machine: describeMachine(),
  };
}

/** A value for every input of the step: the parameters given, moments of zero, scalars well within their range. */
function stepFeeds(
  graph: Graph,
  config: ModelConfig,
  body: Float32Array,
  embedding: Float32Array,
  batch: Batch,
): StepFeeds {
  const feeds = new Map<string, Float32Array | Int32Array>([
    [stepInputs.inputs, batch.inputs],
    [stepInputs.targets, batch.targets],
    [EMBEDDING_NAME, embedding],
  ]);
  let offset = 0;
  for (const { name, shape } of groupTensors(config, "body")) {
    feeds.set(name, body.subarray(offset, offset + elementCount(shape)));
    offset += elementCount(shape);
  }
  for (const { name, shape } of graph.inputs) {
    if (feeds.has(name)) continue;
    feeds.set(name, new Float32Array(elementCount(shape)).fill(shape.length === 0 ? 0.1 : 0));
  }
  return feeds;
}

function randomBatch(stream: RandomStream, config: ModelConfig, batchSize: number): Batch {
  const { sequenceLength, vocabularySize } = config;
  const ids = () =>
    Int32Array.from({ length: batchSize * sequenceLength }, () => stream.nextUint32() % vocabularySize);
  return { inputs: ids(), targets: ids(), batchSize, sequenceLength };
}

function count(flag: string, text: string, least = 1): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least) {
    throw new Error(`--${flag} is "${text}"; give a whole number from ${least}.`);
  }
  return value;
}

function parsePrecision(text: string): Precision {
  if (text === "float32" || text === "float16") return text;
  throw new Error(`--precision is "${text}"; give float32 or float16.`);
}

function parseDevice(text: string): Device {
  if (text === "cpu" || text === "webgpu" || text === "cuda") return text;
  throw new Error(`--device is "${text}"; give cpu, webgpu or cuda.`);
}

function describe(report: StepReport, comparison: Comparison | undefined): string {
  const { config, batchSize, device, threads, precision } = report.setting;
  const { machine, transfers } = report;
  const rows = (shares: Readonly<Record<string, number>>) =>
    Object.entries(shares).map(([key, share]) => {
      const ratio = comparison?.operatorTimeRatios[key];
      const beside = ratio === undefined ? "" : `   ${ratio.toFixed(2)} of the baseline's time`;
      return `  ${key.padEnd(24)}${(100 * share).toFixed(1).padStart(5)}%${beside}`;
    });
  return [
    `${machine.processor}, ${machine.cores} cores, Node ${machine.node}, onnxruntime ${machine.onnxruntime}`,
    `${config.blocks} blocks, width ${config.width}, ${config.heads} heads, vocabulary ${config.vocabularySize}, batch ` +
      `${batchSize} x ${config.sequenceLength}, ${device}${precision === undefined ? "" : `, ${precision}`}${threads === undefined ? "" : `, ${threads} threads`}: ` +
      `${report.bodyParameters} body and ${report.embeddingParameters} embedding parameters`,
    "",
    `median ${report.tokensPerSecond.toFixed(0)} tokens/s, ${report.millisecondsPerStep.toFixed(1)} ms a step, ` +
      `${report.gigaflopsPerSecond.toFixed(1)} GFLOP/s; best ${report.bestTokensPerSecond.toFixed(0)} tokens/s, ` +
      `${report.bestMillisecondsPerStep.toFixed(1)} ms; compiled in ${(report.compileMilliseconds / 1000).toFixed(2)} s; ` +
      `peak ${Math.round(report.peakBytes / 2 ** 20)} MiB`,
    ...(report.setting.device === "cpu"
      ? []
      : [
          `to the device ${Math.round(transfers.toDeviceBytesPerStep)} bytes a step and from it ` +
            `${Math.round(transfers.fromDeviceBytesPerStep)}, of a state of ${transfers.stateBytes}`,
        ]),
    ...(report.stepsPerRun === 1 ? [] : [`${report.stepsPerRun} steps in one run`]),
    ...(report.speedOfFloat16 === undefined
      ? []
      : [`float16 is ${report.speedOfFloat16.toFixed(3)} times as fast as float32`]),
    ...describeOpponents(report.opponents ?? [], batchSize * config.sequenceLength),
    ...(report.products === undefined
      ? []
      : [
          `matrix products alone: ${productMilliseconds(report.products).toFixed(1)} ms, ` +
            `${(100 * report.shareOfProducts!).toFixed(1)}% of the best step`,
        ]),
    ...(comparison === undefined
      ? []
      : [`against the baseline: ${comparison.tokensPerSecondRatio.toFixed(3)} times the tokens/s`]),
    ...(report.nodeMillisecondsPerStep === undefined
      ? []
      : [
          "",
          `of ${report.nodeMillisecondsPerStep.toFixed(1)} ms in nodes, by operator`,
          ...rows(report.shares),
        ]),
    ...(report.nodeMillisecondsPerStep === undefined ? [] : ["", "by part", ...rows(report.parts)]),
    ...(report.nodes.length === 0 ? [] : ["", "dearest nodes"]),
    ...report.nodes.map(
      ({ name, op, shape, milliseconds }) =>
        `${milliseconds.toFixed(2).padStart(9)} ms  ${op.padEnd(18)}${shape.padEnd(20)}${name}`,
    ),
  ].join("\n");
}
