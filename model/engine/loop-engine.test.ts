// The loop runs on cuda; here it is compared, on the cpu, with single runs of the same step's graph.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bodyLength } from "../architecture.ts";
import { NonFiniteStepError, TokenOutOfRangeError } from "../errors.ts";
import { genesisBody, initialEmbedding } from "../genesis.ts";
import { elementCount } from "../graph/ops.ts";
import { emitOnnx } from "../onnx/emit.ts";
import { learningRateAt } from "../optim/schedule.ts";
import { createSession, type DeviceTensor, hostData, hostTensor, scalarTensor } from "../runtime/session.ts";
import { modelsFrom, randomBatch, smallConfig, smallOptimizer } from "../testing/small-models.ts";
import { buildTrainStep, groupTensors, stepInputs, stepOutputs } from "../train-step.ts";
import type { TrainingModel, TrainingState } from "../types.ts";
import { RunLength } from "./run-length.ts";

const config = smallConfig;
const optimizer = smallOptimizer;
const batchSize = 4;
const BOTH = ["body", "embedding"] as const;
const create = modelsFrom("loop", { config, optimizer, batchSize, threads: 1, stepsPerRun: 4 });

const batchOf = (seed: string) => randomBatch(seed, batchSize);

const batches = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, at) => batchOf(`${from + at}`));

/** Steps [from, to) in runs of these lengths; the last may find fewer left. */
async function train(model: TrainingModel, from: number, to: number, length: number) {
  const results = [];
  for (let step = from; step < to; step += length) {
    results.push(...(await model.trainSteps(batches(step, Math.min(to, step + length)), step)));
  }
  return results;
}

/** The step's own graph, run by run: losses, norms and all that it moves, by the names of its inputs. */
async function trainInSingleRuns(steps: number) {
  const graph = buildTrainStep(config, optimizer, batchSize, BOTH);
  const session = await createSession(emitOnnx(graph, { branches: true }), { device: "cpu", threads: 1 });
  const state = new Map<string, DeviceTensor>();
  const flats = { body: genesisBody(config, "loop"), embedding: initialEmbedding(config, "loop") };
  for (const group of BOTH) {
    let offset = 0;
    for (const { name, shape } of groupTensors(config, group)) {
      const end = offset + elementCount(shape);
      state.set(name, hostTensor(flats[group].slice(offset, end), shape));
      for (const moment of [stepInputs.moment1(name), stepInputs.moment2(name)]) {
        state.set(moment, hostTensor(new Float32Array(end - offset), shape));
      }
      offset = end;
    }
  }
  const results: { loss: number; gradientNorm: number }[] = [];
  for (let step = 0; step < steps; step++) {
    const { inputs, targets } = batchOf(`${step}`);
    const scalars = BOTH.flatMap((group) => [
      [stepInputs.learningRate(group), scalarTensor(learningRateAt(optimizer, step))] as const,
      [stepInputs.biasCorrection1(group), scalarTensor(1 - 0.9 ** (step + 1))] as const,
      [stepInputs.biasCorrection2(group), scalarTensor(1 - 0.95 ** (step + 1))] as const,
    ]);
    const outputs = await session.run(
      {
        ...Object.fromEntries(state),
        ...Object.fromEntries(scalars),
        inputs: hostTensor(inputs, [inputs.length]),
        targets: hostTensor(targets, [targets.length]),
      },
      Object.fromEntries([...graph.outputs.keys()].map((name) => [name, null])),
    );
    for (const name of state.keys()) state.set(name, outputs[stepOutputs.next(name)]!);
    const [loss, gradientNorm] = [outputs.loss!, outputs.gradientNorm!].map(
      (tensor) => hostData(tensor)[0]!,
    ) as [number, number];
    results.push({ loss, gradientNorm });
  }
  await session.dispose();
  const flat = (group: "body" | "embedding", input: (tensor: string) => string) =>
    Float32Array.from(
      groupTensors(config, group).flatMap(({ name }) => [...hostData(state.get(input(name))!)]),
    );
  return { results, flat };
}

function expectClose(actual: TrainingState, expected: TrainingState): void {
  for (const name of ["body", "bodyMoment1", "embedding", "embeddingMoment2"] as const) {
    const norm = (values: Float32Array) => Math.hypot(...values);
    const difference = actual[name].map((value, at) => value - expected[name][at]!);
    expect(norm(difference), name).toBeLessThan(1e-5 * norm(expected[name]));
  }
}

