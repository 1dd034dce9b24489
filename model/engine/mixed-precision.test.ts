// Training with products in float16, on every engine that the cpu has.
import { describe, expect, it } from "vitest";
import { NonFiniteStepError } from "../errors.ts";
import { buildScoring } from "../eval/scorer.ts";
import type { Graph } from "../graph/ops.ts";
import { emissionFor, emitOnnx } from "../onnx/emit.ts";
import { RandomStream } from "../random.ts";
import { createSession } from "../runtime/session.ts";
import { modelsFrom, smallOptimizer } from "../testing/small-models.ts";
import {
  buildEvaluation,
  buildGradientStep,
  buildTrainStep,
  buildUpdateStep,
  buildZeroGradients,
} from "../train-step.ts";
import type { Batch, Device, ModelConfig, StepResult, TrainingModel } from "../types.ts";

const config: ModelConfig = { blocks: 2, width: 32, heads: 4, sequenceLength: 16, vocabularySize: 61 };
const optimizer = { ...smallOptimizer, learningRate: 3e-3 };
const batchSize = 4;
const create = modelsFrom("mixed", { config, optimizer, batchSize, threads: 2, precision: "float16" });

/** Text that can be learnt: each token is the one before it and a step of the sequence's own, with a slip now and then. */
function batchAt(step: number): Batch {
  const stream = RandomStream.fromSeed(`mixed ${step}`);
  const [inputs, targets]: [number[], number[]] = [[], []];
  for (let sequence = 0; sequence < batchSize; sequence++) {
    const stride = 1 + (stream.nextUint32() % 3);
    let token = stream.nextUint32() % 61;
    for (let at = 0; at < 16; at++) {
      inputs.push(token);
      token = stream.nextUint32() % 10 === 0 ? stream.nextUint32() % 61 : (token + stride) % 61;
      targets.push(token);
    }
  }
  return {
    inputs: Int32Array.from(inputs),
    targets: Int32Array.from(targets),
    batchSize,
    sequenceLength: 16,
  };
}

async function train(model: TrainingModel, from: number, to: number): Promise<StepResult[]> {
  const results: StepResult[] = [];
  while (from + results.length < to) {
    const step = from + results.length;
    const batches = Array.from({ length: Math.min(3, to - step) }, (_, at) => batchAt(step + at));
    results.push(...(await model.trainSteps(batches, step)));
  }
  return results;
}

const engines = [
  { on: "the host's engine", changes: { shares: 1 } },
  { on: "two shares in micro-batches", changes: { shares: 2, microBatchSize: 2 } },
  { on: "a loop", changes: { stepsPerRun: 3 } },
  { on: "a loop in micro-batches", changes: { stepsPerRun: 3, microBatchSize: 2 } },
] as const;

