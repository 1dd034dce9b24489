// A model in training on one device: owns the parameters, the moments and the compiled steps, and takes one call at a time.
// Calls block this thread for as long as they compute, so the caller is a worker. It knows nothing of data or peers.
import { validateModelConfig } from "./architecture.ts";
import {
  ModelConfigError,
  ModelDisposedError,
  NonFiniteStepError,
  TensorSizeError,
  TokenOutOfRangeError,
} from "./errors.ts";
import type { Graph } from "./graph/ops.ts";
import { emitOnnx } from "./onnx/emit.ts";
import { learningRateAt, validateOptimizerConfig } from "./optim/schedule.ts";
import { ReadBack } from "./runtime/read-back.ts";
import {
  createSession,
  type DeviceTensor,
  hostData,
  hostTensor,
  type Session,
  scalarTensor,
} from "./runtime/session.ts";
import { HostState, ResidentState, type StepState } from "./runtime/state.ts";
import {
  buildEvaluation,
  buildTrainStep,
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
  /** Sequences in every batch: the compiled steps have static shapes. */
  readonly batchSize: number;
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
  const { config, optimizer, batchSize } = options;
  validateModelConfig(config);
  validateOptimizerConfig(optimizer);
  if (!Number.isSafeInteger(batchSize) || batchSize < 1) {
    throw new ModelConfigError("batchSize", `batchSize is ${batchSize}`, "give a positive whole number");
  }
  const model = new CompiledModel(options);
  await model.load(options.body, options.embedding);
  return model;
}

interface Group {
  readonly weights: StepState;
  readonly moment1: StepState;
  readonly moment2: StepState;
  momentSteps: number;
}

class CompiledModel implements TrainingModel {
  readonly config: ModelConfig;
  readonly #options: TrainingModelOptions;
  readonly #groups: Readonly<Record<ParameterGroup, Group>>;
  /** Compiled when first asked for: most peers never take an embedding step, some never evaluate. */
  readonly #sessions = new Map<string, Promise<Session>>();
  readonly #readBack = new ReadBack();
  #lastCall: Promise<void> = Promise.resolve();
  #disposed = false;

  constructor(options: TrainingModelOptions) {
    this.config = options.config;
    this.#options = options;
    this.#groups = { body: this.#makeGroup("body"), embedding: this.#makeGroup("embedding") };
  }

  /** Compiles the step that every peer takes, so that a missing device shows before any work is done. */
  async load(body: Float32Array, embedding: Float32Array): Promise<void> {
    this.#groups.body.weights.write(body);
    this.#groups.embedding.weights.write(embedding);
    await this.#trainSession(["body", "embedding"]);
  }

  trainStep(batch: Batch, step: number): Promise<StepResult> {
    return this.#inTurn(() => this.#step(batch, step, ["body", "embedding"]));
  }

  trainEmbeddingStep(batch: Batch, step: number): Promise<StepResult> {
    return this.#inTurn(() => this.#step(batch, step, ["embedding"]));
  }

  evaluate(batch: Batch): Promise<{ nats: number; tokens: number }> {
    return this.#inTurn(async () => {
      const feeds = { ...this.#batchFeeds(batch), ...this.#weightFeeds() };
      const { batchSize } = this.#options;
      const session = await this.#session("evaluation", () => buildEvaluation(this.config, batchSize));
      const outputs = await session.run(feeds, { [stepOutputs.nats]: null });
      return { nats: scalarOf(outputs, stepOutputs.nats), tokens: batch.inputs.length };
    });
  }

  readBody(): Promise<Float32Array> {
    return this.#inTurn(() => this.#groups.body.weights.read());
  }

  writeBody(body: Float32Array): Promise<void> {
    return this.#inTurn(async () => this.#groups.body.weights.write(body));
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
      for (const { weights, moment1, moment2 } of Object.values(this.#groups)) {
        for (const state of [weights, moment1, moment2]) state.dispose();
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

  async #step(batch: Batch, step: number, trained: readonly ParameterGroup[]): Promise<StepResult> {
    const learningRate = learningRateAt(this.#options.optimizer, step);
    const feeds: Record<string, DeviceTensor> = {
      ...this.#batchFeeds(batch),
      ...this.#weightFeeds(),
      [stepInputs.learningRate]: scalarTensor(learningRate),
    };
    const fetches: Record<string, DeviceTensor | null> = {
      [stepOutputs.loss]: null,
      [stepOutputs.gradientNorm]: null,
    };
    const { beta1, beta2 } = this.#options.optimizer;
    for (const name of trained) {
      const { weights, moment1, moment2, momentSteps } = this.#groups[name];
      feeds[stepInputs.biasCorrection1(name)] = scalarTensor(1 - beta1 ** (momentSteps + 1));
      feeds[stepInputs.biasCorrection2(name)] = scalarTensor(1 - beta2 ** (momentSteps + 1));
      Object.assign(feeds, moment1.feeds(), moment2.feeds());
      Object.assign(fetches, weights.fetches(), moment1.fetches(), moment2.fetches());
    }

    const session = await this.#trainSession(trained);
    const outputs = await session.run(feeds, fetches);

    const loss = scalarOf(outputs, stepOutputs.loss);
    const gradientNorm = scalarOf(outputs, stepOutputs.gradientNorm);
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
    return { loss, gradientNorm, learningRate };
  }

  #batchFeeds(batch: Batch): Record<string, DeviceTensor> {
    const tokens = this.#options.batchSize * this.config.sequenceLength;
    for (const name of ["inputs", "targets"] as const) {
      if (batch[name].length !== tokens) throw new TensorSizeError(name, tokens, batch[name].length);
      for (const token of batch[name]) {
        if (token < 0 || token >= this.config.vocabularySize) {
          throw new TokenOutOfRangeError(token, this.config.vocabularySize);
        }
      }
    }
    return {
      [stepInputs.inputs]: hostTensor(batch.inputs, [tokens]),
      [stepInputs.targets]: hostTensor(batch.targets, [tokens]),
    };
  }

  #weightFeeds(): Record<string, DeviceTensor> {
    return { ...this.#groups.body.weights.feeds(), ...this.#groups.embedding.weights.feeds() };
  }

  #trainSession(trained: readonly ParameterGroup[]): Promise<Session> {
    const { optimizer, batchSize } = this.#options;
    return this.#session(`train ${trained.join(" and ")}`, () =>
      buildTrainStep(this.config, optimizer, batchSize, trained),
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
    const make = (label: string, input: (tensor: string) => string) => {
      const names = { label, input, output: (tensor: string) => stepOutputs.next(input(tensor)) };
      return this.#options.device === "webgpu"
        ? new ResidentState(specs, names, this.#readBack)
        : new HostState(specs, names);
    };
    return {
      weights: make(group, (tensor) => tensor),
      moment1: make(`${group} moment 1`, stepInputs.moment1),
      moment2: make(`${group} moment 2`, stepInputs.moment2),
      momentSteps: 0,
    };
  }
}

function scalarOf(outputs: Readonly<Record<string, DeviceTensor>>, name: string): number {
  return hostData(outputs[name]!)[0]!;
}
