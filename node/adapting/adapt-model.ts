// Adapts a model to a vocabulary and to texts: the paper's second phase (DEPT, section 3.5). A function of its options and of
// the text, to the last bit, however often it is interrupted. Usable without the command line; shows nothing itself.
import { basename } from "node:path";
import { writeModelFolder } from "#model/checkpoint/model-folder.ts";
import { listDataFiles } from "#model/data/list-data-files.ts";
import { sampleDocuments } from "#model/data/read-documents.ts";
import { prepareTokens, type TokenDataset } from "#model/data/token-cache.ts";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import type { Device, Precision } from "#model/types.ts";
import { sourcesOf } from "../evaluating/evaluate-model.ts";
import { type LoadedModel, loadModel } from "../models/load-model.ts";
import { MixedBatches, type MixedPosition } from "../single-machine/mixed-batches.ts";
import {
  type BaselineCheckpoint,
  type BaselineResult,
  trainBaseline,
} from "../single-machine/train-baseline.ts";
import type { OutputSettings } from "../storage/output-settings.ts";
import { readTokenizerJson } from "../trainer/vocabulary.ts";
import { AdaptDirectory, type AdaptPlan } from "./adapt-directory.ts";
import { type CurvePoint, curveOf, evaluateSources, pointOf } from "./curve.ts";
import { EmbeddingNotKeptError } from "./errors.ts";
import { optimizerFor, usualLearningRate } from "./phase-two.ts";
import { type EmbeddingStart, startEmbedding } from "./start-embedding.ts";

/** Text that a tokenizer is trained on, of all sources together. */
const TOKENIZER_SAMPLE_BYTES = 20_000_000;

export type TargetVocabulary =
  | { readonly kind: "kept" }
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "trained"; readonly size: number };

export interface AdaptOptions {
  /** As loadModel takes it. */
  readonly model: string;
  /** Of a peer in variant glob or trim: its common embedding and tokenizer. */
  readonly global?: boolean | undefined;
  /** Each path is a source of its own. */
  readonly data: readonly string[];
  readonly textField: string;
  readonly vocabulary: TargetVocabulary;
  readonly embedding: EmbeddingStart;
  /** Train the embedding alone. */
  readonly freezeBody: boolean;
  readonly steps: number;
  readonly batchSize: number;
  /** Default: the model's. */
  readonly sequenceLength?: number | undefined;
  /** Peak of pre-training; default: the model's, where it is known. See optimizerFor. */
  readonly learningRate?: number | undefined;
  readonly schedule: "cosine" | "constant";
  readonly warmupSteps: number;
  /** How sources are mixed: in proportion to their text, or all alike. */
  readonly sampling: "proportional" | "uniform";
  readonly seed: number;
  readonly evaluateEverySteps: number;
  /** Held-out tokens of each source that an evaluation reads at most. */
  readonly evaluationTokens: number;
  /** Folder of the model to be; see adapt-directory.ts. */
  readonly output: string;
  /** Begin anew, whatever is in the output folder. */
  readonly force?: boolean | undefined;
  readonly checkpointIntervalMs: number;
  readonly device: Device | "auto";
  readonly threads: number;
  readonly microBatchSize?: number | undefined;
  readonly recompute?: boolean | undefined;
  readonly precision?: Precision | undefined;
}

export type AdaptProgress =
  | { readonly stage: "tokenizer"; readonly fraction: number }
  | { readonly stage: "tokens"; readonly source: string; readonly fraction: number }
  /** Everything is ready; `step` are done already. */
  | { readonly stage: "training"; readonly plan: AdaptPlan; readonly step: number }
  /** Of the step's batch, nats per token. */
  | { readonly stage: "step"; readonly step: number; readonly steps: number; readonly loss: number }
  | { readonly stage: "evaluated"; readonly point: CurvePoint }
  /** What is done is on disk. */
  | { readonly stage: "saved"; readonly step: number };