describe("steps in one loop", () => {
  it("are the bits of as many single runs of the step's graph", async () => {
    const single = await trainInSingleRuns(6);
    const model = await create();
    const results = await model.trainSteps(batches(0, 6), 0);
    expect(results).toEqual(
      single.results.map((result, step) => ({ ...result, learningRate: learningRateAt(optimizer, step) })),
    );
    const state = await model.readState();
    expect(state.body).toEqual(single.flat("body", (name) => name));
    expect(state.embedding).toEqual(single.flat("embedding", (name) => name));
    expect(state.bodyMoment1).toEqual(single.flat("body", stepInputs.moment1));
    expect(state.bodyMoment2).toEqual(single.flat("body", stepInputs.moment2));
    expect(state.embeddingMoment2).toEqual(single.flat("embedding", stepInputs.moment2));
    expect(state).toMatchObject({ momentSteps: 6, embeddingMomentSteps: 6 });
  });

  it.each([
    { how: "at once", changes: {} },
    { how: "in micro-batches", changes: { microBatchSize: 2 } },
    { how: "with blocks computed again", changes: { recompute: true } },
  ])("are the same for any length of the loop, $how", async ({ changes }) => {
    const [one, three, all] = [await create(changes), await create(changes), await create(changes)];
    const expected = await train(one, 0, 8, 1);
    expect(await train(three, 0, 8, 3)).toEqual(expected);
    expect(await train(all, 0, 8, 8)).toEqual(expected);
    expect(await three.readState()).toEqual(await one.readState());
    expect(await all.readState()).toEqual(await one.readState());
  });

  it.each([
    { how: "at once", changes: {} },
    { how: "in micro-batches", changes: { microBatchSize: 1 } },
  ])("are those of the engine without a loop, up to rounding, $how", async ({ changes }) => {
    const [loop, host] = [await create(changes), await create({ ...changes, stepsPerRun: undefined })];
    const [actual, expected] = [await train(loop, 0, 8, 4), await train(host, 0, 8, 4)];
    for (const [step, { loss, gradientNorm, learningRate }] of actual.entries()) {
      expect(loss / expected[step]!.loss).toBeCloseTo(1, 5);
      expect(gradientNorm / expected[step]!.gradientNorm).toBeCloseTo(1, 4);
      expect(learningRate).toBe(expected[step]!.learningRate);
    }
    expectClose(await loop.readState(), await host.readState());
    expect([loop.stepsPerRun("whole"), host.stepsPerRun("whole")]).toEqual([4, 1]);
  });

  it("of the embedding alone leave the body where it is", async () => {
    const [one, five] = [await create(), await create()];
    const { body, bodyMoment1 } = await one.readState();
    for (let step = 0; step < 5; step++) await one.trainEmbeddingStep(batchOf(`${step}`), step);
    await five.trainEmbeddingSteps(batches(0, 5), 0);
    const state = await five.readState();
    expect(state).toEqual(await one.readState());
    expect(state).toMatchObject({ body, bodyMoment1, momentSteps: 0, embeddingMomentSteps: 5 });
  });

  it("go on to the same bits from a state that was read and written back", async () => {
    const model = await create({ microBatchSize: 2 });
    await train(model, 0, 5, 3);
    const state = await model.readState();
    const goneOn = await train(model, 5, 9, 4);
    const resumed = await create({ microBatchSize: 2, body: new Float32Array(bodyLength(config)).fill(0.5) });
    await resumed.writeState(state);
    expect(await train(resumed, 5, 9, 2)).toEqual(goneOn);
    expect(await resumed.readState()).toEqual(await model.readState());
  });

  it("end before one that is not finite, which is the next call's", async () => {
    // The first step throws the weights so far that the second one's loss is no number.
    const wild = { optimizer: { ...optimizer, learningRate: 1e30 } };
    const [model, single] = [await create(wild), await create(wild)];
    const taken = await model.trainSteps(batches(0, 3), 0);
    expect(taken).toEqual([await single.trainStep(batchOf("0"), 0)]);
    const state = await single.readState();
    expect(await model.readState()).toEqual(state);
    expect(state.momentSteps).toBe(1);
    await expect(model.trainSteps(batches(1, 3), 1)).rejects.toThrow(NonFiniteStepError);
    expect(await model.readState()).toEqual(state);
  });

  it("are not begun where they were called off, nor where one of the batches does not fit", async () => {
    const model = await create();
    const state = await model.readState();
    const off = expect.objectContaining({ name: "AbortError" });
    await expect(model.trainSteps(batches(0, 3), 0, AbortSignal.abort())).rejects.toThrow(off);
    const [good] = batches(0, 1);
    const misfit = [good!, { ...good!, targets: good!.targets.with(0, 37) }];
    await expect(model.trainSteps(misfit, 0)).rejects.toThrow(TokenOutOfRangeError);
    expect(await model.trainSteps([], 0)).toEqual([]);
    expect(await model.readState()).toEqual(state);
  });
});

describe("the length of a run", () => {
  const found = (...trialsMs: [number, number, number]) => {
    const length = new RunLength();
    for (const [at, milliseconds] of trialsMs.entries()) {
      expect(length.steps).toBe([1, 1, 4][at]);
      length.add(length.steps, milliseconds);
    }
    return length.steps;
  };

  it("makes the way cost less than 3%, and no more steps than that takes", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 60, noNaN: true }),
        fc.double({ min: 10, max: 100, noNaN: true }),
        (way, step) => {
          const steps = found(9999, way + step, way + 4 * step);
          const share = (count: number) => way / (way + count * step);
          expect(share(steps)).toBeLessThan(0.0301);
          if (steps > 1) expect(share(steps - 1)).toBeGreaterThan(0.0299);
        },
      ),
    );
  });

  it("has bounds: in steps where they are too short to measure, and in time", () => {
    expect(found(500, 40, 39)).toBe(256);
    expect(found(500, 4000, 4003)).toBe(256);
    expect(found(500, 100_000, 106_000)).toBe(15);
    expect(found(500, 60_000, 240_000)).toBe(1);
  });

  it("is not learnt from runs of another length, nor where it is given", () => {
    const length = new RunLength();
    length.add(3, 100);
    expect(length.steps).toBe(1);
    const given = new RunLength(7);
    for (const steps of [7, 7, 4]) given.add(steps, 1000 / steps);
    expect(given.steps).toBe(7);
  });
});
