import { describe, expect, it } from "vitest";
import { bodyLength } from "./architecture.ts";
import {
  ModelConfigError,
  ModelDisposedError,
  NonFiniteStepError,
  PrecisionUnavailableError,
  TensorSizeError,
  TokenOutOfRangeError,
} from "./errors.ts";
import { genesisBody, initialEmbedding } from "./genesis.ts";
import { learningRateAt } from "./optim/schedule.ts";
import { modelsFrom, randomBatch, smallConfig, smallOptimizer } from "./testing/small-models.ts";
import type { TrainingModelOptions } from "./training-model.ts";
import type { Device, TrainingModel } from "./types.ts";

const config = smallConfig;
const optimizer = smallOptimizer;
const batchSize = 3;
const createOpen = modelsFrom("test", { config, optimizer, batchSize, threads: 2 });

const batchOf = (seed: string, sequences = batchSize) => randomBatch(seed, sequences);

/** |a - b| / |b|, as vectors. */
function relativeDistance(a: Float32Array, b: Float32Array): number {
  const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return norm(a.map((value, at) => value - b[at]!)) / norm(b);
}

async function losses(model: TrainingModel, from: number, to: number): Promise<number[]> {
  const result: number[] = [];
  for (let step = from; step < to; step++)
    result.push((await model.trainStep(batchOf(`${step % 4}`), step)).loss);
  return result;
}

/** Further devices of this machine to test on, by name: `GLOSSA_TEST_DEVICES=webgpu npm test`. */
const devices = ["cpu", ...(process.env.GLOSSA_TEST_DEVICES?.split(",") ?? [])] as Device[];
if (!devices.includes("webgpu")) {
  console.info(
    "webgpu is not tested: it needs a Vulkan driver and GLOSSA_TEST_DEVICES=webgpu (see .ci/run).",
  );
}