export interface AdaptModules {
  /** An abort saves and rejects with the signal's reason; the same call goes on. */
  readonly signal: AbortSignal;
  readonly onProgress?: ((progress: AdaptProgress) => void) | undefined;
  /** Default: `loadModel` with the options' model. Not called where an adaptation goes on. */
  readonly load?: ((signal: AbortSignal) => Promise<LoadedModel>) | undefined;
}

export interface AdaptResult {
  readonly output: string;
  readonly plan: AdaptPlan;
  readonly curve: readonly CurvePoint[];
  /** It was complete before. */
  readonly wasDone: boolean;
}

/**
 * @throws errors of loading, reading, tokenizers and training; OtherAdaptationError, EmbeddingNotKeptError,
 * ModelFolderNotEmptyError, OutputInUseError
 */
export async function adaptModel(options: AdaptOptions, modules: AdaptModules): Promise<AdaptResult> {
  if (options.embedding === "kept" && options.vocabulary.kind === "trained")
    throw new EmbeddingNotKeptError();
  await listDataFiles(options.data);
  const directory = await AdaptDirectory.open(options.output, { force: options.force ?? false });
  const adaptation = new Adaptation(options, modules, directory);
  try {
    const result = await adaptation.run();
    await directory.close();
    return result;
  } catch (error) {
    // What was interrupted goes on; what was wrong from the beginning does not.
    await (adaptation.hasPlan || modules.signal.aborted ? directory.close() : directory.withdraw());
    throw error;
  }
}

/** The texts of all sources as tokens of the target vocabulary. */
interface Texts {
  readonly tokenizer: Tokenizer;
  readonly sources: readonly (TokenDataset & { readonly name: string })[];
  /** Equal exactly where all token files are. */
  readonly identity: string;
}

class Adaptation {
  readonly #options: AdaptOptions;
  readonly #modules: AdaptModules;
  readonly #directory: AdaptDirectory;
  readonly #report: (progress: AdaptProgress) => void;
  /** Also one that this process did not make. */
  hasPlan = true;

  constructor(options: AdaptOptions, modules: AdaptModules, directory: AdaptDirectory) {
    this.#options = options;
    this.#modules = modules;
    this.#directory = directory;
    this.#report = modules.onProgress ?? (() => {});
  }

