// Local training as the protocol asks for it: rounds, carried progress, warm-up of private embeddings, evaluation, and a
// checkpoint that a kill cannot tear. Runs inside the trainer worker; knows model/ but neither threads nor the network.
// Arrays called `held` are the part of the shared parameters that this peer holds (see shared-parameters.ts).
import { countTargetBytes } from "#model/data/batches.ts";
import { bitsPerByte, evaluateBitsPerByte } from "#model/eval/bits-per-byte.ts";
import type { Batch, StepResult, TrainingModel, TrainingState } from "#model/types.ts";
import { rebase, subtract } from "./carry.ts";
import type { GroupCheckpoint, GroupEmbedding, GroupResult } from "./group-embedding.ts";
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
  readonly group?: GroupCheckpoint | undefined;
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
  /** Where the embedding is shared with a group. */
  readonly group?: GroupEmbedding | undefined;
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
  /** The model does one thing at a time: a step, a look at held-out text, a move of its parameters, a save. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Whoever waits for the end of a local round to take the group's progress. */
  #groupWaiting: ((result: GroupResult) => void) | undefined;

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
    await this.#inTurn(() => parameters.write(model, held));
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
    await this.#inTurn(() => this.#enter(round, held, carry));
    const { model, nowMs } = this.#modules;
    const progress = this.#progress;
    let collected: GroupResult | undefined;
    try {
      while (progress.step < this.#plan.localSteps) {
        signal.throwIfAborted();
        const startedMs = nowMs();
        const step = round * this.#plan.localSteps + progress.step;
        const { batch, loss } = await this.#onNextBatch(
          (next) => model.trainStep(next, step, signal),
          signal,
        );
        this.#count(batch, loss, nowMs() - startedMs);
        onStep(
          progress.step,
          bitsPerByte(loss * batch.targets.length, countTargetBytes(batch, this.#modules.byteLengths)),
        );
        if (nowMs() - this.#savedAtMs >= this.#plan.checkpointIntervalMs) await this.save();
      }
      collected = await this.#inTurn(() => this.#endGroupRound());
    } finally {
      await this.save();
    }
    if (collected !== undefined) this.#groupWaiting?.(collected);
    return this.#inTurn(() => this.#result());
  }

  /** Moves the embedding onto the group's base, between two steps; see group-embedding.ts. */
  enterGroup(round: number, base: Float32Array, carry: boolean): Promise<void> {
    return this.#inTurn(() => this.#group().enter(this.#modules.model, round, base, carry));
  }

  /**
   * The group's progress, on disk before it is handed out: at the end of a local round, the next one where none has ended
   * since the last time, or `now`.
   */
  async collectGroup(when: "round-end" | "now", signal: AbortSignal): Promise<GroupResult> {
    const group = this.#group();
    if (when === "round-end" && !group.isDue) return this.#atRoundEnd(signal);
    return this.#inTurn(async () => {
      const result = await group.collect(this.#modules.model);
      await this.#save();
      return result;
    });
  }

  /** Bits per byte on held-out text of `held`, with an embedding of its own; training is left exactly where it was. */
  evaluate(held: Float32Array, signal: AbortSignal): Promise<number> {
    const { model, parameters, heldOut, byteLengths } = this.#modules;
    return this.#inTurn(async () => {
      const local = await parameters.read(model);
      await parameters.write(model, held);
      try {
        return (await evaluateBitsPerByte(model, heldOut(), byteLengths, signal)).bitsPerByte;
      } finally {
        await parameters.write(model, local);
      }
    });
  }

  save(): Promise<void> {
    return this.#inTurn(() => this.#save());
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  #group(): GroupEmbedding {
    const { group } = this.#modules;
    if (group === undefined) throw new Error("this peer is in no group");
    return group;
  }

  /** A local round of the run is over: what a waiting group gets of it. */
  async #endGroupRound(): Promise<GroupResult | undefined> {
    const { group, model } = this.#modules;
    group?.roundEnded();
    return this.#groupWaiting === undefined ? undefined : group?.collect(model);
  }

  #atRoundEnd(signal: AbortSignal): Promise<GroupResult> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const leave = () => {
        this.#groupWaiting = undefined;
        reject(signal.reason);
      };
      this.#groupWaiting = (result) => {
        this.#groupWaiting = undefined;
        signal.removeEventListener("abort", leave);
        resolve(result);
      };
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  async #save(): Promise<void> {
    const { model, group, save, nowMs } = this.#modules;
    await save({
      state: await model.readState(),
      start: this.#start,
      progress: { ...this.#progress },
      batchPosition: this.#batchPosition,
      group: group?.checkpoint(),
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
      const { loss } = await this.#inTurn(() => take(batch));
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

  #count(batch: Batch, loss: number, computeMs: number): void {
    const progress = this.#progress;
    const tokens = batch.targets.length;
    const bytes = countTargetBytes(batch, this.#modules.byteLengths);
    const nats = loss * tokens;
    progress.step++;
    progress.computeMs += computeMs;
    progress.tokens += tokens;
    progress.totalTokens += tokens;
    progress.bytes += bytes;
    progress.nats += nats;
    this.#modules.group?.count({ tokens, bytes, nats, computeMs });
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
