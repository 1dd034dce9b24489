// A model in training on one device: owns the parameters, the moments and the compiled steps, and takes one call at a time.
// Calls block this thread for as long as they compute, so the caller is a worker. It knows nothing of data or peers.
import { availableParallelism } from "node:os";
import { validateMicroBatchSize, validateModelConfig } from "./architecture.ts";
import { chooseEngine, hostThreads } from "./engine/choose-engine.ts";
import type { HostThreads } from "./engine/host-engine.ts";
import {
  type EngineSetting,
  type EngineStep,
  isSound,
  merged,
  type StepEngine,
} from "./engine/step-engine.ts";
import {
  DeviceUnavailableError,
  ModelConfigError,
  ModelDisposedError,
  NonFiniteStepError,
  TensorSizeError,
} from "./errors.ts";
import { isLoop, type Loop } from "./graph/loop.ts";
import type { Graph } from "./graph/ops.ts";
import { microBatchesOf } from "./micro-batches.ts";
import { emissionFor, emitOnnx } from "./onnx/emit.ts";
import { emitLoop } from "./onnx/emit-loop.ts";
import { FIRST_LOSS_SCALE, LossScaler } from "./optim/loss-scaler.ts";
import { learningRateAt, type ScheduleConfig, validateOptimizerConfig } from "./optim/schedule.ts";
import { requireHalf } from "./runtime/require-half.ts";
import {
  createSession,
  hostData,
  hostTensor,
  IN_PLACE_ONLY,
  type Session,
  type SessionOptions,
} from "./runtime/session.ts";
import type { State } from "./runtime/state.ts";
import { NOTHING_MOVED, TransferMeter } from "./runtime/transfer-meter.ts";
import { buildEvaluation, type ParameterGroup, stepOutputs } from "./train-step.ts";
import type {
  Batch,
  Device,
  ModelConfig,
  OptimizerConfig,
  Precision,
  StepKind,
  StepResult,
  TrainingModel,
  TrainingState,
  Transfers,
} from "./types.ts";

export interface TrainingModelOptions {
  readonly config: ModelConfig;
  readonly optimizer: OptimizerConfig;
  /**
   * The embedding's own schedule, begun anew every `totalSteps` steps (active forgetting: Chen et al. 2023). Default: the
   * optimizer's, as for the body.
   */
  readonly embeddingSchedule?: ScheduleConfig | undefined;
  /** Sequences in every batch that is trained on. */
  readonly batchSize: number;
  /**
   * Sequences that are computed at once, a divisor of batchSize; the compiled steps have static shapes. Gradients are
   * summed over micro-batches: the same step in less memory. Default: batchSize, in one pass, which is faster.
   */
  readonly microBatchSize?: number | undefined;
  /** Keep each block's input only and compute the rest again on the way back: less memory, more work. Default false. */
  readonly recompute?: boolean | undefined;
  /** What matrix products are computed in. Default float32. Evaluation is in float32 always. */
  readonly precision?: Precision | undefined;
  readonly device: Device;
  /** Threads within one operation (cpu); the default is one per physical core. */
  readonly threads?: number;
  /**
   * Halves of a micro-batch that are computed at once, each by its share of the threads (cpu, 2 threads or more, where
   * memory can be shared and the micro-batch is even): 1 or 2. Sums differ in their last bits. Default: 2 where it pays.
   */
  readonly shares?: 1 | 2 | undefined;
  /**
   * Steps in one run of the graph, in a loop (cuda, cpu): parameters and moments go to the device and back once for all of
   * them. The same bits for any number. Default: on cuda what the first runs show to be enough, see engine/run-length.ts; on
   * the cpu no loop, which is faster there. Not on webgpu, which keeps them anyway.
   */
  readonly stepsPerRun?: number | undefined;
  /** Threads spin while they wait (cpu): for a machine that does nothing else. See SessionOptions. Default false. */
  readonly spinning?: boolean;
  /** Flat, in `bodyTensors(config)` order. Copied. */
  readonly body: Float32Array;
  /** Flat [vocabularySize, width]. Copied. */
  readonly embedding: Float32Array;
}

