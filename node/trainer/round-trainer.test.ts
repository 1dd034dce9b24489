import { beforeAll, describe, expect, it } from "vitest";
import { bodyLength } from "#model/architecture.ts";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { createTrainingModel } from "#model/training-model.ts";
import type { Batch, ModelConfig, OptimizerConfig } from "#model/types.ts";
import type { RoundPlan } from "./round-progress.ts";
import { RoundTrainer, type TrainerCheckpoint } from "./round-trainer.ts";
import { SharedParameters } from "./shared-parameters.ts";

const config: ModelConfig = { blocks: 1, width: 16, heads: 2, sequenceLength: 8, vocabularySize: 40 };
const optimizer: OptimizerConfig = {
  learningRate: 0.01,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0,
  gradientClip: 1,
  warmupSteps: 1,
  totalSteps: 100,
  finalLearningRateRatio: 0.1,
};
const plan: RoundPlan = { localSteps: 4, momentsAcrossRounds: "keep", checkpointIntervalMs: 1e9 };
const batchSize = 2;
/** Every token spells two bytes, except the first, which ends documents. */
const byteLengths = Array.from({ length: config.vocabularySize }, (_, id) => (id === 0 ? 0 : 2));
const body0 = genesisBody(config, 1);

/** Batches that depend on nothing but their position. */
function batchesFrom(start: number) {
  let position = start;
  return {
    next(): Batch {
      position++;
      const ids = (shift: number) =>
        Int32Array.from(
          { length: batchSize * config.sequenceLength },
          (_, at) => (at * 7 + position * 3 + shift) % config.vocabularySize,
        );
      return { inputs: ids(0), targets: ids(7), batchSize, sequenceLength: config.sequenceLength };
    },
    get position() {
      return position;
    },
  };
}

interface Life {
  readonly trainer: RoundTrainer;
  readonly saved: TrainerCheckpoint[];
  readonly steps: number[];
  readonly onStep: (step: number) => void;
}

/** One life of a peer's trainer: a new process with what the last one saved. */
async function live(
  checkpoint?: TrainerCheckpoint,
  ownPlan: RoundPlan = plan,
  microBatchSize = batchSize,
  stepsPerRun?: number,
): Promise<Life> {
  const model = await createTrainingModel({
    config,
    optimizer,
    batchSize,
    microBatchSize,
    stepsPerRun,
    device: "cpu",
    threads: 1,
    body: body0,
    embedding: initialEmbedding(config, "mine"),
  });
  const saved: TrainerCheckpoint[] = [];
  const steps: number[] = [];
  const trainer = await RoundTrainer.create(
    ownPlan,
    {
      model,
      parameters: new SharedParameters(body0.length),
      batches: batchesFrom((checkpoint?.batchPosition as number | undefined) ?? 0),
      byteLengths,
      heldOut: () => [batchesFrom(1000).next()],
      save: async (state) => void saved.push(structuredClone(state)),
      nowMs: () => performance.now(),
    },
    checkpoint,
  );
  return { trainer, saved, steps, onStep: (step) => steps.push(step) };
}

const never = new AbortController().signal;

/** A signal that fires when the given step has been taken. */
function stopAfter(life: Life, step: number) {
  const controller = new AbortController();
  const onStep = (taken: number) => {
    life.onStep(taken);
    if (taken === step) controller.abort();
  };
  return { signal: controller.signal, onStep };
}

const moved = (body: Float32Array, by: number) => body.map((value) => value + by);

