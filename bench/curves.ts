// `npm run bench -- curves`: does the engine train as PyTorch does? One model, from the same weights, on the same tokens of
// mixed corpora in the same order, in both; losses of each step and held-out bits per byte of each corpus side by side.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { bodyLength, embeddingLength, validateModelConfig } from "#model/architecture.ts";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { validateOptimizerConfig } from "#model/optim/schedule.ts";
import type { TrainingModelOptions } from "#model/training-model.ts";
import type { ModelConfig, OptimizerConfig } from "#model/types.ts";
import { demoCorpora } from "../node/demo/corpora.ts";
import {
  type Contestant,
  type Curve,
  startOurs,
  startProgram,
  trainBesideEachOther,
} from "./curves-contest.ts";
import { type Corpus, type CurvesData, prepareCurvesData, writeCurvesData } from "./curves-data.ts";
import {
  type Difference,
  describeDifferences,
  differencesOf,
  distinct,
  evaluationLine,
  plotsOf,
} from "./curves-report.ts";
import { describeMachine, type Machine } from "./machine.ts";

const USAGE = `npm run bench -- curves [--json] [options]
  --corpus NAME=PATH    text to train and to evaluate on, as often as given (default: en-novels and es-scripture of the
                        corpora that come with glossa)
  --blocks 4 --width 384 --heads 6 --vocabulary 8192 --batch 8 --sequence 128   the model and its batch
  --steps 400 --warm-up 40 --learning-rate 0.001   the schedule: a linear rise, then a cosine to a tenth
  --only N              takes the first N of those steps alone
  --evaluate-every 40   steps between two evaluations
  --held-out-tokens N   of each corpus (default 16384)
  --threads N           everyone's (default: all cores)
  --against CMD         a program to compare with, as often as given (default "python3 bench/curves-pytorch.py"; it takes
                        --attention explicit, --adamw plain, --exact-norm, --compile and --threads 1: other roundings)
  --twin-threads N      trains ours once more with so many threads: how far rounding alone takes two trainings apart
  --seed N              of the weights and of the order of the text (default 1)
  --output FOLDER       writes curves.json and the plots there, anew after each evaluation`;

const PYTORCH = "python3 bench/curves-pytorch.py";
const DEFAULT_CORPORA = ["en-novels", "es-scripture"];

export interface CurvesOptions {
  readonly config: ModelConfig;
  readonly optimizer: OptimizerConfig;
  readonly batchSize: number;
  /** Steps that are taken of the schedule's. */
  readonly steps: number;
  readonly evaluateEvery: number;
  readonly heldOutTokens: number;
  readonly threads: number;
  readonly twinThreads?: number;
  readonly seed: number;
}

export interface CurvesReport {
  readonly benchmark: "curves";
  readonly curves: readonly Curve[];
  readonly differences: readonly Difference[];
  /** Programs that did not start, and why. */
  readonly skipped: readonly { readonly command: string; readonly reason: string }[];
  readonly setting: CurvesOptions;
  readonly corpora: readonly {
    readonly name: string;
    readonly trainingTokens: number;
    readonly heldOutTokens: number;
    readonly heldOutBytes: number;
  }[];
  readonly bodyParameters: number;
  readonly embeddingParameters: number;
  readonly tokens: number;
  readonly machine: Machine;
}

