// Local training as the protocol asks for it: rounds, carried progress, warm-up of private embeddings, evaluation, and a
// checkpoint that a kill cannot tear. Runs inside the trainer worker; knows model/ but neither threads nor the network.
// Arrays called `held` are the part of the shared parameters that this peer holds (see shared-parameters.ts).
import { countTargetBytes } from "#model/data/batches.ts";
import { bitsPerByte, evaluateBitsPerByte } from "#model/eval/bits-per-byte.ts";
import type { Batch, StepResult, TrainingModel, TrainingState } from "#model/types.ts";
import { Ahead } from "./ahead.ts";
import { BatchQueue, type BatchSource } from "./batch-queue.ts";
import { rebase, subtract } from "./carry.ts";
import type { GroupCheckpoint, GroupEmbedding, GroupResult } from "./group-embedding.ts";
import { RoundEnd } from "./round-end.ts";
import {
  addTally,
  beginRound,
  FRESH,
  forgetTally,
  type HandedRound,
  IdleTime,
  type RoundPlan,
  type RoundProgress,
  type RoundResult,
  takeBack,
} from "./round-progress.ts";
import type { HeldParameters } from "./shared-parameters.ts";

/** Where the trainer stands. `start` is the held array that the current round's progress is measured against. */
export interface TrainerCheckpoint {
  readonly state: TrainingState;
  readonly start: Float32Array;
  readonly progress: RoundProgress;
  readonly handed?: HandedRound | undefined;
  readonly batchPosition: unknown;
  readonly group?: GroupCheckpoint | undefined;
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

export class RoundTrainer {
  readonly #plan: RoundPlan;
  readonly #modules: RoundTrainerModules;
  readonly #progress: RoundProgress;
  #start: Float32Array;
  #handed: HandedRound | undefined;
  #ahead: Ahead | undefined;
  #inRound = false;
  /** The round that needs no more than one step; the one in hand is taken to its end. */
  #enoughFor = -1;
  readonly #idle: IdleTime;
  #savedAtMs: number;
  /** A batch whose step was called off half-way is the next step's, as if nothing had happened. */
  readonly #batches: BatchQueue;
  /** The model does one thing at a time: a step, a look at held-out text, a move of its parameters, a save. */
  #turn: Promise<unknown> = Promise.resolve();
  readonly #roundEnd = new RoundEnd<GroupResult>();

  private constructor(
    plan: RoundPlan,
    modules: RoundTrainerModules,
    { start, progress, handed }: Pick<TrainerCheckpoint, "start" | "progress" | "handed">,
  ) {
    this.#plan = plan;
    this.#modules = modules;
    this.#start = start;
    this.#handed = handed;
    this.#progress = { ...FRESH, ...progress };
    this.#idle = new IdleTime(modules.nowMs);
    this.#savedAtMs = modules.nowMs();
    this.#batches = new BatchQueue(modules.batches);
  }

  /** Continues from `checkpoint` (its state is written into the model) or from the model as it is. */
  static async create(
    plan: RoundPlan,
    modules: RoundTrainerModules,
    checkpoint?: TrainerCheckpoint,
  ): Promise<RoundTrainer> {
    if (checkpoint === undefined) {
      const start = await modules.parameters.read(modules.model);
      return new RoundTrainer(plan, modules, { start, progress: FRESH });
    }
    await modules.model.writeState(checkpoint.state);
    return new RoundTrainer(plan, modules, checkpoint);
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
      const taken = await this.#onNextBatches(
        Math.min(steps - step, model.stepsPerRun("embedding")),
        (batches) => model.trainEmbeddingSteps(batches, step, signal),
        signal,
      );
      for (const _ of taken) onStep(++this.#progress.warmUpSteps);
    }
    await this.save();
  }

