// A model in training on one device: owns the parameters, the moments and the compiled steps, and takes one call at a time.
// Calls block this thread for as long as they compute, so the caller is a worker. It knows nothing of data or peers.
import { validateMicroBatchSize, validateModelConfig } from "./architecture.ts";
import { ModelConfigError, ModelDisposedError, NonFiniteStepError, TensorSizeError } from "./errors.ts";
import type { Graph } from "./graph/ops.ts";
import { microBatchesOf, type Tokens } from "./micro-batches.ts";
import { emitOnnx } from "./onnx/emit.ts";
import { learningRateAt, type ScheduleConfig, validateOptimizerConfig } from "./optim/schedule.ts";
import { ReadBack } from "./runtime/read-back.ts";
import { createSession, type DeviceTensor, hostData, type Session, scalarTensor } from "./runtime/session.ts";
import { HostState, ResidentState, type StepState } from "./runtime/state.ts";
import {
  buildEvaluation,
  buildGradientStep,
  buildTrainStep,
  buildUpdateStep,
  groupTensors,
  type ParameterGroup,
  stepInputs,
  stepOutputs,
} from "./train-step.ts";
import type {
  Batch,
  Device,
  ModelConfig,
  OptimizerConfig,
  StepResult,
  TrainingModel,
  TrainingState,
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
  readonly device: Device;
  /** Threads within one operation (cpu); the default is one per physical core. */
  readonly threads?: number;
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
  const { body, embedding, ...rest } = options;
  const model = new CompiledModel(rest);
  await model.load(body, embedding);
  return model;
}

type Rates = Readonly<Record<ParameterGroup, number>>;
type Tensors = Readonly<Record<string, DeviceTensor>>;

interface Group {
  readonly weights: StepState;
  readonly moment1: StepState;
  readonly moment2: StepState;
  /** Sums of gradients over micro-batches; absent where a batch is computed at once. */
  readonly gradient: StepState | undefined;
  momentSteps: number;
}

/** What a step computes before it is decided whether it happens. */
interface Computed {
  readonly loss: number;
  readonly gradientNorm: number;
  readonly outputs: Tensors;
}

/** Without the arrays that were given: their copies are the model's state. */
type CompiledModelOptions = Omit<TrainingModelOptions, "body" | "embedding">;

class CompiledModel implements TrainingModel {
  readonly config: ModelConfig;
  readonly #options: CompiledModelOptions;
  readonly #microBatchSize: number;
  readonly #groups: Readonly<Record<ParameterGroup, Group>>;
  /** Compiled when first asked for: most peers never take an embedding step, some never evaluate. */
  readonly #sessions = new Map<string, Promise<Session>>();
  readonly #readBack = new ReadBack();
  #lastCall: Promise<void> = Promise.resolve();
  #disposed = false;

  constructor(options: CompiledModelOptions) {
    this.config = options.config;
    this.#options = options;
    this.#microBatchSize = options.microBatchSize ?? options.batchSize;
    this.#groups = { body: this.#makeGroup("body"), embedding: this.#makeGroup("embedding") };
  }