/** Compiles the training step for the device and loads the parameters; moments start at zero. */
export async function createTrainingModel(options: TrainingModelOptions): Promise<TrainingModel> {
  const { config, optimizer, embeddingSchedule, batchSize, microBatchSize = batchSize } = options;
  validateModelConfig(config);
  validateOptimizerConfig(optimizer);
  validateOptimizerConfig({ ...optimizer, ...embeddingSchedule });
  if (embeddingSchedule?.totalSteps === 0) {
    throw new ModelConfigError("totalSteps", "the embedding's schedule has no steps", "give 1 or more");
  }
  if (!Number.isSafeInteger(batchSize) || batchSize < 1) {
    throw new ModelConfigError("batchSize", `batchSize is ${batchSize}`, "give a positive whole number");
  }
  validateMicroBatchSize(microBatchSize, batchSize);
  const { stepsPerRun = 1 } = options;
  if (!Number.isSafeInteger(stepsPerRun) || stepsPerRun < 1) {
    throw new ModelConfigError(
      "stepsPerRun",
      `stepsPerRun is ${stepsPerRun}`,
      "give a positive whole number",
    );
  }
  if (options.precision === "float16") await requireHalf(options.device);
  const loops = options.device === "cuda" || options.stepsPerRun !== undefined;
  try {
    return await load(options, loops);
  } catch (error) {
    const isGiven = options.stepsPerRun !== undefined;
    if (!loops || isGiven || !(error instanceof DeviceUnavailableError)) throw error;
    // A provider that does not take the loop may take what the cpu does: gradients there, AdamW here.
    return load(options, false).catch(() => Promise.reject(error));
  }
}

async function load(options: TrainingModelOptions, loops: boolean): Promise<TrainingModel> {
  const { body, embedding, ...rest } = options;
  const model = new CompiledModel({ ...rest, loops }, await hostThreads(options));
  await model.load(body, embedding);
  return model;
}

const TRAINED: Readonly<Record<StepKind, readonly ParameterGroup[]>> = {
  whole: ["body", "embedding"],
  embedding: ["embedding"],
};

/** Without the arrays that were given: their copies are the model's state. */
interface CompiledModelOptions extends Omit<TrainingModelOptions, "body" | "embedding"> {
  /** Whether steps are rounds of a loop. */
  readonly loops: boolean;
}

class CompiledModel implements TrainingModel {
  readonly config: ModelConfig;
  readonly #options: CompiledModelOptions;
  readonly #microBatchSize: number;
  readonly #engine: StepEngine;
  /** Compiled when first asked for: most peers never take an embedding step, some never evaluate. */
  readonly #sessions = new Map<string, Promise<Session>>();
  readonly #meter: TransferMeter | undefined;
  readonly #scaler: LossScaler | undefined;
  #lastCall: Promise<void> = Promise.resolve();
  #disposed = false;

  constructor(options: CompiledModelOptions, threads: HostThreads) {
    this.config = options.config;
    this.#options = options;
    this.#microBatchSize = options.microBatchSize ?? options.batchSize;
    this.#scaler = options.precision === "float16" ? new LossScaler() : undefined;
    this.#meter = options.device === "cpu" ? undefined : new TransferMeter();
    const setting: EngineSetting = {
      ...options,
      microBatchSize: this.#microBatchSize,
      recompute: options.recompute,
      precision: options.precision ?? "float32",
      meter: this.#meter,
      session: (name, build, shares) => this.#session(name, build, shares),
      emit: (graph, shares) => this.#emit(graph, shares),
    };
    this.#engine = chooseEngine(options, setting, threads);
  }

  /** Compiles the step that every peer takes, so that a missing device shows before any work is done. */
  async load(body: Float32Array, embedding: Float32Array): Promise<void> {
    const { groups } = this.#engine;
    groups.body.weights.write(body);
    groups.embedding.weights.write(embedding);
    await this.#engine.prepare(TRAINED.whole);
  }

  trainStep(batch: Batch, step: number, signal?: AbortSignal): Promise<StepResult> {
    return this.trainSteps([batch], step, signal).then(([result]) => result!);
  }

  trainEmbeddingStep(batch: Batch, step: number, signal?: AbortSignal): Promise<StepResult> {
    return this.trainEmbeddingSteps([batch], step, signal).then(([result]) => result!);
  }

