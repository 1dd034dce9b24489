// A baseline from text on disk to a model folder: vocabulary, tokens, training with checkpoints, and the model at the end.
// Where a start was cut off, the next one goes on; the training itself is train-baseline.ts'.
import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { writeModelFolder } from "#model/checkpoint/model-folder.ts";
import { validationBatches } from "#model/data/batches.ts";
import { sampleDocuments } from "#model/data/read-documents.ts";
import { prepareTokens, type TokenDataset } from "#model/data/token-cache.ts";
import { evaluateBitsPerByte } from "#model/eval/bits-per-byte.ts";
import type { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import type { Device, ModelConfig, Precision, TrainingModel } from "#model/types.ts";
import { type RunConfig, totalSteps } from "#protocol/core/run-config.ts";
import { flagOf } from "../settings.ts";
import type { OutputSettings } from "../storage/output-settings.ts";
import { obtainVocabulary } from "../trainer/vocabulary.ts";
import { loadBaselineCheckpoint, saveBaselineCheckpoint } from "./baseline-checkpoint.ts";
import { type Evaluated, trainBaseline } from "./train-baseline.ts";
import { TrainDirectory } from "./train-directory.ts";

/** One text among those that are trained on. */
export interface BaselineSource {
  readonly name: string;
  readonly path: string;
}

export interface BaselineRunOptions {
  readonly method: "std" | "act";
  readonly sources: readonly BaselineSource[];
  readonly textField: string;
  readonly temperature: number;
  /** A tokenizer.json to take; `undefined` trains one on equal parts of all sources. */
  readonly tokenizerPath: string | undefined;
  readonly vocabularySize: number | undefined;
  /** Its `model`, `training` and `seed`; what it says of averaging has no effect. */
  readonly run: RunConfig;
  readonly output: string;
  /** Begin anew, whatever is in the output folder. */
  readonly force: boolean;
  readonly device: Device | "auto";
  readonly threads: number;
  readonly microBatch: number | undefined;
  readonly recompute: boolean;
  readonly precision: Precision;
  /** Held-out tokens that an evaluation reads at most, of each source. */
  readonly evaluationTokens: number;
  readonly checkpointIntervalMs: number;
}

export type BaselineEvent =
  | { readonly stage: "tokenizer"; readonly fraction: number }
  | { readonly stage: "tokens"; readonly source: string; readonly fraction: number }
  | { readonly stage: "resumed"; readonly step: number }
  | { readonly stage: "saved"; readonly step: number }
  | {
      readonly stage: "training";
      readonly step: number;
      readonly steps: number;
      /** Nats per token of the step's batch. */
      readonly loss: number;
      /** Since this start. */
      readonly tokensPerSecond: number;
    }
  | { readonly stage: "evaluated"; readonly step: number; readonly bitsPerByte: Evaluated };

export interface BaselineReport {
  readonly output: string;
  readonly method: "std" | "act";
  readonly sources: readonly string[];
  readonly steps: number;
  readonly tokens: number;
  /** Held out, by source, at the end. */
  readonly bitsPerByte: Evaluated;
  readonly vocabularySize: number;
  readonly bodyParameters: number;
  readonly embeddingParameters: number;
  readonly device: Device;
}

/** `wasDone`: by an earlier start with the same settings. */
export type BaselineResult = BaselineReport & { readonly wasDone: boolean };

/** Text that a tokenizer is learned from at most; beyond it merges hardly change. */
const VOCABULARY_SAMPLE_BYTES = 20_000_000;

/** @throws ModelFolderNotEmptyError, StateInUseError, OtherTrainingError and what the parts throw; the signal's reason */
export async function runBaseline(
  options: BaselineRunOptions,
  onEvent: (event: BaselineEvent) => void,
  signal: AbortSignal,
): Promise<BaselineResult> {
  const settings = settingsOf(options);
  const directory = await TrainDirectory.open<BaselineReport>(options.output, options);
  try {
    const done = await directory.begin(settings);
    const report = done ?? (await trainIn(directory, options, onEvent, signal));
    if (done === undefined) await directory.finish(settings, report);
    await directory.close();
    return { ...report, output: options.output, wasDone: done !== undefined };
  } catch (error) {
    // What was interrupted goes on; what was wrong from the beginning does not.
    await (signal.aborted ? directory.close() : directory.withdraw());
    throw error;
  }
}

/** By the names of the flags: what the result depends on. Where and how fast it is computed is not among it. */
function settingsOf(options: BaselineRunOptions): OutputSettings {
  const { method, sources, textField, temperature, tokenizerPath, vocabularySize, evaluationTokens } =
    options;
  const { seed, model, training } = options.run;
  return {
    method,
    data: sources.map(({ path }) => resolve(path)),
    "text-field": textField,
    temperature,
    tokenizer: tokenizerPath === undefined ? null : resolve(tokenizerPath),
    "vocabulary-size": vocabularySize ?? null,
    "evaluation-tokens": evaluationTokens,
    seed,
    ...Object.fromEntries(
      Object.entries({ ...model, ...training }).map(([key, value]) => [flagOf(key), value]),
    ),
  };
}

async function trainIn(
  directory: TrainDirectory<BaselineReport>,
  options: BaselineRunOptions,
  onEvent: (event: BaselineEvent) => void,
  signal: AbortSignal,
): Promise<BaselineReport> {
  const { method, run, sources, temperature, evaluationTokens } = options;
  const { tokenizer, datasets } = await prepare(directory, options, onEvent, signal);
  const config: ModelConfig = { ...run.model, vocabularySize: tokenizer.vocabularySize };
  const { batchSize, localSteps } = run.training;
  const evaluate = async (model: TrainingModel): Promise<Evaluated> => {
    const shape = { batchSize, sequenceLength: config.sequenceLength, maximumTokens: evaluationTokens };
    const values: Record<string, number> = {};
    for (const [at, { name }] of sources.entries()) {
      const batches = validationBatches(datasets[at]!.validation, shape);
      values[name] = (await evaluateBitsPerByte(model, batches, tokenizer.byteLengths, signal)).bitsPerByte;
    }
    return values;
  };
  const identity = identityOf(options, tokenizer, datasets);
  const checkpoint = await loadBaselineCheckpoint(directory.checkpointFile, identity);
  if (checkpoint !== undefined) onEvent({ stage: "resumed", step: checkpoint.progress.step });
  const firstStep = checkpoint?.progress.step ?? 0;
  const startedMs = performance.now();
  const tokensPerStep = batchSize * config.sequenceLength;
  const { body, embedding, progress, device } = await trainBaseline(
    {
      method,
      config,
      optimizer: { ...run.training, totalSteps: totalSteps(run) },
      batchSize,
      localSteps,
      temperature,
      seed: run.seed,
      device: options.device,
      threads: options.threads,
      microBatchSize: options.microBatch,
      recompute: options.recompute,
      precision: options.precision,
      checkpointIntervalMs: options.checkpointIntervalMs,
    },
    {
      sources: datasets.map(({ train }) => train),
      checkpoint,
      async save(state) {
        await saveBaselineCheckpoint(directory.checkpointFile, identity, state);
        onEvent({ stage: "saved", step: state.progress.step });
      },
      evaluate,
      onStep(step, steps, loss) {
        const seconds = (performance.now() - startedMs) / 1000;
        const tokensPerSecond = ((step - firstStep) * tokensPerStep) / seconds;
        onEvent({ stage: "training", step, steps, loss, tokensPerSecond });
      },
      onEvaluation: (step, bitsPerByte) => onEvent({ stage: "evaluated", step, bitsPerByte }),
      nowMs: () => performance.now(),
    },
    signal,
  );
  const bitsPerByte = progress.evaluations.at(-1)!.values;
  const names = sources.map(({ name }) => name);
  await writeModelFolder(
    directory.output,
    {
      config,
      body,
      embedding,
      tokenizer: tokenizer.toJson(),
      provenance: {
        madeWith: "glossa",
        method,
        sources: names,
        temperature,
        seed: run.seed,
        learningRate: run.training.learningRate,
        steps: progress.step,
        tokens: progress.tokens,
        bitsPerByte,
      },
    },
    { force: true, signal },
  );
  return {
    output: options.output,
    method,
    sources: names,
    steps: progress.step,
    tokens: progress.tokens,
    bitsPerByte,
    vocabularySize: config.vocabularySize,
    bodyParameters: body.length,
    embeddingParameters: embedding.length,
    device,
  };
}

async function prepare(
  directory: TrainDirectory<BaselineReport>,
  options: BaselineRunOptions,
  onEvent: (event: BaselineEvent) => void,
  signal: AbortSignal,
): Promise<{ tokenizer: Tokenizer; datasets: readonly TokenDataset[] }> {
  const { sources, textField, tokenizerPath, vocabularySize, run } = options;
  const paths = sources.map(({ path }) => path);
  const { tokenizer } = await obtainVocabulary({
    vocabulary: { kind: "own", tokenizerPath, vocabularySize },
    tokenizerFile: directory.tokenizerFile,
    rowsFile: directory.rowsFile,
    documents: () => sampleDocuments(paths, { textField, signal, maxBytes: VOCABULARY_SAMPLE_BYTES }),
    onProgress: (fraction) => onEvent({ stage: "tokenizer", fraction }),
    signal,
  });
  const datasets: TokenDataset[] = [];
  for (const { name, path } of sources) {
    const dataset = await prepareTokens({
      paths: [path],
      tokenizer,
      cacheDirectory: directory.tokenCacheDirectory,
      textField,
      minimumValidationTokens: run.training.batchSize * run.model.sequenceLength + 1,
      onProgress: ({ bytesRead, bytesTotal }) =>
        onEvent({ stage: "tokens", source: name, fraction: bytesRead / bytesTotal }),
      signal,
    });
    datasets.push(dataset);
  }
  return { tokenizer, datasets };
}

/** Whatever a training's next step depends on, but for how it is computed. */
function identityOf(
  { method, temperature, run }: BaselineRunOptions,
  { fingerprint }: Tokenizer,
  datasets: readonly TokenDataset[],
): string {
  const { seed, model, training } = run;
  const texts = datasets.map(({ key }) => key);
  const parts = [method, temperature, seed, model, training, fingerprint, texts];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