describe.each(engines)("training with products in float16 on $on", ({ changes }) => {
  it("follows float32: every loss within 1%, and what it learns within 2%", async () => {
    const [half, whole] = [await create(changes), await create({ ...changes, precision: "float32" })];
    const [ours, theirs] = [await train(half, 0, 40), await train(whole, 0, 40)];
    for (const [step, { loss, gradientNorm, isSkipped }] of ours.entries()) {
      expect(isSkipped).toBeUndefined();
      expect(Math.abs(loss / theirs[step]!.loss - 1), `step ${step}`).toBeLessThan(0.01);
      expect(Math.abs(gradientNorm / theirs[step]!.gradientNorm - 1), `step ${step}`).toBeLessThan(0.1);
    }
    const learnt = (results: StepResult[]) => results[0]!.loss - results.at(-1)!.loss;
    expect(learnt(theirs)).toBeGreaterThan(0.5);
    expect(Math.abs(learnt(ours) / learnt(theirs) - 1)).toBeLessThan(0.02);
    // It did round.
    expect(ours.map(({ loss }) => loss)).not.toEqual(theirs.map(({ loss }) => loss));
    expect((await half.readState()).lossScale).toEqual({ scale: 2 ** 16, goodSteps: 40 });
    expect((await whole.readState()).lossScale).toBeUndefined();
  });

  it("leaves out steps whose scale was too large, halving it until one is not", async () => {
    const model = await create(changes);
    await train(model, 0, 3);
    const before = await model.readState();
    await model.writeState({ ...before, lossScale: { scale: 2 ** 24, goodSteps: 7 } });
    const results = await train(model, 3, 15);
    const skipped = results.filter(({ isSkipped }) => isSkipped);
    expect(skipped.length).toBeGreaterThan(0);
    expect(skipped.length).toBeLessThan(12);
    expect(results.slice(0, skipped.length).every(({ isSkipped }) => isSkipped)).toBe(true);
    for (const { loss, gradientNorm } of skipped) {
      expect(Number.isFinite(loss)).toBe(true);
      expect(Number.isFinite(gradientNorm)).toBe(false);
    }
    const after = await model.readState();
    expect(after.momentSteps).toBe(3 + 12 - skipped.length);
    expect(after.lossScale).toEqual({ scale: 2 ** (24 - skipped.length), goodSteps: 12 - skipped.length });

    // The same steps without those that were left out, from the same state and scale: the same bits.
    const plain = await create(changes);
    await plain.writeState({ ...before, lossScale: { ...after.lossScale!, goodSteps: 0 } });
    for (let step = 3 + skipped.length; step < 15; step++) await plain.trainStep(batchAt(step), step);
    expect(await plain.readState()).toEqual(after);
  });

  it("goes on to the same bits from a state written back, across a change of scale", async () => {
    const model = await create(changes);
    const state = await model.readState();
    await model.writeState({ ...state, lossScale: { scale: 256, goodSteps: 1997 } });
    await train(model, 0, 2);
    const kept = await model.readState();
    expect(kept.lossScale).toEqual({ scale: 256, goodSteps: 1999 });
    const goneOn = await train(model, 2, 7);
    const end = await model.readState();
    expect(end.lossScale).toEqual({ scale: 512, goodSteps: 4 });
    const resumed = await create(changes);
    await resumed.writeState(kept);
    expect(await train(resumed, 2, 7)).toEqual(goneOn);
    expect(await resumed.readState()).toEqual(end);
  });

  it("fails where no scale would help, and moves nothing", async () => {
    const model = await create(changes);
    const state = await model.readState();
    await model.writeBody(state.body.with(100, Number.NaN));
    await expect(model.trainStep(batchAt(0), 0)).rejects.toThrow(NonFiniteStepError);
    await model.writeBody(state.body);
    expect(await model.readState()).toEqual(state);
  });
});

it("an old state, which knows no scale, begins with the first one, and float32 takes a state of float16", async () => {
  const [half, whole] = [await create(), await create({ precision: "float32" })];
  await train(half, 0, 2);
  const { lossScale, ...old } = await half.readState();
  expect(lossScale!.goodSteps).toBe(2);
  await half.writeState(old);
  expect((await half.readState()).lossScale).toEqual({ scale: 2 ** 16, goodSteps: 0 });
  await whole.writeState({ ...old, lossScale });
  expect(await whole.readState()).toEqual(old);
});

it("an evaluation is in float32 whatever training is in", async () => {
  const [half, whole] = [await create({ shares: 1 }), await create({ shares: 1, precision: "float32" })];
  expect(await half.evaluate(batchAt(0))).toEqual(await whole.evaluate(batchAt(0)));
});

const devices = process.env.GLOSSA_TEST_DEVICES?.split(",") ?? [];
describe.runIf(devices.includes("webgpu"))("all that is compiled for webgpu", () => {
  const groups = ["body", "embedding"] as const;
  const options = { device: "webgpu", deviceOnly: true } as const;
  const compile = async (graph: Graph, device: Device = "webgpu") => {
    const session = await createSession(emitOnnx(graph, emissionFor(device)), options);
    await session.dispose();
  };

  it.each(["float32", "float16"] as const)("has its operations there in %s", async (precision) => {
    for (const recompute of [false, true]) {
      const more = { precision, recompute };
      await compile(buildTrainStep(config, optimizer, batchSize, groups, more));
      await compile(buildTrainStep(config, optimizer, batchSize, ["embedding"], more));
      await compile(buildGradientStep(config, batchSize, 2, groups, more));
    }
    await compile(buildUpdateStep(config, optimizer, groups, { precision }));
    await compile(buildZeroGradients(config, groups));
    await compile(buildEvaluation(config, 2));
    await compile(buildScoring(config, 2));
  });

  it("is refused with an operation that would run on the cpu", async () => {
    const step = buildTrainStep(config, optimizer, batchSize, groups);
    await expect(compile(step, "cuda")).rejects.toThrow(/fallback to CPU/i);
  });
});
