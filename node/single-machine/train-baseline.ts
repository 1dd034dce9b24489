// One model on one machine, trained without rounds: what DEPT is compared with (its section 3.1).
//   std: text of all sources mixed. act (active forgetting, Chen et al. 2023): as std, and every localSteps steps the
//   embedding begins anew, with moments of zero and a schedule of its own, while the body goes on.
// "local", each source alone, is std over one source. Knows neither files nor peers: keeping is the caller's.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { TokenSplit } from "#model/data/token-file.ts";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import type {
  Device,
  ModelConfig,
  OptimizerConfig,
  Precision,
  TrainingModel,
  TrainingState,
} from "#model/types.ts";
import { BatchQueue } from "../trainer/batch-queue.ts";
import { createOnDevice } from "../trainer/device.ts";
import { MixedBatches, type MixedPosition } from "./mixed-batches.ts";

export interface BaselineOptions {
  readonly method: "std" | "act";
  readonly config: ModelConfig;
  /** Its `totalSteps` is the length of the cosine and of the training. */
  readonly optimizer: OptimizerConfig;
  readonly batchSize: number;
  /** Steps between two evaluations, and between two resets of act's embedding. */
  readonly localSteps: number;
  /** Train the embedding alone, and keep the body that is given. Default false. */
  readonly freezeBody?: boolean | undefined;
  /** See MixedBatches; without effect on one source. */
  readonly temperature: number;
  /** Of the initial weights, unless those are given, and of the order of the text. */
  readonly seed: number;
  readonly device: Device | "auto";
  readonly threads: number;
  readonly microBatchSize?: number | undefined;
  readonly recompute?: boolean | undefined;
  readonly precision?: Precision | undefined;
  /** Write a checkpoint at least this often. */
  readonly checkpointIntervalMs: number;
}

export interface BaselineCheckpoint {
  readonly state: TrainingState;
  readonly progress: BaselineProgress;
  readonly position: MixedPosition;
}

/** A type, not an interface: it is stored as JSON. */
export type BaselineProgress = {
  /** Steps done. */
  readonly step: number;
  readonly tokens: number;
  /** What `evaluate` said, by step. */
  readonly evaluations: readonly { readonly step: number; readonly values: Evaluated }[];
};

/** Numbers by name, such as bits per byte by source. */
export type Evaluated = Readonly<Record<string, number>>;

export interface BaselineModules {
  readonly sources: readonly TokenSplit[];
  /** Weights to begin with instead of those of the seed. */
  readonly initial?: { readonly body?: Float32Array; readonly embedding?: Float32Array };
  /** Where an earlier, interrupted training of the same options stopped. */
  readonly checkpoint?: BaselineCheckpoint | undefined;
  readonly save: (checkpoint: BaselineCheckpoint) => Promise<void>;
  /** Looks at the model before the first step, every `localSteps` steps and at the end. Must leave it as it is. */
  readonly evaluate: (model: TrainingModel, signal: AbortSignal) => Promise<Evaluated>;
  /** Looks at the trained model, once. */
  readonly onEnd?: (model: TrainingModel, signal: AbortSignal) => Promise<void>;
  readonly onStep?: (done: number, steps: number, loss: number) => void;
  readonly onEvaluation?: (step: number, values: Evaluated) => void;
  readonly nowMs: () => number;
}

export interface BaselineResult {
  readonly body: Float32Array;
  readonly embedding: Float32Array;
  readonly progress: BaselineProgress;
  readonly device: Device;
}

/** Share of an act cycle that its embedding's rate rises. */
const ACT_WARMUP_SHARE = 0.1;
const NOTHING_DONE: BaselineProgress = { step: 0, tokens: 0, evaluations: [] };

/**
 * Trains to the end of the cosine. A checkpoint goes on to the same bits. An abort writes a checkpoint and rejects with the
 * signal's reason.
 * @throws ModelConfigError, CorpusTooSmallForSequenceError, DataPositionMismatchError, NonFiniteStepError
 */