  async run(): Promise<AdaptResult> {
    const { output } = this.#options;
    const made = await this.#directory.plan(settingsOf(this.#options));
    this.hasPlan = made !== undefined;
    if (made?.isDone) return { output, plan: made, curve: await this.#directory.curve(), wasDone: true };
    const { plan, texts } = made === undefined ? await this.#begin() : await this.#goOn(made);
    const { body, embedding, progress } = await this.#train(plan, texts);
    const tokenizer = await this.#directory.tokenizer();
    const provenance = provenanceOf(plan, progress.tokens);
    const { config } = plan;
    await writeModelFolder(output, { config, body, embedding, tokenizer, provenance }, { force: true });
    await this.#directory.finish(plan);
    return { output, plan, curve: curveOf(progress), wasDone: false };
  }

  /** Decides everything that the model it begins with has a say in, and keeps what it takes of it. */
  async #begin(): Promise<{ plan: AdaptPlan; texts: Texts }> {
    const { load, signal } = this.#modules;
    const { model: reference, global, embedding: start, seed } = this.#options;
    const model = await (load?.(signal) ?? loadModel(reference, { signal, global }));
    const { tokenizer, json } = await this.#obtainTokenizer(model);
    const keepsVocabulary = tokenizer.fingerprint === model.tokenizer.fingerprint;
    if (start === "kept" && !keepsVocabulary) throw new EmbeddingNotKeptError();
    await this.#directory.saveTokenizer(json);
    const { sequenceLength = model.config.sequenceLength } = this.#options;
    const texts = await this.#prepare(sequenceLength, tokenizer);

    const vocabularySize = keepsVocabulary ? model.config.vocabularySize : tokenizer.vocabularySize;
    const config = { ...model.config, sequenceLength, vocabularySize };
    const { embedding, keptRows } = startEmbedding(start, model, { tokenizer, vocabularySize }, seed);
    const {
      learningRate = model.source.learningRate ?? usualLearningRate(config.width),
      steps,
      schedule,
      warmupSteps,
    } = this.#options;
    const optimizer = optimizerFor({ embedding: start, steps, warmupSteps, schedule, learningRate });
    const first = beginning(model.body, embedding, this.#positionAtStart(texts, sequenceLength));
    await this.#directory.saveCheckpoint(texts.identity, first);
    const { kind, path, runId, runName, round, description } = model.source;
    const source = {
      description,
      kind,
      name: basename(path),
      ...(runId !== undefined && { runId }),
      ...(runName !== undefined && { runName }),
      ...(round !== undefined && { round }),
    };
    const settings = settingsOf(this.#options);
    const plan: AdaptPlan = { settings, config, optimizer, learningRate, source, keptRows, isDone: false };
    await this.#directory.savePlan(plan);
    this.hasPlan = true;
    return { plan, texts };
  }

  async #goOn(plan: AdaptPlan): Promise<{ plan: AdaptPlan; texts: Texts }> {
    const tokenizer = Tokenizer.fromJson(await this.#directory.tokenizer());
    return { plan, texts: await this.#prepare(plan.config.sequenceLength, tokenizer) };
  }

  async #obtainTokenizer(model: LoadedModel): Promise<{ tokenizer: Tokenizer; json: string }> {
    const { vocabulary, data, textField } = this.#options;
    const { signal } = this.#modules;
    switch (vocabulary.kind) {
      case "kept":
        return { tokenizer: model.tokenizer, json: model.tokenizerJson };
      case "file": {
        const json = await readTokenizerJson(vocabulary.path);
        return { tokenizer: Tokenizer.fromJson(json), json };
      }
      case "trained": {
        const documents = sampleDocuments(data, { textField, signal, maxBytes: TOKENIZER_SAMPLE_BYTES });
        const tokenizer = await trainTokenizer(documents, {
          vocabularySize: vocabulary.size,
          signal,
          // Counting words and making merges take about as long as each other.
          onProgress: ({ phase, done, total }) =>
            this.#report({
              stage: "tokenizer",
              fraction: (phase === "merging" ? 0.5 : 0) + (0.5 * done) / total,
            }),
        });
        return { tokenizer, json: tokenizer.toJson() };
      }
    }
  }