  trainSteps(batches: readonly Batch[], firstStep: number, signal?: AbortSignal): Promise<StepResult[]> {
    return this.#inTurn(() => this.#steps(batches, firstStep, TRAINED.whole, signal));
  }

  trainEmbeddingSteps(
    batches: readonly Batch[],
    firstStep: number,
    signal?: AbortSignal,
  ): Promise<StepResult[]> {
    return this.#inTurn(() => this.#steps(batches, firstStep, TRAINED.embedding, signal));
  }

  stepsPerRun(kind: StepKind): number {
    return this.#engine.stepsPerRun(TRAINED[kind]);
  }

  evaluate(batch: Batch, signal?: AbortSignal): Promise<{ nats: number; tokens: number }> {
    return this.#inTurn(async () => {
      const microBatches = microBatchesOf(batch, this.config, this.#microBatchSize);
      const session = await this.#session("evaluation", () =>
        buildEvaluation(this.config, this.#microBatchSize),
      );
      const weights = merged(Object.values(this.#engine.groups), (group) => group.weights.feeds());
      let nats = 0;
      for (const tokens of microBatches) {
        signal?.throwIfAborted();
        const sum = hostTensor(new Float32Array(1), []);
        await session.run({ ...tokens, ...weights }, { [stepOutputs.nats]: sum });
        nats += hostData(sum)[0]!;
      }
      return { nats, tokens: batch.inputs.length };
    });
  }

  readBody(): Promise<Float32Array> {
    return this.#inTurn(() => this.#engine.groups.body.weights.read());
  }

  writeBody(body: Float32Array): Promise<void> {
    return this.#inTurn(async () => this.#engine.groups.body.weights.write(body));
  }

  readEmbedding(): Promise<Float32Array> {
    return this.#inTurn(() => this.#engine.groups.embedding.weights.read());
  }

  writeEmbedding(embedding: Float32Array): Promise<void> {
    return this.#inTurn(async () => this.#engine.groups.embedding.weights.write(embedding));
  }

  readState(): Promise<TrainingState> {
    return this.#inTurn(async () => {
      const { body, embedding } = this.#engine.groups;
      return {
        body: await body.weights.read(),
        bodyMoment1: await body.moment1.read(),
        bodyMoment2: await body.moment2.read(),
        embedding: await embedding.weights.read(),
        embeddingMoment1: await embedding.moment1.read(),
        embeddingMoment2: await embedding.moment2.read(),
        momentSteps: body.momentSteps,
        embeddingMomentSteps: embedding.momentSteps,
        ...(this.#scaler && { lossScale: this.#scaler.state }),
      };
    });
  }