  /**
   * Trains `round` from `held` until the run's local steps are done. Progress of the same round (a resume) or, with
   * `carry`, of one whose update was never published is moved onto it: theta = held - (start - theta). So is what was
   * trained ahead, in any case. An AbortError leaves the progress made in the checkpoint. With `goOn` the next round's steps
   * begin as soon as the result is made, for trainAhead to be asked for.
   */
  async trainRound(
    round: number,
    held: Float32Array,
    carry: boolean,
    onStep: (step: number, bitsPerByte: number) => void,
    signal: AbortSignal,
    goOn = false,
  ): Promise<RoundResult> {
    this.#inRound = true;
    try {
      await this.#endAhead();
      await this.#inTurn(() => this.#enter(round, held, carry));
      this.#progress.idleMs += this.#idle.end();
      let collected: GroupResult | undefined;
      try {
        while (this.#isUnfinished) await this.#step(onStep, signal);
        collected = await this.#inTurn(() => this.#endGroupRound());
      } finally {
        await this.save();
      }
      if (collected !== undefined) this.#roundEnd.give(collected);
      const result = await this.#inTurn(() => this.#result());
      if (goOn) this.#goAhead(round + 1);
      return result;
    } finally {
      this.#inRound = false;
      this.#idle.begin();
    }
  }

  /**
   * Goes on with steps of `round`, the one after that handed out last, from where the parameters are: what was handed out
   * is taken for published, until trainRound says otherwise. Ends when the local steps are taken or trainRound is called.
   */
  async trainAhead(
    round: number,
    onStep: (step: number, bitsPerByte: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    // Asked again of a new process, when the round itself has begun.
    if (this.#inRound) return;
    const ahead = this.#ahead?.round === round ? this.#ahead : this.#goAhead(round);
    const stop = () => ahead.stop.abort(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    const { step, nats, bytes } = this.#progress;
    if (this.#progress.round === round && step > 0) onStep(step, bitsPerByte(nats, bytes));
    ahead.onStep = onStep;
    try {
      await ahead.ended;
    } catch (error) {
      if (signal.aborted) await this.save();
      throw error;
    }
  }

  /** Lets `round` end with the step in hand, and not before one is taken. */
  endRound(round: number): void {
    this.#enoughFor = round;
  }

  /** Lets what is trained ahead end, and saves it: before the model is disposed of. */
  async rest(): Promise<void> {
    if (await this.#endAhead()) await this.save();
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
    if (when === "round-end" && !group.isDue) return this.#roundEnd.wait(signal);
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

  #goAhead(round: number): Ahead {
    const ahead = new Ahead(round);
    this.#ahead = ahead;
    ahead.ended = this.#takeAhead(ahead).finally(() => {
      this.#ahead = undefined;
      this.#idle.begin();
    });
    // An error is for those who ask for the steps; the others meet it in the next one.
    ahead.ended.catch(() => undefined);
    return ahead;
  }

  async #takeAhead(ahead: Ahead): Promise<void> {
    await this.#inTurn(() => this.#enterAhead(ahead.round));
    this.#progress.idleMs += this.#idle.end();
    const onStep = (step: number, bits: number) => ahead.onStep(step, bits);
    while (this.#isUnfinished && !ahead.superseded) await this.#step(onStep, ahead.stop.signal);
  }

  /** Whether anything was being trained ahead. */
  async #endAhead(): Promise<boolean> {
    const ahead = this.#ahead;
    if (ahead === undefined) return false;
    ahead.superseded = true;
    await ahead.ended.catch(() => undefined);
    return true;
  }

  get #isUnfinished(): boolean {
    const { round, step } = this.#progress;
    return step < (round === this.#enoughFor ? 1 : this.#plan.localSteps);
  }

  /** One optimizer step of the round in progress, or several where the model does well to take them in one run. */
  async #step(onStep: (step: number, bitsPerByte: number) => void, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { model, nowMs } = this.#modules;
    const { round, step } = this.#progress;
    const taken = await this.#onNextBatches(
      Math.min(this.#plan.localSteps - step, model.stepsPerRun("whole")),
      (batches) => model.trainSteps(batches, round * this.#plan.localSteps + step, signal),
      signal,
    );
    for (const { batch, loss, computeMs } of taken) {
      const bytes = this.#count(batch, loss, computeMs);
      onStep(this.#progress.step, bitsPerByte(loss * batch.targets.length, bytes));
    }
    if (nowMs() - this.#savedAtMs >= this.#plan.checkpointIntervalMs) await this.save();
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
    return this.#roundEnd.isAwaited ? group?.collect(model) : undefined;
  }

  async #save(): Promise<void> {
    const { model, group, save, nowMs } = this.#modules;
    const [start, handed] = [this.#start, this.#handed];
    await save({
      ...{ state: await model.readState(), start, handed },
      progress: { ...this.#progress },
      batchPosition: this.#batches.position,
      group: group?.checkpoint(),
    });
    this.#savedAtMs = nowMs();
  }

  /** Steps on the next batches. The first counts as used unless the signal called it off, the others if taken. */
  async #onNextBatches(
    count: number,
    take: (batches: readonly Batch[]) => Promise<readonly StepResult[]>,
    signal: AbortSignal,
  ): Promise<readonly { batch: Batch; loss: number; computeMs: number }[]> {
    const { nowMs } = this.#modules;
    const batches = this.#batches.next(count);
    try {
      const taken = await this.#inTurn(async () => {
        const startedMs = nowMs();
        const results = await take(batches);
        const computeMs = (nowMs() - startedMs) / results.length;
        return results.map((result, at) => ({ ...result, batch: batches[at]!, computeMs }));
      });
      this.#batches.use(taken.length);
      this.#progress.skippedSteps += taken.filter(({ isSkipped }) => isSkipped).length;
      return taken;
    } catch (error) {
      if (!signal.aborted) this.#batches.use(1);
      throw error;
    }
  }

  async #enter(round: number, held: Float32Array, carry: boolean): Promise<void> {
    const { model, parameters } = this.#modules;
    const handed = this.#handed;
    const progress = this.#progress;
    if (handed !== undefined && (carry || round === handed.progress.round)) {
      this.#start = handed.start;
      takeBack(progress, handed.progress, round, this.#plan.localSteps);
    }
    const keeps = handed !== undefined || carry || progress.round === round;
    if (keeps) {
      await parameters.write(model, rebase(await parameters.read(model), this.#start, held));
    } else {
      await parameters.write(model, held);
      if (this.#plan.momentsAcrossRounds === "reset") await model.resetMoments();
      // Kept progress keeps its tokens: they are part of the update that this round will publish.
      forgetTally(progress);
    }
    this.#start = held;
    this.#handed = undefined;
    if (progress.round !== round) beginRound(progress, round);
  }

  async #enterAhead(round: number): Promise<void> {
    const { model, parameters } = this.#modules;
    const progress = this.#progress;
    if (progress.round >= round) return;
    this.#handed = { start: this.#start, progress: { ...progress } };
    this.#start = await parameters.read(model);
    beginRound(progress, round);
    forgetTally(progress);
    if (this.#plan.momentsAcrossRounds === "reset") await model.resetMoments();
  }

  /** Returns the bytes that the batch's targets stand for. */
  #count(batch: Batch, loss: number, computeMs: number): number {
    const progress = this.#progress;
    const tokens = batch.targets.length;
    const bytes = countTargetBytes(batch, this.#modules.byteLengths);
    const seen = { tokens, bytes, nats: loss * tokens, computeMs };
    progress.step++;
    progress.totalTokens += tokens;
    addTally(progress, seen);
    this.#modules.group?.count(seen);
    return bytes;
  }

  async #result(): Promise<RoundResult> {
    const { model, parameters } = this.#modules;
    const end = await parameters.read(model);
    const { tokens, bytes, nats, computeMs, idleMs } = this.#progress;
    return {
      delta: subtract(this.#start, end),
      tokens,
      bytes,
      lossNatsPerToken: nats / tokens,
      bitsPerByte: bitsPerByte(nats, bytes),
      computeMs,
      idleMs,
    };
  }
}