export async function benchCurves(args: string[]): Promise<void> {
  const { values: flags } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
      corpus: { type: "string", multiple: true, default: [] },
      blocks: { type: "string", default: "4" },
      width: { type: "string", default: "384" },
      heads: { type: "string", default: "6" },
      vocabulary: { type: "string", default: "8192" },
      batch: { type: "string", default: "8" },
      sequence: { type: "string", default: "128" },
      steps: { type: "string", default: "400" },
      "warm-up": { type: "string", default: "40" },
      "learning-rate": { type: "string", default: "0.001" },
      only: { type: "string" },
      "evaluate-every": { type: "string", default: "40" },
      "held-out-tokens": { type: "string", default: "16384" },
      threads: { type: "string", default: `${availableParallelism()}` },
      against: { type: "string", multiple: true, default: [PYTORCH] },
      "twin-threads": { type: "string" },
      seed: { type: "string", default: "1" },
      output: { type: "string" },
    },
  });
  if (flags.help) return console.log(USAGE);
  const count = (flag: keyof typeof flags, least = 1) => wholeNumber(flag, String(flags[flag]), least);
  const options: CurvesOptions = {
    config: {
      blocks: count("blocks"),
      width: count("width"),
      heads: count("heads"),
      sequenceLength: count("sequence"),
      vocabularySize: count("vocabulary"),
    },
    optimizer: {
      ...{ beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, gradientClip: 1 },
      learningRate: Number(flags["learning-rate"]),
      warmupSteps: count("warm-up", 0),
      totalSteps: count("steps"),
      finalLearningRateRatio: 0.1,
    },
    batchSize: count("batch"),
    steps: Math.min(count("steps"), flags.only === undefined ? count("steps") : count("only")),
    evaluateEvery: count("evaluate-every"),
    heldOutTokens: count("held-out-tokens"),
    threads: count("threads"),
    ...(flags["twin-threads"] !== undefined && { twinThreads: count("twin-threads") }),
    seed: count("seed", 0),
  };
  // Refused before anything is read.
  validateModelConfig(options.config);
  validateOptimizerConfig(options.optimizer);
  const corpora = flags.corpus.length > 0 ? flags.corpus.map(parseCorpus) : await defaultCorpora();
  const { output } = flags;
  const report = await measureCurves(options, corpora, flags.against, {
    say: (line) => console.error(line),
    keep: async (soFar) => output !== undefined && writeCurves(output, soFar),
  });
  console.log(flags.json ? JSON.stringify(report) : describe(report));
}

interface Listeners {
  /** Hears of what happens. */
  readonly say: (line: string) => void;
  /** Is given what there is after each evaluation but the first; the last time, it is all. */
  readonly keep: (report: CurvesReport) => Promise<unknown>;
}

/** Trains them all. */
export async function measureCurves(
  options: CurvesOptions,
  corpora: readonly Corpus[],
  commands: readonly string[],
  { say, keep }: Listeners,
): Promise<CurvesReport> {
  const { config, optimizer, batchSize, steps, heldOutTokens, threads, twinThreads, seed } = options;
  const folder = await mkdtemp(join(tmpdir(), "glossa-curves-"));
  const contestants: Contestant[] = [];
  try {
    const { vocabularySize, sequenceLength } = config;
    const wanted = { corpora, vocabularySize, sequenceLength, batchSize, heldOutTokens, seed };
    const data = await prepareCurvesData({
      ...wanted,
      steps: optimizer.totalSteps,
      cacheDirectory: join(folder, "tokens"),
    });
    const body = genesisBody(config, seed);
    const embedding = initialEmbedding(config, seed);
    const ours: TrainingModelOptions = { config, optimizer, batchSize, device: "cpu", body, embedding };
    contestants.push(await startOurs("glossa", { ...ours, threads }, data));
    if (twinThreads !== undefined) {
      contestants.push(await startOurs("glossa", { ...ours, threads: twinThreads }, data));
    }
    const skipped: CurvesReport["skipped"][number][] = [];
    const settingFile = join(folder, "setting.json");
    const files = await writeCurvesData(folder, data, [body, embedding]);
    await writeFile(settingFile, JSON.stringify({ config, optimizer, batchSize, threads, ...files }));
    for (const command of commands) {
      try {
        contestants.push(await startProgram(command, settingFile, data));
      } catch (error) {
        skipped.push({ command, reason: (error as Error).message });
        say(`${command}: skipped (${skipped.at(-1)!.reason})`);
      }
    }
    const labels = distinct(contestants.map(({ label }) => label));
    const labelled = contestants.map((contestant, at) => ({ ...contestant, label: labels[at]! }));
    say(labelled.map(({ label, name }) => `${label}: ${name}`).join("\n"));
    const reportOf = (curves: readonly Curve[]): CurvesReport => ({
      benchmark: "curves",
      curves,
      differences: differencesOf(curves),
      skipped,
      setting: options,
      corpora: sizesOf(data, batchSize * sequenceLength),
      bodyParameters: bodyLength(config),
      embeddingParameters: embeddingLength(config),
      tokens: curves[0]!.losses.length * batchSize * sequenceLength,
      machine: describeMachine(),
    });
    const curves = await trainBesideEachOther(labelled, {
      steps,
      evaluateEvery: options.evaluateEvery,
      async onEvaluation(soFar) {
        say(evaluationLine(soFar, steps));
        if (soFar[0]!.losses.length > 0) await keep(reportOf(soFar));
      },
    });
    return reportOf(curves);
  } finally {
    for (const contestant of contestants) await contestant.end();
    await rm(folder, { recursive: true, force: true });
  }
}

