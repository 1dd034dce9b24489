// Local training as the protocol asks for it: rounds, carried progress, warm-up of private embeddings, evaluation, and a
// checkpoint that a kill cannot tear. Runs inside the trainer worker; knows model/ but neither threads nor the network.
// Arrays called `held` are the part of the shared parameters that this peer holds (see shared-parameters.ts).
import { countTargetBytes } from "#model/data/batches.ts";
import { bitsPerByte, evaluateBitsPerByte } from "#model/eval/bits-per-byte.ts";
import type { Batch, StepResult, TrainingModel, TrainingState } from "#model/types.ts";
import type { HeldParameters } from "./shared-parameters.ts";

/** The run's choices that training needs (RunConfig.training and the sequence of the schedule). */
export interface RoundPlan {
  readonly localSteps: number;
  readonly momentsAcrossRounds: "keep" | "reset";
  /** Write a checkpoint inside a round at least this often. */
  readonly checkpointIntervalMs: number;
}

/** Training text as an endless stream whose position is plain data. */
export interface BatchSource {
  next(): Batch;
  readonly position: unknown;
}

/** Where the trainer stands. `start` is the held array that the current round's progress is measured against. */
export interface TrainerCheckpoint {
  readonly state: TrainingState;
  readonly start: Float32Array;
  readonly progress: RoundProgress;
  readonly batchPosition: unknown;
}

/** What the round in progress has seen so far. A type, not an interface: it is stored as JSON. */
export type RoundProgress = {
  /** -1 before the first round. */
  round: number;
  step: number;
  tokens: number;
  bytes: number;
  nats: number;
  computeMs: number;
  /** Embedding warm-up steps done: a newcomer warms up once in its life. */
  warmUpSteps: number;
  /** Over this peer's life. */
  totalTokens: number;
};

export interface RoundResult {
  /** theta_start - theta_end over the held array. */
  readonly delta: Float32Array;
  readonly tokens: number;
  readonly bytes: number;
  readonly lossNatsPerToken: number;
  readonly bitsPerByte: number;
  readonly computeMs: number;
}

export interface RoundTrainerModules {
  readonly model: TrainingModel;
  readonly parameters: HeldParameters;
  readonly batches: BatchSource;
  /** UTF-8 bytes that each token id stands for; the denominator of bits per byte. */
  readonly byteLengths: ArrayLike<number>;
  readonly heldOut: () => Iterable<Batch>;
  readonly save: (checkpoint: TrainerCheckpoint) => Promise<void>;
  readonly nowMs: () => number;
}

const FRESH: RoundProgress = {
  round: -1,
  step: 0,
  tokens: 0,
  bytes: 0,
  nats: 0,
  computeMs: 0,
  warmUpSteps: 0,
  totalTokens: 0,
};

export class RoundTrainer {
  readonly #plan: RoundPlan;
  readonly #modules: RoundTrainerModules;
  readonly #progress: RoundProgress;
  #start: Float32Array;
  #savedAtMs: number;
  /** A batch whose step was called off half-way: the next step takes it, as if nothing had happened. */
  #untrained: Batch | undefined;
  /** Where the data stand after the last step that was taken. */
  #batchPosition: unknown;

  private constructor(
    plan: RoundPlan,
    modules: RoundTrainerModules,
    start: Float32Array,
    progress: RoundProgress,
  ) {
    this.#plan = plan;
    this.#modules = modules;
    this.#start = start;
    this.#progress = { ...progress };
    this.#savedAtMs = modules.nowMs();
    this.#batchPosition = modules.batches.position;
  }

  /** Continues from `checkpoint` (its state is written into the model) or from the model as it is. */
  static async create(
    plan: RoundPlan,
    modules: RoundTrainerModules,
    checkpoint?: TrainerCheckpoint,
  ): Promise<RoundTrainer> {
    if (checkpoint === undefined) {
      return new RoundTrainer(plan, modules, await modules.parameters.read(modules.model), FRESH);
    }
    await modules.model.writeState(checkpoint.state);
    return new RoundTrainer(plan, modules, checkpoint.start, checkpoint.progress);
  }

  get progress(): Readonly<RoundProgress> {
    return this.#progress;
  }