  writeState(state: TrainingState): Promise<void> {
    return this.#inTurn(async () => {
      const { body, embedding } = this.#engine.groups;
      const writes: [State, Float32Array][] = [
        [body.weights, state.body],
        [body.moment1, state.bodyMoment1],
        [body.moment2, state.bodyMoment2],
        [embedding.weights, state.embedding],
        [embedding.moment1, state.embeddingMoment1],
        [embedding.moment2, state.embeddingMoment2],
      ];
      // All are checked before the first is written: a state is taken whole or not at all.
      for (const [target, flat] of writes) target.check(flat);
      for (const [target, flat] of writes) target.write(flat);
      body.momentSteps = state.momentSteps;
      embedding.momentSteps = state.embeddingMomentSteps;
      if (this.#scaler !== undefined) this.#scaler.state = state.lossScale ?? FIRST_LOSS_SCALE;
    });
  }

  resetMoments(): Promise<void> {
    return this.#inTurn(async () => {
      for (const group of Object.values(this.#engine.groups)) {
        group.moment1.clear();
        group.moment2.clear();
        group.momentSteps = 0;
      }
    });
  }

  transfers(): Transfers {
    return this.#meter?.total ?? NOTHING_MOVED;
  }

  async dispose(): Promise<void> {
    if (this.#disposed) return;
    await this.#inTurn(async () => {
      this.#disposed = true;
      // Its tensors first: one on a device belongs to the session that made it, and freeing it later crashes the process.
      await this.#engine.dispose();
      for (const session of this.#sessions.values()) await (await session).dispose();
    });
  }

  /** Runs one call after the other, in the order they were made: two steps at once would both start from one state. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#lastCall.then(() => {
      if (this.#disposed) throw new ModelDisposedError();
      return work();
    });
    this.#lastCall = run.then(
      () => undefined,
      () => undefined,
    );
    return run;
  }

  async #steps(
    batches: readonly Batch[],
    firstStep: number,
    trained: readonly ParameterGroup[],
    signal: AbortSignal | undefined,
  ): Promise<StepResult[]> {
    const expected = this.#options.batchSize * this.config.sequenceLength;
    const steps = batches.map((batch, at) => {
      const { length } = batch.inputs;
      if (length !== expected) throw new TensorSizeError("inputs", expected, length);
      const microBatches = microBatchesOf(batch, this.config, this.#microBatchSize);
      return { microBatches, trained, rates: this.#ratesAt(firstStep + at), signal };
    });
    signal?.throwIfAborted();
    const results: StepResult[] = [];
    while (results.length < steps.length) {
      const { scale: lossScale, most } = this.#atThisScale();
      const asked = steps.slice(results.length, results.length + most);
      const outcomes = await this.#engine.steps(asked.map((step) => ({ ...step, lossScale })));
      for (const [at, outcome] of outcomes.entries()) {
        const step = { ...outcome, learningRate: asked[at]!.rates[trained[0]!] };
        if (isSound(outcome)) {
          this.#scaler?.grow();
          results.push(step);
        } else if (Number.isFinite(outcome.loss) && this.#scaler?.shrink()) {
          results.push({ ...step, isSkipped: true });
        } else if (results.length > 0) {
          return results;
        } else {
          throw new NonFiniteStepError(firstStep, outcome.loss, outcome.gradientNorm);
        }
      }
      // Fewer than asked for, and all of them sound: called off, or failed.
      if (outcomes.length < asked.length && outcomes.every(isSound)) return results;
    }
    return results;
  }

  #atThisScale(): { scale: number; most: number } {
    if (this.#scaler === undefined) return { scale: 1, most: Number.POSITIVE_INFINITY };
    return { scale: this.#scaler.state.scale, most: this.#scaler.stepsAtThisScale };
  }

  #ratesAt(step: number): EngineStep["rates"] {
    return { body: learningRateAt(this.#options.optimizer, step), embedding: this.#embeddingRateAt(step) };
  }

  #embeddingRateAt(step: number): number {
    const { optimizer, embeddingSchedule: own } = this.#options;
    return own === undefined ? learningRateAt(optimizer, step) : learningRateAt(own, step % own.totalSteps);
  }

  #session(key: string, build: () => Graph | Loop, shares = 1): Promise<Session> {
    let session = this.#sessions.get(key);
    if (session === undefined) {
      const { bytes, options } = this.#emit(build(), shares);
      session = createSession(bytes, options, this.#meter);
      this.#sessions.set(key, session);
      session.catch(() => this.#sessions.delete(key));
    }
    return session;
  }

  #emit(program: Graph | Loop, shares: number): { bytes: Uint8Array; options: SessionOptions } {
    const { device, spinning = false } = this.#options;
    const inPlaceOnly = device !== "webgpu";
    const emission = {
      ...emissionFor(device),
      ...(inPlaceOnly && { emptySequence: IN_PLACE_ONLY }),
    };
    const bytes = isLoop(program) ? emitLoop(program, emission) : emitOnnx(program, emission);
    const outputs = isLoop(program) ? [] : [...program.outputs.keys()];
    const resident = outputs.filter((name) => name.startsWith(stepOutputs.next("")));
    // Alone a session knows best; several have to be told.
    const { threads = shares > 1 ? availableParallelism() : undefined } = this.#options;
    const options = {
      ...{ device, spinning, inPlaceOnly },
      ...(threads !== undefined && { threads: Math.max(1, Math.floor(threads / shares)) }),
      ...(device === "webgpu" && { residentOutputs: resident, deviceOnly: true }),
    };
    return { bytes, options };
  }
}