function sizesOf({ heldOut, trainingTokens }: CurvesData, tokensPerBatch: number): CurvesReport["corpora"] {
  return heldOut.map(({ name, batches, bytes }) => ({
    name,
    trainingTokens: trainingTokens[name]!,
    heldOutTokens: batches.length * tokensPerBatch,
    heldOutBytes: bytes,
  }));
}

/** Nine digits are all that a float32 has. The learning rates follow from the setting. */
async function writeCurves(folder: string, report: CurvesReport): Promise<void> {
  await mkdir(folder, { recursive: true });
  const curves = report.curves.map(({ learningRates: _, ...curve }) => curve);
  const json = JSON.stringify({ ...report, curves }, (_, value) =>
    typeof value === "number" ? Number(value.toPrecision(9)) : value,
  );
  await writeFile(join(folder, "curves.json"), `${json}\n`);
  const parameters = report.bodyParameters + report.embeddingParameters;
  for (const [name, svg] of plotsOf(report.curves, { parameters })) {
    await writeFile(join(folder, name), svg);
  }
}

function describe(report: CurvesReport): string {
  const { machine, setting, curves } = report;
  const { config, batchSize } = setting;
  return [
    `${machine.processor}, ${machine.cores} cores, Node ${machine.node}, onnxruntime ${machine.onnxruntime}`,
    `${config.blocks} blocks, width ${config.width}, ${config.heads} heads, vocabulary ${config.vocabularySize}: ` +
      `${report.bodyParameters} body and ${report.embeddingParameters} embedding parameters; ${setting.steps} steps ` +
      `of ${batchSize} x ${config.sequenceLength} tokens`,
    "",
    ...curves.map(({ label, name, losses, evaluations }) => {
      const bits = Object.entries(evaluations.at(-1)!.bitsPerByte).map(
        ([corpus, value]) => `${corpus} ${value.toFixed(5)}`,
      );
      return `${label} (${name}): last loss ${losses.at(-1)!.toFixed(5)}, bits per byte ${bits.join(", ")}`;
    }),
    ...report.skipped.map(({ command, reason }) => `${command}: skipped (${reason})`),
    "",
    ...describeDifferences(report.differences),
  ].join("\n");
}

async function defaultCorpora(): Promise<Corpus[]> {
  return (await demoCorpora()).filter(({ name }) => DEFAULT_CORPORA.includes(name));
}

function parseCorpus(text: string): Corpus {
  const at = text.indexOf("=");
  if (at < 1 || at === text.length - 1) throw new Error(`--corpus is "${text}"; give NAME=PATH.`);
  return { name: text.slice(0, at), path: text.slice(at + 1) };
}

function wholeNumber(flag: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least) {
    throw new Error(`--${flag} is "${text}"; give a whole number from ${least}.`);
  }
  return value;
}