describe.each(devices)("a training model on %s", (device) => {
  const create = (changes: Partial<TrainingModelOptions> = {}) => createOpen({ device, ...changes });

  it("learns one batch by heart", async () => {
    const model = await create({ optimizer: { ...optimizer, totalSteps: 120 } });
    const batch = batchOf("heart");
    const first = await model.trainStep(batch, 0);
    expect(first.loss).toBeCloseTo(Math.log(37), 1);
    for (let step = 1; step < 120; step++) await model.trainStep(batch, step);
    const { nats, tokens } = await model.evaluate(batch);
    expect(tokens).toBe(24);
    expect(nats / tokens).toBeLessThan(0.1);
  });

  it("moves weights by the learning rate in the first step, whatever the size of their gradients", async () => {
    // Adam's first corrected moments are g and g^2, so w moves by lr * g / |g|, up to epsilon.
    const model = await create({ optimizer: { ...optimizer, weightDecay: 0, epsilon: 1e-12 } });
    const before = await model.readState();
    const { learningRate } = await model.trainStep(batchOf("first"), 0);
    const after = await model.readState();
    for (const group of ["body", "embedding"] as const) {
      const moves = after[group].map((value, at) => Math.abs(value - before[group][at]!) / learningRate);
      expect(moves.filter((move) => Math.abs(move - 1) < 1e-3).length).toBeGreaterThan(0.99 * moves.length);
    }
  });

  it("hands out copies", async () => {
    const model = await create();
    const body = await model.readBody();
    const before = body.slice();
    await losses(model, 0, 2);
    expect(body).toEqual(before);
    body.fill(7);
    expect((await model.readBody()).includes(7)).toBe(false);
  });

  it("evaluates to the loss that the next step reports, and moves nothing", async () => {
    const model = await create();
    await losses(model, 0, 3);
    const state = await model.readState();
    const batch = batchOf("evaluation");
    const { nats, tokens } = await model.evaluate(batch);
    expect(await model.readState()).toEqual(state);
    const { loss } = await model.trainStep(batch, 3);
    expect(nats / tokens).toBeCloseTo(loss, 5);
  });

  it("moves only the embedding and its moments in an embedding step", async () => {
    const model = await create();
    await losses(model, 0, 2);
    const before = await model.readState();
    const batch = batchOf("embedding");
    const { loss } = await model.trainEmbeddingStep(batch, 2);
    for (let step = 3; step < 20; step++) await model.trainEmbeddingStep(batch, step);
    const after = await model.readState();
    expect(after.body).toEqual(before.body);
    expect(after.bodyMoment1).toEqual(before.bodyMoment1);
    expect(after.bodyMoment2).toEqual(before.bodyMoment2);
    expect(after.momentSteps).toBe(2);
    expect(after.embedding).not.toEqual(before.embedding);
    expect((await model.trainEmbeddingStep(batch, 20)).loss).toBeLessThan(loss - 0.5);
  });

  it("trains from a body that was written, with the moments it had", async () => {
    const model = await create();
    await losses(model, 0, 2);
    const before = await model.readState();
    const other = genesisBody(config, "other");
    await model.writeBody(other);
    expect(await model.readState()).toEqual({ ...before, body: other });
  });

  it("trains with embeddings that were written, with the moments it had", async () => {
    const model = await create();
    await losses(model, 0, 2);
    const before = await model.readState();
    expect(await model.readEmbedding()).toEqual(before.embedding);
    const other = initialEmbedding(config, "other");
    await model.writeEmbedding(other);
    expect(await model.readState()).toEqual({ ...before, embedding: other });
    await expect(model.writeEmbedding(other.slice(1))).rejects.toThrow(TensorSizeError);
  });

  it("takes calls in the order they were made, whoever waits for them", async () => {
    const [together, apart] = [await create(), await create()];
    const batches = [0, 1, 2].map((at) => batchOf(`${at}`));
    const calls = batches.map((batch, step) => together.trainStep(batch, step));
    const body = together.readBody();
    const later = together.trainStep(batches[0]!, 3);
    const results = await Promise.all(calls);
    for (const [step, batch] of batches.entries()) {
      expect(results[step]!.loss).toBeCloseTo((await apart.trainStep(batch, step)).loss, 5);
    }
    // The body after three steps, although a fourth was asked for before anyone looked.
    const [readTogether, readApart] = [await body, await apart.readBody()];
    const apartness = Math.max(...readTogether.map((value, at) => Math.abs(value - readApart[at]!)));
    expect(apartness).toBeLessThan(1e-4);
    await later;
    expect((await together.readState()).momentSteps).toBe(4);
  });

  it("reports the schedule's learning rate", async () => {
    const model = await create();
    const { learningRate } = await model.trainStep(batchOf("rate"), 30);
    expect(learningRate).toBe(learningRateAt(optimizer, 30));
  });

  it("moves the embedding by a schedule of its own, begun anew at its end, and the body by the common one", async () => {
    const own = { learningRate: 4e-3, warmupSteps: 0, totalSteps: 5, finalLearningRateRatio: 0.5 };
    const model = await create({ embeddingSchedule: own, optimizer: { ...optimizer, weightDecay: 0 } });
    // With moments of zero AdamW's first step moves whatever has a gradient by the learning rate.
    for (const [step, within] of [
      [7, 2],
      [10, 0],
    ] as const) {
      await model.resetMoments();
      const before = await model.readState();
      await model.trainStep(batchOf("first"), step);
      const after = await model.readState();
      const largest = (group: "body" | "embedding") =>
        Math.max(...after[group].map((value, at) => Math.abs(value - before[group][at]!)));
      expect(largest("embedding") / learningRateAt(own, within)).toBeCloseTo(1, 3);
      expect(largest("body") / learningRateAt(optimizer, step)).toBeCloseTo(1, 3);
    }
    const never = { ...own, totalSteps: 0 };
    await expect(createOpen({ embeddingSchedule: never })).rejects.toThrow(ModelConfigError);
  });

  it("leaves everything as it was where a step is not finite", async () => {
    const model = await create();
    await losses(model, 0, 2);
    const state = await model.readState();
    const broken = state.body.slice();
    broken[100] = Number.NaN;
    await model.writeBody(broken);
    await expect(model.trainStep(batchOf("nan"), 2)).rejects.toThrow(NonFiniteStepError);
    await model.writeBody(state.body);
    expect(await model.readState()).toEqual(state);
  });

  it("refuses what does not fit it, and stays usable", async () => {
    const model = await create();
    const good = batchOf("good");
    await expect(model.trainStep({ ...good, inputs: good.inputs.slice(1) }, 0)).rejects.toThrow(
      TensorSizeError,
    );
    await expect(model.evaluate({ ...good, targets: good.targets.with(3, 37) })).rejects.toThrow(
      TokenOutOfRangeError,
    );
    await expect(model.trainStep({ ...good, inputs: good.inputs.with(0, -1) }, 0)).rejects.toThrow(
      TokenOutOfRangeError,
    );
    await expect(model.writeBody(new Float32Array(3))).rejects.toThrow(TensorSizeError);
    const state = await model.readState();
    const misfit = { ...state, body: state.body.fill(0), embeddingMoment2: new Float32Array(1) };
    await expect(model.writeState(misfit)).rejects.toThrow(TensorSizeError);
    expect(await model.readBody()).toEqual(genesisBody(config, "test"));
    await expect(model.trainStep(good, 0)).resolves.toMatchObject({ loss: expect.any(Number) });
  });

  it("takes a step in micro-batches that is the step of the whole batch", async () => {
    // A clip far below the norms: were it done per micro-batch, their sum would be another direction.
    const changes = { batchSize: 6, optimizer: { ...optimizer, gradientClip: 0.1 } };
    const [whole, parts] = [await create(changes), await create({ ...changes, microBatchSize: 2 })];
    for (let step = 0; step < 4; step++) {
      const batch = batchOf(`${step}`, 6);
      const [expected, actual] = [await whole.trainStep(batch, step), await parts.trainStep(batch, step)];
      expect(Math.abs(actual.loss / expected.loss - 1)).toBeLessThan(1e-6);
      expect(Math.abs(actual.gradientNorm / expected.gradientNorm - 1)).toBeLessThan(1e-5);
      expect(actual.gradientNorm).toBeGreaterThan(0.1);
    }
    const [expected, actual] = [await whole.readState(), await parts.readState()];
    for (const key of ["bodyMoment1", "embeddingMoment1"] as const) {
      expect(relativeDistance(actual[key], expected[key]), key).toBeLessThan(1e-5);
    }
    for (const key of ["body", "embedding"] as const) {
      expect(relativeDistance(actual[key], expected[key]), key).toBeLessThan(1e-5);
    }
    expect(actual.momentSteps).toBe(4);
  });

  it("takes embedding steps in micro-batches with the body left alone", async () => {
    const [whole, parts] = [await create(), await create({ microBatchSize: 1 })];
    const before = await parts.readState();
    for (let step = 0; step < 3; step++) {
      const batch = batchOf(`${step}`);
      const { loss } = await whole.trainEmbeddingStep(batch, step);
      expect((await parts.trainEmbeddingStep(batch, step)).loss / loss).toBeCloseTo(1, 6);
    }
    const after = await parts.readState();
    expect({ ...after, embedding: 0, embeddingMoment1: 0, embeddingMoment2: 0 }).toEqual({
      ...before,
      embedding: 0,
      embeddingMoment1: 0,
      embeddingMoment2: 0,
      embeddingMomentSteps: 3,
    });
    expect(relativeDistance(after.embedding, (await whole.readState()).embedding)).toBeLessThan(1e-5);
  });

  it("evaluates any number of micro-batches", async () => {
    const [whole, parts] = [await create({ batchSize: 6 }), await create({ microBatchSize: 1 })];
    const six = batchOf("six", 6);
    const { nats, tokens } = await parts.evaluate(six);
    expect(tokens).toBe(6 * config.sequenceLength);
    expect(nats / (await whole.evaluate(six)).nats).toBeCloseTo(1, 6);
    await expect(parts.evaluate(batchOf("none", 0))).rejects.toThrow(TensorSizeError);
    await expect(whole.evaluate(batchOf("four", 4))).rejects.toThrow(TensorSizeError);
    await expect(parts.trainStep(six, 0)).rejects.toThrow(TensorSizeError);
  });

  it("leaves everything as it was where a step in micro-batches is not finite or is called off", async () => {
    const model = await create({ microBatchSize: 1 });
    await losses(model, 0, 2);
    const state = await model.readState();
    const aborted = model.trainStep(batchOf("aborted"), 2, AbortSignal.abort());
    await expect(aborted).rejects.toThrow(expect.objectContaining({ name: "AbortError" }));
    const during = new AbortController();
    const running = model.trainStep(batchOf("during"), 2, during.signal);
    queueMicrotask(() => during.abort());
    await expect(running).rejects.toThrow(expect.objectContaining({ name: "AbortError" }));
    expect(await model.readState()).toEqual(state);
    await model.writeBody(state.body.with(100, Number.NaN));
    await expect(model.trainStep(batchOf("nan"), 2)).rejects.toThrow(NonFiniteStepError);
    await model.writeBody(state.body);
    expect(await model.readState()).toEqual(state);
  });

  it("is refused where its configuration cannot be built", async () => {
    await expect(create({ microBatchSize: 2 })).rejects.toThrow(ModelConfigError);
    await expect(create({ microBatchSize: 6 })).rejects.toThrow(ModelConfigError);
    await expect(create({ config: { ...config, heads: 5 } })).rejects.toThrow(ModelConfigError);
    await expect(create({ batchSize: 0 })).rejects.toThrow(ModelConfigError);
    await expect(create({ optimizer: { ...optimizer, beta2: 1 } })).rejects.toThrow(ModelConfigError);
    await expect(create({ embedding: new Float32Array(37) })).rejects.toThrow(TensorSizeError);
  });

  it("follows the losses of the cpu", async () => {
    const [here, onCpu] = [await create(), await create({ device: "cpu", threads: 1 })];
    const [ours, theirs] = [await losses(here, 0, 10), await losses(onCpu, 0, 10)];
    ours.forEach((loss, step) => {
      expect(Math.abs(loss - theirs[step]!)).toBeLessThan(1e-4);
    });
    const body = await here.readBody();
    const drift = (await onCpu.readBody()).map((value, at) => Math.abs(value - body[at]!));
    expect(Math.max(...drift)).toBeLessThan(1e-3);
  });

  it.each([
    { how: "at once", microBatchSize: 3 },
    { how: "in micro-batches", microBatchSize: 1 },
  ])(
    "keeps its state on the device: only tokens and single numbers cross in a step $how",
    async (changes) => {
      const model = await create(changes);
      const start = model.transfers();
      // Compiles, and brings the state there.
      await model.trainStep(batchOf("first"), 0);
      const before = model.transfers();
      const steps = 3;
      for (let step = 1; step <= steps; step++) await model.trainStep(batchOf(`${step}`), step);
      const after = model.transfers();
      const moved = {
        toDeviceBytes: (after.toDeviceBytes - before.toDeviceBytes) / steps,
        fromDeviceBytes: (after.fromDeviceBytes - before.fromDeviceBytes) / steps,
      };
      if (device === "cpu") {
        expect(after).toEqual({ toDeviceBytes: 0, fromDeviceBytes: 0 });
      } else if (device === "webgpu") {
        const parts = batchSize / changes.microBatchSize;
        const tokenBytes = 2 * 4 * batchSize * config.sequenceLength;
        // Rate and two corrections of each group, and the zero that sums begin with; the loss of each part, and the norm.
        const numbers = 6 + (parts > 1 ? 1 : 0);
        expect(moved).toEqual({ toDeviceBytes: tokenBytes + 4 * numbers, fromDeviceBytes: 4 * (parts + 1) });
        expect(before.toDeviceBytes - start.toDeviceBytes).toBeGreaterThan(12 * bodyLength(config));
        // What is read crosses, and is counted.
        const { length } = await model.readBody();
        expect(model.transfers().fromDeviceBytes - after.fromDeviceBytes).toBe(4 * length);
      }
    },
  );

  it("computes in float16 where the device does, and says so where it does not", async () => {
    const asked = create({ precision: "float16" }).catch((error: unknown) => error);
    const model = await asked;
    if (model instanceof Error) {
      expect(device).not.toBe("cpu");
      expect(model).toBeInstanceOf(PrecisionUnavailableError);
      expect(model).toMatchObject({ code: "PRECISION_UNAVAILABLE", device, precision: "float16" });
      console.info(`${device} is not tested in float16: ${model.message}`);
      return;
    }
    const [ours, theirs] = [await losses(model as TrainingModel, 0, 10), await losses(await create(), 0, 10)];
    ours.forEach((loss, step) => {
      expect(Math.abs(loss / theirs[step]! - 1)).toBeLessThan(0.02);
    });
    expect(ours).not.toEqual(theirs);
  });

  it("says that it was disposed of", async () => {
    const model = await create();
    const running = model.trainStep(batchOf("running"), 0);
    await model.dispose();
    await model.dispose();
    await expect(running).resolves.toMatchObject({ learningRate: learningRateAt(optimizer, 0) });
    await expect(model.trainStep(batchOf("late"), 0)).rejects.toThrow(ModelDisposedError);
    await expect(model.readBody()).rejects.toThrow(ModelDisposedError);
  });
});