export async function trainBaseline(
  options: BaselineOptions,
  modules: BaselineModules,
  signal: AbortSignal,
): Promise<BaselineResult> {
  const { config, optimizer, batchSize, localSteps, seed } = options;
  const { checkpoint, initial } = modules;
  const shape = { batchSize, sequenceLength: config.sequenceLength, temperature: options.temperature, seed };
  const { model, device } = await createOnDevice(options.device, {
    config,
    optimizer,
    batchSize,
    microBatchSize: options.microBatchSize,
    recompute: options.recompute,
    precision: options.precision,
    threads: options.threads,
    body: initial?.body ?? genesisBody(config, seed),
    embedding: initial?.embedding ?? initialEmbedding(config, seed),
    ...(options.method === "act" && {
      embeddingSchedule: {
        learningRate: optimizer.learningRate,
        warmupSteps: Math.round(ACT_WARMUP_SHARE * localSteps),
        totalSteps: localSteps,
        finalLearningRateRatio: optimizer.finalLearningRateRatio,
      },
    }),
  });
  let batches: MixedBatches | undefined;
  try {
    batches = new MixedBatches(modules.sources, shape, checkpoint?.position);
    if (checkpoint !== undefined) await model.writeState(checkpoint.state);
    const training = new BaselineTraining(
      options,
      modules,
      model,
      batches,
      checkpoint?.progress ?? NOTHING_DONE,
    );
    const progress = await training.run(signal);
    await modules.onEnd?.(model, signal);
    return { body: await model.readBody(), embedding: await model.readEmbedding(), progress, device };
  } finally {
    batches?.close();
    await model.dispose();
  }
}

class BaselineTraining {
  readonly #options: BaselineOptions;
  readonly #modules: BaselineModules;
  readonly #model: TrainingModel;
  readonly #batches: BatchQueue<MixedPosition>;
  #progress: BaselineProgress;
  #savedAtMs: number;

  constructor(
    options: BaselineOptions,
    modules: BaselineModules,
    model: TrainingModel,
    batches: MixedBatches,
    progress: BaselineProgress,
  ) {
    this.#options = options;
    this.#modules = modules;
    this.#model = model;
    this.#batches = new BatchQueue(batches);
    this.#progress = progress;
    this.#savedAtMs = modules.nowMs();
  }

  async run(signal: AbortSignal): Promise<BaselineProgress> {
    const { localSteps, optimizer, method } = this.#options;
    try {
      while (this.#progress.step < optimizer.totalSteps) {
        const { step } = this.#progress;
        if (step % localSteps === 0) {
          await this.#evaluate(signal);
          if (method === "act" && step > 0) await this.#forget(step / localSteps);
        }
        await this.#steps(signal);
        // Steps block this thread: without a turn of the event loop no Ctrl-C would be heard.
        await nextTurn();
        signal.throwIfAborted();
        const { checkpointIntervalMs } = this.#options;
        if (this.#modules.nowMs() - this.#savedAtMs >= checkpointIntervalMs) await this.#save();
      }
      await this.#evaluate(signal);
    } catch (error) {
      if (signal.aborted) await this.#save();
      throw error;
    }
    return this.#progress;
  }

  /** Takes at least one step, and as many as the model does well to take in one run, up to the next evaluation. */
  async #steps(signal: AbortSignal): Promise<void> {
    const { localSteps, optimizer, freezeBody } = this.#options;
    const { step } = this.#progress;
    const most = Math.min(localSteps - (step % localSteps), optimizer.totalSteps - step);
    const count = Math.min(most, this.#model.stepsPerRun(freezeBody ? "embedding" : "whole"));
    const batches = this.#batches.next(count);
    const results = freezeBody
      ? await this.#model.trainEmbeddingSteps(batches, step, signal)
      : await this.#model.trainSteps(batches, step, signal);
    this.#batches.use(results.length);
    for (const [at, { loss }] of results.entries()) {
      const { step: before, tokens, evaluations } = this.#progress;
      this.#progress = { step: before + 1, tokens: tokens + batches[at]!.targets.length, evaluations };
      this.#modules.onStep?.(before + 1, optimizer.totalSteps, loss);
    }
  }

  /** Once for each step: a checkpoint at that step may hold it already. */
  async #evaluate(signal: AbortSignal): Promise<void> {
    const { step, evaluations } = this.#progress;
    if (evaluations.at(-1)?.step === step) return;
    const values = await this.#modules.evaluate(this.#model, signal);
    this.#progress = { ...this.#progress, evaluations: [...evaluations, { step, values }] };
    this.#modules.onEvaluation?.(step, values);
  }

  /** A function of the step alone: what a resumed training repeats gives the same bits. */
  async #forget(cycle: number): Promise<void> {
    const { config, seed } = this.#options;
    const state = await this.#model.readState();
    await this.#model.writeState({
      ...state,
      embedding: initialEmbedding(config, `${seed}/forgetting/${cycle}`),
      embeddingMoment1: new Float32Array(state.embedding.length),
      embeddingMoment2: new Float32Array(state.embedding.length),
      embeddingMomentSteps: 0,
    });
  }

  async #save(): Promise<void> {
    await this.#modules.save({
      state: await this.#model.readState(),
      progress: this.#progress,
      position: this.#batches.position,
    });
    this.#savedAtMs = this.#modules.nowMs();
  }
}