  /**
   * Fits the private embedding to a body that stays as it is. Steps already done in an earlier life count. Where rows are
   * shared there is nothing to fit: they come with the body, trained by others.
   */
  async warmUp(
    held: Float32Array,
    steps: number,
    onStep: (step: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { model, parameters } = this.#modules;
    await parameters.write(model, held);
    this.#start = held;
    while (!parameters.includeEmbedding && this.#progress.warmUpSteps < steps) {
      signal.throwIfAborted();
      const step = this.#progress.warmUpSteps;
      await this.#onNextBatch((batch) => model.trainEmbeddingStep(batch, step, signal), signal);
      this.#progress.warmUpSteps++;
      onStep(this.#progress.warmUpSteps);
    }
    await this.save();
  }

  /**
   * Trains `round` from `held` until the run's local steps are done. Progress of the same round (a resume) or, with
   * `carry`, of one whose update was never published is moved onto it: theta = held - (start - theta).
   * An AbortError leaves the progress made in the checkpoint.
   */
  async trainRound(
    round: number,
    held: Float32Array,
    carry: boolean,
    onStep: (step: number, bitsPerByte: number) => void,
    signal: AbortSignal,
  ): Promise<RoundResult> {
    await this.#enter(round, held, carry);
    const { model, nowMs } = this.#modules;
    const progress = this.#progress;
    try {
      while (progress.step < this.#plan.localSteps) {
        signal.throwIfAborted();
        const startedMs = nowMs();
        const step = round * this.#plan.localSteps + progress.step;
        const { batch, loss } = await this.#onNextBatch(
          (next) => model.trainStep(next, step, signal),
          signal,
        );
        progress.computeMs += nowMs() - startedMs;
        this.#count(batch, loss);
        onStep(
          progress.step,
          bitsPerByte(loss * batch.targets.length, countTargetBytes(batch, this.#modules.byteLengths)),
        );
        if (nowMs() - this.#savedAtMs >= this.#plan.checkpointIntervalMs) await this.save();
      }
    } finally {
      await this.save();
    }
    return this.#result();
  }

  /** Bits per byte on held-out text of `held`, with an embedding of its own; training is left exactly where it was. */
  async evaluate(held: Float32Array, signal: AbortSignal): Promise<number> {
    const { model, parameters, heldOut, byteLengths } = this.#modules;
    const local = await parameters.read(model);
    await parameters.write(model, held);
    try {
      return (await evaluateBitsPerByte(model, heldOut(), byteLengths, signal)).bitsPerByte;
    } finally {
      await parameters.write(model, local);
    }
  }

  async save(): Promise<void> {
    const { model, save, nowMs } = this.#modules;
    await save({
      state: await model.readState(),
      start: this.#start,
      progress: { ...this.#progress },
      batchPosition: this.#batchPosition,
    });
    this.#savedAtMs = nowMs();
  }

  /** A step on the next batch, which counts as used unless the signal called it off. */
  async #onNextBatch(
    take: (batch: Batch) => Promise<StepResult>,
    signal: AbortSignal,
  ): Promise<{ batch: Batch; loss: number }> {
    const { batches } = this.#modules;
    const batch = this.#untrained ?? batches.next();
    this.#untrained = undefined;
    try {
      const { loss } = await take(batch);
      this.#batchPosition = batches.position;
      return { batch, loss };
    } catch (error) {
      if (signal.aborted) this.#untrained = batch;
      else this.#batchPosition = batches.position;
      throw error;
    }
  }

  async #enter(round: number, held: Float32Array, carry: boolean): Promise<void> {
    const { model, parameters } = this.#modules;
    const progress = this.#progress;
    const resumes = progress.round === round;
    if (resumes || carry) {
      await parameters.write(model, rebase(await parameters.read(model), this.#start, held));
    } else {
      await parameters.write(model, held);
      if (this.#plan.momentsAcrossRounds === "reset") await model.resetMoments();
    }
    this.#start = held;
    if (resumes) return;
    progress.round = round;
    progress.step = 0;
    // Carried progress keeps its tokens: they are part of the update that this round will publish.
    if (!carry) Object.assign(progress, { tokens: 0, bytes: 0, nats: 0, computeMs: 0 });
  }

  #count(batch: Batch, loss: number): void {
    const progress = this.#progress;
    const tokens = batch.targets.length;
    progress.step++;
    progress.tokens += tokens;
    progress.totalTokens += tokens;
    progress.bytes += countTargetBytes(batch, this.#modules.byteLengths);
    progress.nats += loss * tokens;
  }

  async #result(): Promise<RoundResult> {
    const { model, parameters } = this.#modules;
    const end = await parameters.read(model);
    const { tokens, bytes, nats, computeMs } = this.#progress;
    return {
      delta: subtract(this.#start, end),
      tokens,
      bytes,
      lossNatsPerToken: nats / tokens,
      bitsPerByte: bitsPerByte(nats, bytes),
      computeMs,
    };
  }
}

function subtract(a: Float32Array, b: Float32Array): Float32Array {
  const difference = new Float32Array(a.length);
  for (let i = 0; i < a.length; i++) difference[i] = a[i]! - b[i]!;
  return difference;
}

/**
 * Moves local progress from one start to another: to - (from - theta). Bits are kept where the start did not move, so that
 * a resumed round continues exactly.
 */
function rebase(theta: Float32Array, from: Float32Array, to: Float32Array): Float32Array {
  const moved = new Float32Array(theta.length);
  for (let i = 0; i < theta.length; i++) {
    moved[i] = from[i] === to[i] ? theta[i]! : to[i]! - (from[i]! - theta[i]!);
  }
  return moved;
}