// On webgpu rows that share an id are added in whatever order its threads come, so these hold on the cpu alone.
describe("a training model on the cpu, to the last bit,", () => {
  const create = (changes: Partial<TrainingModelOptions> = {}) => createOpen({ device: "cpu", ...changes });

  it("gives the same losses twice from one start", async () => {
    const [a, b] = [await create(), await create()];
    expect(await losses(a, 0, 12)).toEqual(await losses(b, 0, 12));
    expect(await a.readState()).toEqual(await b.readState());
  });

  it("gives the same losses twice in micro-batches", async () => {
    const [a, b] = [await create({ microBatchSize: 1 }), await create({ microBatchSize: 1 })];
    expect(await losses(a, 0, 6)).toEqual(await losses(b, 0, 6));
    expect(await a.readState()).toEqual(await b.readState());
  });

  it.each([3, 1])(
    "trains the same with values that are computed again, %i sequences at once",
    async (microBatchSize) => {
      const [kept, again] = [
        await create({ microBatchSize }),
        await create({ microBatchSize, recompute: true }),
      ];
      expect(await losses(again, 0, 6)).toEqual(await losses(kept, 0, 6));
      expect(await again.readState()).toEqual(await kept.readState());
      await again.trainEmbeddingStep(batchOf("apart"), 6);
      await kept.trainEmbeddingStep(batchOf("apart"), 6);
      expect(await again.readState()).toEqual(await kept.readState());
    },
  );

  it("goes on from a state that was read and written back", async () => {
    const a = await create();
    await losses(a, 0, 5);
    await a.trainEmbeddingStep(batchOf("apart"), 5);
    const state = await a.readState();
    expect(state).toMatchObject({ momentSteps: 5, embeddingMomentSteps: 6 });
    const goneOn = await losses(a, 5, 11);

    const b = await create({ body: new Float32Array(bodyLength(config)).fill(0.5) });
    await b.writeState(state);
    expect(await losses(b, 5, 11)).toEqual(goneOn);
    expect(await b.readState()).toEqual(await a.readState());
  });

  it("takes the first step after resetMoments as one with moments of zero", async () => {
    const used = await create();
    await losses(used, 0, 4);
    await used.resetMoments();
    const { body, embedding } = await used.readState();
    const fresh = await create({ body, embedding });
    expect(await losses(used, 4, 8)).toEqual(await losses(fresh, 4, 8));
    expect(await used.readState()).toEqual(await fresh.readState());
  });
});
