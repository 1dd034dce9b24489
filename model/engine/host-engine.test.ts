import { describe, expect, it } from "vitest";
import { NonFiniteStepError } from "../errors.ts";
import { modelsFrom, randomBatch, smallConfig, smallOptimizer } from "../testing/small-models.ts";
import type { TrainingModel, TrainingState } from "../types.ts";

const config = smallConfig;
const optimizer = smallOptimizer;
const batchSize = 4;
const create = modelsFrom("shares", { config, optimizer, batchSize, threads: 2, shares: 2 });

const batchOf = (seed: string) => randomBatch(seed, batchSize);

/** Steps of both kinds; gives their losses. */
async function train(model: TrainingModel, from: number, to: number): Promise<number[]> {
  const losses: number[] = [];
  for (let step = from; step < to; step++) {
    const batch = batchOf(`${step}`);
    const take = step % 3 === 2 ? model.trainEmbeddingStep : model.trainStep;
    losses.push((await take.call(model, batch, step)).loss);
  }
  return losses;
}

function expectClose(actual: TrainingState, expected: TrainingState): void {
  for (const name of ["body", "bodyMoment1", "embedding", "embeddingMoment2"] as const) {
    const norm = (values: Float32Array) => Math.hypot(...values);
    const difference = actual[name].map((value, at) => value - expected[name][at]!);
    expect(norm(difference), name).toBeLessThan(1e-5 * norm(expected[name]));
  }
}

describe("a step in two shares, one on a thread of its own,", () => {
  it.each([
    { how: "at once", changes: {} },
    { how: "in micro-batches", changes: { microBatchSize: 2 } },
    { how: "with blocks computed again", changes: { recompute: true } },
  ])("is the step in one share, up to the order of sums, $how", async ({ changes }) => {
    const [one, two] = [await create({ ...changes, shares: 1 }), await create(changes)];
    const [expected, actual] = [await train(one, 0, 5), await train(two, 0, 5)];
    actual.forEach((loss, step) => {
      expect(loss / expected[step]!).toBeCloseTo(1, 6);
    });
    expectClose(await two.readState(), await one.readState());
    // The shares' sums differ in last bits, or nothing was shared at all.
    expect((await two.readState()).body).not.toEqual((await one.readState()).body);
  });

  it("has the same bits every time, and goes on with them from a state written back", async () => {
    const [a, b] = [await create(), await create()];
    expect(await train(a, 0, 4)).toEqual(await train(b, 0, 4));
    const state = await a.readState();
    expect(await b.readState()).toEqual(state);
    const goneOn = await train(a, 4, 8);
    const c = await create({ body: new Float32Array(state.body.length).fill(0.5) });
    await c.writeState(state);
    expect(await train(c, 4, 8)).toEqual(goneOn);
    expect(await c.readState()).toEqual(await a.readState());
  });

  it("changes nothing where it is not finite or is called off", async () => {
    const model = await create({ microBatchSize: 2 });
    await train(model, 0, 2);
    const state = await model.readState();
    const during = new AbortController();
    const running = model.trainStep(batchOf("during"), 2, during.signal);
    queueMicrotask(() => during.abort());
    await expect(running).rejects.toThrow(expect.objectContaining({ name: "AbortError" }));
    expect(await model.readState()).toEqual(state);
    await model.writeBody(state.body.with(100, Number.NaN));
    await expect(model.trainStep(batchOf("nan"), 2)).rejects.toThrow(NonFiniteStepError);
    await model.writeBody(state.body);
    expect(await model.readState()).toEqual(state);
    await expect(model.trainStep(batchOf("good"), 2)).resolves.toMatchObject({
      loss: expect.any(Number),
    });
  });

  it("is not asked of one thread, nor of a micro-batch that is odd", async () => {
    const plain = await create({ shares: 1, threads: 1 });
    const expected = await train(plain, 0, 3);
    expect(await train(await create({ threads: 1 }), 0, 3)).toEqual(expected);
    const odd = await create({ microBatchSize: 1 });
    expect(await train(odd, 0, 3)).toEqual(await train(await create({ microBatchSize: 1, shares: 1 }), 0, 3));
  });
});