  /** Compiles the step that every peer takes, so that a missing device shows before any work is done. */
  async load(body: Float32Array, embedding: Float32Array): Promise<void> {
    this.#groups.body.weights.write(body);
    this.#groups.embedding.weights.write(embedding);
    const both = ["body", "embedding"] as const;
    await (this.#inOnePass ? this.#trainSession(both) : this.#gradientSession(both));
  }

  trainStep(batch: Batch, step: number, signal?: AbortSignal): Promise<StepResult> {
    return this.#inTurn(() => this.#step(batch, step, ["body", "embedding"], signal));
  }

  trainEmbeddingStep(batch: Batch, step: number, signal?: AbortSignal): Promise<StepResult> {
    return this.#inTurn(() => this.#step(batch, step, ["embedding"], signal));
  }

  evaluate(batch: Batch, signal?: AbortSignal): Promise<{ nats: number; tokens: number }> {
    return this.#inTurn(async () => {
      const microBatches = microBatchesOf(batch, this.config, this.#microBatchSize);
      const session = await this.#session("evaluation", () =>
        buildEvaluation(this.config, this.#microBatchSize),
      );
      let nats = 0;
      for (const tokens of microBatches) {
        signal?.throwIfAborted();
        const outputs = await session.run(
          { ...tokens, ...this.#weightFeeds() },
          { [stepOutputs.nats]: null },
        );
        nats += scalarOf(outputs, stepOutputs.nats);
      }
      return { nats, tokens: batch.inputs.length };
    });
  }

  readBody(): Promise<Float32Array> {
    return this.#inTurn(() => this.#groups.body.weights.read());
  }

  writeBody(body: Float32Array): Promise<void> {
    return this.#inTurn(async () => this.#groups.body.weights.write(body));
  }

  readEmbedding(): Promise<Float32Array> {
    return this.#inTurn(() => this.#groups.embedding.weights.read());
  }

  writeEmbedding(embedding: Float32Array): Promise<void> {
    return this.#inTurn(async () => this.#groups.embedding.weights.write(embedding));
  }

  readState(): Promise<TrainingState> {
    return this.#inTurn(async () => {
      const { body, embedding } = this.#groups;
      return {
        body: await body.weights.read(),
        bodyMoment1: await body.moment1.read(),
        bodyMoment2: await body.moment2.read(),
        embedding: await embedding.weights.read(),
        embeddingMoment1: await embedding.moment1.read(),
        embeddingMoment2: await embedding.moment2.read(),
        momentSteps: body.momentSteps,
        embeddingMomentSteps: embedding.momentSteps,
      };
    });
  }

  writeState(state: TrainingState): Promise<void> {
    return this.#inTurn(async () => {
      const { body, embedding } = this.#groups;
      const writes: [StepState, Float32Array][] = [
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
    });
  }

  resetMoments(): Promise<void> {
    return this.#inTurn(async () => {
      for (const group of Object.values(this.#groups)) {
        group.moment1.clear();
        group.moment2.clear();
        group.momentSteps = 0;
      }
    });
  }

  async dispose(): Promise<void> {
    if (this.#disposed) return;
    await this.#inTurn(async () => {
      this.#disposed = true;
      // Tensors first: one on a device belongs to the session that made it, and freeing it later crashes the process.
      for (const { weights, moment1, moment2, gradient } of Object.values(this.#groups)) {
        for (const state of [weights, moment1, moment2, gradient]) state?.dispose();
      }
      for (const session of this.#sessions.values()) await (await session).dispose();
      await this.#readBack.dispose();
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

  get #inOnePass(): boolean {
    return this.#microBatchSize === this.#options.batchSize;
  }

  async #step(
    batch: Batch,
    step: number,
    trained: readonly ParameterGroup[],
    signal: AbortSignal | undefined,
  ): Promise<StepResult> {
    const expected = this.#options.batchSize * this.config.sequenceLength;
    if (batch.inputs.length !== expected) throw new TensorSizeError("inputs", expected, batch.inputs.length);
    const microBatches = microBatchesOf(batch, this.config, this.#microBatchSize);
    signal?.throwIfAborted();
    const rates: Rates = {
      body: learningRateAt(this.#options.optimizer, step),
      embedding: this.#embeddingRateAt(step),
    };
    const { loss, gradientNorm, outputs } = this.#inOnePass
      ? await this.#computeAtOnce(microBatches[0]!, rates, trained)
      : await this.#computeInParts(microBatches, rates, trained, signal);

    const finite = Number.isFinite(loss) && Number.isFinite(gradientNorm);
    for (const name of trained) {
      const group = this.#groups[name];
      for (const state of [group.weights, group.moment1, group.moment2]) {
        if (finite) state.commit(outputs);
        else state.discard(outputs);
      }
      if (finite) group.momentSteps++;
    }
    if (!finite) throw new NonFiniteStepError(step, loss, gradientNorm);
    return { loss, gradientNorm, learningRate: rates[trained[0]!] };
  }

  #embeddingRateAt(step: number): number {
    const { optimizer, embeddingSchedule: own } = this.#options;
    return own === undefined ? learningRateAt(optimizer, step) : learningRateAt(own, step % own.totalSteps);
  }

  async #computeAtOnce(tokens: Tokens, rates: Rates, trained: readonly ParameterGroup[]): Promise<Computed> {
    const { feeds, fetches } = this.#updateOf(trained, rates);
    const session = await this.#trainSession(trained);
    const outputs = await session.run(
      { ...tokens, ...this.#weightFeeds(), ...feeds },
      { ...fetches, [stepOutputs.loss]: null },
    );
    const loss = scalarOf(outputs, stepOutputs.loss);
    return { loss, gradientNorm: scalarOf(outputs, stepOutputs.gradientNorm), outputs };
  }

  /** Sums the gradients of all micro-batches, then clips and applies the sum. */
  async #computeInParts(
    microBatches: readonly Tokens[],
    rates: Rates,
    trained: readonly ParameterGroup[],
    signal: AbortSignal | undefined,
  ): Promise<Computed> {
    const sums = trained.map((name) => this.#groups[name].gradient!);
    for (const sum of sums) sum.clear();
    const addition = await this.#gradientSession(trained);
    let nats = 0;
    for (const tokens of microBatches) {
      signal?.throwIfAborted();
      const outputs = await addition.run(
        { ...tokens, ...this.#weightFeeds(), ...merged(sums, (sum) => sum.feeds()) },
        { ...merged(sums, (sum) => sum.fetches()), [stepOutputs.nats]: null },
      );
      for (const sum of sums) sum.commit(outputs);
      nats += scalarOf(outputs, stepOutputs.nats);
    }
    const { feeds, fetches } = this.#updateOf(trained, rates);
    const update = await this.#session(`update ${trained.join(" and ")}`, () =>
      buildUpdateStep(this.config, this.#options.optimizer, trained),
    );
    const weights = merged(trained, (name) => this.#groups[name].weights.feeds());
    const outputs = await update.run(
      { ...weights, ...merged(sums, (sum) => sum.feeds()), ...feeds },
      fetches,
    );
    const loss = nats / (this.#options.batchSize * this.config.sequenceLength);
    return { loss, gradientNorm: scalarOf(outputs, stepOutputs.gradientNorm), outputs };
  }

  /** What a step needs besides tokens and weights, and what it gives besides its loss. */
  #updateOf(trained: readonly ParameterGroup[], rates: Rates) {
    const { beta1, beta2 } = this.#options.optimizer;
    const feeds: Record<string, DeviceTensor> = {};
    const fetches: Record<string, DeviceTensor | null> = { [stepOutputs.gradientNorm]: null };
    for (const name of trained) {
      const { weights, moment1, moment2, momentSteps } = this.#groups[name];
      feeds[stepInputs.learningRate(name)] = scalarTensor(rates[name]);
      feeds[stepInputs.biasCorrection1(name)] = scalarTensor(1 - beta1 ** (momentSteps + 1));
      feeds[stepInputs.biasCorrection2(name)] = scalarTensor(1 - beta2 ** (momentSteps + 1));
      Object.assign(feeds, moment1.feeds(), moment2.feeds());
      Object.assign(fetches, weights.fetches(), moment1.fetches(), moment2.fetches());
    }
    return { feeds, fetches };
  }

  #weightFeeds(): Record<string, DeviceTensor> {
    return { ...this.#groups.body.weights.feeds(), ...this.#groups.embedding.weights.feeds() };
  }

  #trainSession(trained: readonly ParameterGroup[]): Promise<Session> {
    const { optimizer, batchSize, recompute } = this.#options;
    return this.#session(`train ${trained.join(" and ")}`, () =>
      buildTrainStep(this.config, optimizer, batchSize, trained, { recompute }),
    );
  }

  #gradientSession(trained: readonly ParameterGroup[]): Promise<Session> {
    const { batchSize, recompute } = this.#options;
    return this.#session(`gradients of ${trained.join(" and ")}`, () =>
      buildGradientStep(this.config, batchSize, this.#microBatchSize, trained, { recompute }),
    );
  }

  #session(key: string, build: () => Graph): Promise<Session> {
    let session = this.#sessions.get(key);
    if (session === undefined) {
      const { device, threads, spinning = false } = this.#options;
      const graph = build();
      const resident = [...graph.outputs.keys()].filter((name) => name.startsWith(stepOutputs.next("")));
      session = createSession(emitOnnx(graph), {
        device,
        spinning,
        ...(threads !== undefined && { threads }),
        ...(device === "webgpu" && { residentOutputs: resident }),
      });
      this.#sessions.set(key, session);
      session.catch(() => this.#sessions.delete(key));
    }
    return session;
  }

  #makeGroup(group: ParameterGroup): Group {
    const specs = groupTensors(this.config, group);
    const make = (label: string, input: (tensor: string) => string, inPlace = false) => {
      const names = { label, input, output: (tensor: string) => stepOutputs.next(input(tensor)) };
      return this.#options.device === "webgpu"
        ? new ResidentState(specs, names, this.#readBack)
        : new HostState(specs, names, { inPlace });
    };
    return {
      weights: make(group, (tensor) => tensor),
      moment1: make(`${group} moment 1`, stepInputs.moment1),
      moment2: make(`${group} moment 2`, stepInputs.moment2),
      gradient: this.#inOnePass ? undefined : make(`${group} gradient`, stepInputs.gradient, true),
      momentSteps: 0,
    };
  }
}

/** All entries of the records that `entriesOf` gives. */
function merged<T, Value>(
  items: readonly T[],
  entriesOf: (item: T) => Readonly<Record<string, Value>>,
): Record<string, Value> {
  return Object.assign({}, ...items.map(entriesOf));
}

function scalarOf(outputs: Readonly<Record<string, DeviceTensor>>, name: string): number {
  return hostData(outputs[name]!)[0]!;
}