  async #prepare(sequenceLength: number, tokenizer: Tokenizer): Promise<Texts> {
    const { data, textField, batchSize } = this.#options;
    const sources: (TokenDataset & { readonly name: string })[] = [];
    for (const { name, path } of sourcesOf(data)) {
      const tokens = await prepareTokens({
        paths: [path],
        tokenizer,
        cacheDirectory: this.#directory.tokenCacheDirectory,
        textField,
        // A batch to evaluate on, and the least that has a window in every epoch to train on.
        minimumValidationTokens: Math.max(batchSize * sequenceLength + 1, 2 * sequenceLength),
        onProgress: ({ bytesRead, bytesTotal }) =>
          this.#report({ stage: "tokens", source: name, fraction: bytesRead / bytesTotal }),
        signal: this.#modules.signal,
      });
      sources.push({ name, ...tokens });
    }
    return { tokenizer, sources, identity: sources.map(({ key }) => key).join(" ") };
  }

  #positionAtStart({ sources }: Texts, sequenceLength: number): MixedPosition {
    const { batchSize, seed } = this.#options;
    const batches = new MixedBatches(
      sources.map(({ train }) => train),
      { batchSize, sequenceLength, temperature: this.#temperature, seed },
    );
    try {
      return batches.position;
    } finally {
      batches.close();
    }
  }

  /** tau of the sampling law. */
  get #temperature(): number {
    return this.#options.sampling === "uniform" ? 0 : 1;
  }

  async #train(plan: AdaptPlan, { tokenizer, sources, identity }: Texts): Promise<BaselineResult> {
    const { batchSize, evaluateEverySteps, evaluationTokens } = this.#options;
    const checkpoint = await this.#directory.checkpoint(identity);
    const curve = curveOf(checkpoint.progress);
    let curveSaved: Promise<unknown> = Promise.resolve();
    this.#report({ stage: "training", plan, step: checkpoint.progress.step });
    try {
      return await trainBaseline(
        {
          ...this.#options,
          method: "std",
          config: plan.config,
          optimizer: plan.optimizer,
          localSteps: evaluateEverySteps,
          temperature: this.#temperature,
        },
        {
          sources: sources.map(({ train }) => train),
          initial: checkpoint.state,
          checkpoint,
          save: async (state) => {
            await this.#directory.saveCheckpoint(identity, state);
            this.#report({ stage: "saved", step: state.progress.step });
          },
          evaluate: (model, signal) =>
            evaluateSources(model, sources, {
              batchSize,
              sequenceLength: plan.config.sequenceLength,
              maximumTokens: evaluationTokens,
              byteLengths: tokenizer.byteLengths,
              signal,
            }),
          onStep: (step, steps, loss) => this.#report({ stage: "step", step, steps, loss }),
          onEvaluation: (step, values) => {
            const point = pointOf(step, values);
            curve.push(point);
            const points = [...curve];
            curveSaved = curveSaved.then(() => this.#directory.saveCurve(points));
            // Met below, where it is awaited.
            curveSaved.catch(() => {});
            this.#report({ stage: "evaluated", point });
          },
          nowMs: () => performance.now(),
        },
        this.#modules.signal,
      );
    } finally {
      await curveSaved;
    }
  }
}

/** A training of which nothing is done yet. */
function beginning(body: Float32Array, embedding: Float32Array, position: MixedPosition): BaselineCheckpoint {
  return {
    state: {
      body,
      bodyMoment1: new Float32Array(body.length),
      bodyMoment2: new Float32Array(body.length),
      embedding,
      embeddingMoment1: new Float32Array(embedding.length),
      embeddingMoment2: new Float32Array(embedding.length),
      momentSteps: 0,
      embeddingMomentSteps: 0,
    },
    progress: { step: 0, tokens: 0, evaluations: [] },
    position,
  };
}

/** By the names of the flags: what the result depends on. Where and how fast it is computed is not among it. */
function settingsOf(options: AdaptOptions): OutputSettings {
  const { vocabulary } = options;
  return {
    model: options.model,
    global: options.global ?? false,
    data: options.data,
    "text-field": options.textField,
    vocabulary:
      vocabulary.kind === "trained" ? vocabulary.size : vocabulary.kind === "file" ? vocabulary.path : "kept",
    embedding: options.embedding,
    "freeze-body": options.freezeBody,
    steps: options.steps,
    "batch-size": options.batchSize,
    "sequence-length": options.sequenceLength ?? null,
    "learning-rate": options.learningRate ?? null,
    schedule: options.schedule,
    "warmup-steps": options.warmupSteps,
    sampling: options.sampling,
    seed: options.seed,
    "evaluate-every-steps": options.evaluateEverySteps,
    "evaluation-tokens": options.evaluationTokens,
  };
}

/** For glossa.json: what the model was made of, without what lies where on this machine. */
function provenanceOf({ settings, source, learningRate, keptRows }: AdaptPlan, tokens: number) {
  const { model: _model, data: _data, vocabulary: _vocabulary, ...rest } = settings;
  const { description: _description, kind, name, ...run } = source;
  return {
    madeWith: "glossa",
    ...run,
    learningRate,
    adaptation: { from: `${kind} ${name}`, tokens, keptRows, settings: rest },
  };
}