describe("the round trainer", () => {
  let whole: Awaited<ReturnType<RoundTrainer["trainRound"]>>;
  beforeAll(async () => {
    const life = await live();
    whole = await life.trainer.trainRound(0, body0, false, life.onStep, never);
    expect(life.steps).toEqual([1, 2, 3, 4]);
  });

  it("gives the change of the body and what it cost", () => {
    expect(whole.delta).toHaveLength(bodyLength(config));
    expect(whole.delta.some((value) => value !== 0)).toBe(true);
    expect(whole.tokens).toBe(plan.localSteps * batchSize * config.sequenceLength);
    expect(whole.bitsPerByte).toBeCloseTo(
      (whole.lossNatsPerToken * whole.tokens) / Math.LN2 / whole.bytes,
      12,
    );
  });

  it("continues an interrupted round to the very same bits", async () => {
    const first = await live();
    const { signal, onStep } = stopAfter(first, 2);
    await expect(first.trainer.trainRound(0, body0, false, onStep, signal)).rejects.toMatchObject({
      name: "AbortError",
    });
    const second = await live(first.saved.at(-1));
    const result = await second.trainer.trainRound(0, body0, false, second.onStep, never);
    expect(second.steps).toEqual([3, 4]);
    expect(result).toEqual({ ...whole, computeMs: expect.any(Number) });
  });

  it("leaves a step of many micro-batches half-way, and takes it again with the same batch", async () => {
    const inParts = (checkpoint?: TrainerCheckpoint) => live(checkpoint, plan, 1);
    const undisturbed = await inParts();
    const expected = await undisturbed.trainer.trainRound(0, body0, false, undisturbed.onStep, never);
    const first = await inParts();
    const controller = new AbortController();
    const onStep = (step: number) => {
      first.onStep(step);
      // By then the third step has begun.
      if (step === 2) queueMicrotask(() => controller.abort());
    };
    const stopped = first.trainer.trainRound(0, body0, false, onStep, controller.signal);
    await expect(stopped).rejects.toMatchObject({ name: "AbortError" });
    expect(first.steps).toEqual([1, 2]);
    expect(first.saved.at(-1)!.batchPosition).toBe(2);
    // The same life and a new one go on alike.
    for (const life of [await inParts(first.saved.at(-1)), first]) {
      const { delta } = await life.trainer.trainRound(0, body0, false, life.onStep, never);
      expect(delta).toEqual(expected.delta);
    }
  });

  it("takes several steps in one run, as many as are left, and goes on where it was called off between two", async () => {
    const inRuns = (stepsPerRun: number, checkpoint?: TrainerCheckpoint) =>
      live(checkpoint, plan, batchSize, stepsPerRun);
    const single = await inRuns(1);
    const expected = await single.trainer.trainRound(0, body0, false, single.onStep, never);
    const first = await inRuns(3);
    const { signal, onStep } = stopAfter(first, 1);
    const stopped = first.trainer.trainRound(0, body0, false, onStep, signal);
    await expect(stopped).rejects.toMatchObject({ name: "AbortError" });
    // All of a run are taken by the time the first is told of.
    expect(first.steps).toEqual([1, 2, 3]);
    expect(first.saved.at(-1)).toMatchObject({ batchPosition: 3, progress: { step: 3 } });
    const second = await inRuns(3, first.saved.at(-1));
    const result = await second.trainer.trainRound(0, body0, false, second.onStep, never);
    expect(second.steps).toEqual([4]);
    expect(result).toEqual({ ...expected, computeMs: expect.any(Number) });
    expect(second.saved.at(-1)!.state).toEqual(single.saved.at(-1)!.state);
  });

  it("takes warm-up steps in runs as well", async () => {
    const [one, three] = [
      await live(undefined, plan, batchSize, 1),
      await live(undefined, plan, batchSize, 3),
    ];
    for (const { trainer, onStep } of [one, three]) await trainer.warmUp(body0, 5, onStep, never);
    expect(three.steps).toEqual([1, 2, 3, 4, 5]);
    expect(three.saved.at(-1)).toEqual(one.saved.at(-1));
  });

  it("gives the delta of a finished round again to a peer that died before it could publish", async () => {
    const first = await live();
    await first.trainer.trainRound(0, body0, false, first.onStep, never);
    const second = await live(first.saved.at(-1));
    const result = await second.trainer.trainRound(0, body0, false, second.onStep, never);
    expect(second.steps).toEqual([]);
    expect(result.delta).toEqual(whole.delta);
  });

  it("carries unpublished progress onto another body and its tokens into the next update", async () => {
    const life = await live();
    const { signal, onStep } = stopAfter(life, 2);
    await expect(life.trainer.trainRound(0, body0, false, onStep, signal)).rejects.toThrow();
    const before = life.saved.at(-1)!;
    const elsewhere = moved(body0, 0.25);
    const stopped = AbortSignal.abort();
    await expect(life.trainer.trainRound(5, elsewhere, true, life.onStep, stopped)).rejects.toThrow();
    const after = life.saved.at(-1)!;
    for (let at = 0; at < body0.length; at += 97) {
      const progress = before.start[at]! - before.state.body[at]!;
      expect(elsewhere[at]! - after.state.body[at]!).toBeCloseTo(progress, 6);
    }
    const result = await life.trainer.trainRound(5, elsewhere, true, life.onStep, never);
    expect(result.tokens).toBe((2 + plan.localSteps) * batchSize * config.sequenceLength);
  });

  it("starts the next round from the common body, not from its own", async () => {
    const life = await live();
    await life.trainer.trainRound(0, body0, false, life.onStep, never);
    const common = moved(body0, 0.125);
    await expect(
      life.trainer.trainRound(1, common, false, life.onStep, AbortSignal.abort()),
    ).rejects.toThrow();
    expect(life.saved.at(-1)!.state.body).toEqual(common);
  });

  it("keeps or resets the moments between rounds as the run says", async () => {
    for (const [choice, expected] of [
      ["keep", plan.localSteps + 1],
      ["reset", 1],
    ] as const) {
      const life = await live(undefined, { ...plan, momentsAcrossRounds: choice });
      await life.trainer.trainRound(0, body0, false, life.onStep, never);
      const { signal, onStep } = stopAfter(life, 1);
      await expect(life.trainer.trainRound(1, body0, false, onStep, signal)).rejects.toThrow();
      expect(life.saved.at(-1)!.state.momentSteps).toBe(expected);
    }
  });

  describe("ahead of a round", () => {
    const tokens = (steps: number) => steps * batchSize * config.sequenceLength;
    const progressOf = ({ start, state }: TrainerCheckpoint) =>
      start.map((value, at) => value - state.body[at]!);

    /** Trains round 0 and takes two steps of round 1; the last checkpoint is of then. */
    async function aheadByTwo(ownPlan = plan) {
      const life = await live(undefined, ownPlan);
      const { delta } = await life.trainer.trainRound(0, body0, false, life.onStep, never);
      const { signal, onStep } = stopAfter(life, 2);
      await expect(life.trainer.trainAhead(1, onStep, signal)).rejects.toMatchObject({ name: "AbortError" });
      return { life, delta, saved: life.saved.at(-1)! };
    }

    it("takes the next steps of the schedule and of the text, from its own parameters", async () => {
      const { saved, delta } = await aheadByTwo();
      const end = body0.map((value, at) => value - delta[at]!);
      expect(saved.progress).toMatchObject({ round: 1, step: 2, tokens: tokens(2), totalTokens: tokens(6) });
      expect(saved.batchPosition).toBe(6);
      for (let at = 0; at < end.length; at += 97) expect(saved.start[at]).toBeCloseTo(end[at]!, 6);
      // One long round from the same start takes the same six steps.
      const undisturbed = await live(undefined, { ...plan, localSteps: 6 });
      await undisturbed.trainer.trainRound(0, body0, false, undisturbed.onStep, never);
      expect(saved.state).toEqual(undisturbed.saved.at(-1)!.state);
    });

    it.each([
      ["the same life", false],
      ["a new life", true],
    ])("moves what it learnt onto the round's body and trains on, in %s", async (_, isNew) => {
      const { life: first, saved } = await aheadByTwo();
      const life = isNew ? await live(saved) : first;
      life.steps.length = 0;
      const common = moved(body0, 0.25);
      await expect(
        life.trainer.trainRound(1, common, false, life.onStep, AbortSignal.abort()),
      ).rejects.toThrow();
      const entered = life.saved.at(-1)!;
      expect(entered.start).toEqual(common);
      const [before, after] = [progressOf(saved), progressOf(entered)];
      for (let at = 0; at < before.length; at += 97) expect(after[at]).toBeCloseTo(before[at]!, 6);
      const result = await life.trainer.trainRound(1, common, false, life.onStep, never);
      expect(life.steps).toEqual([3, 4]);
      expect(result.tokens).toBe(tokens(4));
    });

    it("gives way to the round after the step in hand, and leaves no step out", async () => {
      const life = await live();
      await life.trainer.trainRound(0, body0, false, life.onStep, never);
      life.steps.length = 0;
      const ahead = life.trainer.trainAhead(1, life.onStep, never);
      const result = await life.trainer.trainRound(1, moved(body0, 0.25), false, life.onStep, never);
      await ahead;
      expect(life.steps).toEqual([1, 2, 3, 4]);
      expect(result.tokens).toBe(tokens(4));
      expect(life.saved.at(-1)!.progress.totalTokens).toBe(tokens(8));
    });

    it("goes on before it is asked to, where that is foreseen, and tells who asks then", async () => {
      const life = await live();
      await life.trainer.trainRound(0, body0, false, life.onStep, never, true);
      life.steps.length = 0;
      // Other work takes its turn between steps: at least one is taken by then.
      await life.trainer.save();
      await life.trainer.trainAhead(1, life.onStep, never);
      expect(life.steps.at(0)).toBeGreaterThan(0);
      expect(life.steps.at(-1)).toBe(plan.localSteps);
      const result = await life.trainer.trainRound(1, moved(body0, 0.25), false, life.onStep, never);
      expect(result.tokens).toBe(tokens(4));
      expect(life.saved.at(-1)!.progress.totalTokens).toBe(tokens(8));
    });

    it("takes the round over also from steps that nobody has asked for", async () => {
      const life = await live();
      await life.trainer.trainRound(0, body0, false, life.onStep, never, true);
      const result = await life.trainer.trainRound(1, moved(body0, 0.25), false, life.onStep, never);
      expect(result.tokens).toBe(tokens(4));
      expect(life.saved.at(-1)!.progress).toMatchObject({ round: 1, totalTokens: tokens(8) });
    });

    it("waits when all steps of a round are taken", async () => {
      const life = await live();
      await life.trainer.trainRound(0, body0, false, life.onStep, never);
      await life.trainer.trainAhead(1, life.onStep, never);
      expect(life.steps).toEqual([1, 2, 3, 4, 1, 2, 3, 4]);
    });

    it.each([
      ["in the same life", false],
      ["in a new life", true],
    ])("takes back the round before where it was never published, %s", async (_, isNew) => {
      const { life: first, saved } = await aheadByTwo();
      const life = isNew ? await live(saved) : first;
      const result = await life.trainer.trainRound(0, body0, false, life.onStep, never);
      expect(result.tokens).toBe(tokens(6));
      const end = life.saved.at(-1)!.state.body;
      expect(result.delta).toEqual(body0.map((value, at) => value - end[at]!));
      for (let at = 0; at < end.length; at += 97) expect(end[at]).toBeCloseTo(saved.state.body[at]!, 6);
    });

    it("carries both to another round where neither was published", async () => {
      const { life, saved } = await aheadByTwo();
      const far = moved(body0, 0.5);
      await expect(life.trainer.trainRound(7, far, true, life.onStep, AbortSignal.abort())).rejects.toThrow();
      const entered = life.saved.at(-1)!;
      expect(entered.progress).toMatchObject({ round: 7, step: 0, tokens: tokens(6) });
      for (let at = 0; at < far.length; at += 97) {
        expect(far[at]! - entered.state.body[at]!).toBeCloseTo(body0[at]! - saved.state.body[at]!, 6);
      }
    });

    it("carries what came after a published round to another round", async () => {
      const { life, saved } = await aheadByTwo();
      const far = moved(body0, 0.5);
      await expect(
        life.trainer.trainRound(7, far, false, life.onStep, AbortSignal.abort()),
      ).rejects.toThrow();
      const entered = life.saved.at(-1)!;
      expect(entered.progress).toMatchObject({ round: 7, step: 0, tokens: tokens(2) });
      const [before, after] = [progressOf(saved), progressOf(entered)];
      for (let at = 0; at < before.length; at += 97) expect(after[at]).toBeCloseTo(before[at]!, 6);
    });

    it("resets the moments when its first step begins, where the run says so", async () => {
      const { saved } = await aheadByTwo({ ...plan, momentsAcrossRounds: "reset" });
      expect(saved.state.momentSteps).toBe(2);
    });

    it("is saved when the trainer is to rest", async () => {
      const life = await live();
      await life.trainer.trainRound(0, body0, false, life.onStep, never);
      const ahead = life.trainer.trainAhead(1, life.onStep, never);
      await life.trainer.rest();
      await ahead;
      const { progress, handed } = life.saved.at(-1)!;
      expect(progress.round).toBe(1);
      expect(handed?.progress.round).toBe(0);
    });
  });

  it("ends a round with the step in hand when it is enough, but not without one", async () => {
    const life = await live();
    const onStep = (step: number) => {
      life.onStep(step);
      if (step === 2) life.trainer.endRound(0);
    };
    const result = await life.trainer.trainRound(0, body0, false, onStep, never);
    expect(life.steps).toEqual([1, 2]);
    expect(result.tokens).toBe(2 * batchSize * config.sequenceLength);
    life.trainer.endRound(1);
    await life.trainer.trainRound(1, moved(body0, 0.01), false, life.onStep, never);
    expect(life.steps).toEqual([1, 2, 1]);
    await life.trainer.trainRound(2, moved(body0, 0.02), false, life.onStep, never);
    expect(life.steps).toEqual([1, 2, 1, 1, 2, 3, 4]);
  });

  it("tells for how long it had nothing to do", async () => {
    const life = await live();
    const beganMs = performance.now();
    const first = await life.trainer.trainRound(0, body0, false, life.onStep, never);
    expect(first.idleMs).toBe(0);
    const sinceMs = performance.now();
    await new Promise((resolve) => setImmediate(resolve));
    const waitedMs = performance.now() - sinceMs;
    await life.trainer.trainAhead(1, life.onStep, never);
    const { idleMs, computeMs } = await life.trainer.trainRound(1, body0, false, life.onStep, never);
    expect(idleMs).toBeGreaterThanOrEqual(waitedMs);
    expect(first.computeMs + idleMs + computeMs).toBeLessThan(performance.now() - beganMs);
  });

  it("fits the embedding to a body that stays as it is, once in its life", async () => {
    const life = await live();
    const common = moved(body0, 0.01);
    await life.trainer.warmUp(common, 3, life.onStep, never);
    const { state } = life.saved.at(-1)!;
    expect(state.body).toEqual(common);
    expect(state.embedding).not.toEqual(initialEmbedding(config, "mine"));
    const again = await live(life.saved.at(-1));
    await again.trainer.warmUp(common, 3, again.onStep, never);
    expect(again.steps).toEqual([]);
  });

  it("evaluates another body without moving its own", async () => {
    const life = await live();
    const { signal, onStep } = stopAfter(life, 2);
    await expect(life.trainer.trainRound(0, body0, false, onStep, signal)).rejects.toThrow();
    const own = await life.trainer.evaluate(life.saved.at(-1)!.state.body, never);
    const other = await life.trainer.evaluate(moved(body0, 0.5), never);
    expect(other).not.toBeCloseTo(own, 3);
    await life.trainer.save();
    expect(life.saved.at(-1)!.state).toEqual(life.saved.at(-2)!.state);
  });
});
