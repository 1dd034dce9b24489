import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bodyLength, embeddingLength } from "#model/architecture.ts";
import { genesisBody, genesisShared, initialEmbedding } from "#model/genesis.ts";
import { createTrainingModel } from "#model/training-model.ts";
import { SharedParameters } from "./shared-parameters.ts";

const width = 3;
const bodyValues = 5;
const count = (length: number, from = 0) => Float32Array.from({ length }, (_, at) => from + at);

describe("shared parameters", () => {
  it("are the held part itself where all of it is held", () => {
    for (const view of [
      new SharedParameters(bodyValues),
      new SharedParameters(bodyValues, { width, vocabularySize: 4, rows: undefined }),
    ]) {
      const shared = count(view.sharedLength);
      expect(view.gather(shared)).toBe(shared);
      expect(view.scatter(shared)).toBe(shared);
    }
  });

  it("hold the body and the rows named, in order", () => {
    const view = new SharedParameters(bodyValues, {
      width,
      vocabularySize: 4,
      rows: Int32Array.of(1, 3),
    });
    const shared = count(view.sharedLength);
    expect([...view.gather(shared)]).toEqual([0, 1, 2, 3, 4, 8, 9, 10, 14, 15, 16]);
    expect([...view.scatter(count(view.heldLength, 1))]).toEqual([
      ...[1, 2, 3, 4, 5, 0, 0, 0, 6, 7, 8, 0, 0, 0, 9, 10, 11],
    ]);
  });

  it("come back from a shared array as they went into it, and leave zeros in every other row", () => {
    const subsets = fc
      .array(fc.boolean(), { minLength: 1, maxLength: 40 })
      .map((held) => ({ vocabularySize: held.length, rows: held.flatMap((is, row) => (is ? [row] : [])) }));
    fc.assert(
      fc.property(subsets, fc.integer({ min: 1, max: 9 }), ({ vocabularySize, rows }, size) => {
        const view = new SharedParameters(bodyValues, {
          width: size,
          vocabularySize,
          rows: Int32Array.from(rows),
        });
        const held = count(view.heldLength, 1);
        const shared = view.scatter(held);
        expect(view.gather(shared)).toEqual(held);
        expect(shared.filter((value) => value !== 0)).toHaveLength(view.heldLength);
      }),
    );
  });

  it("refuse rows that are no ascending ids, and arrays of another length", () => {
    for (const rows of [[0, 0], [2, 1], [-1], [4]]) {
      const embedding = { width, vocabularySize: 4, rows: Int32Array.from(rows) };
      expect(() => new SharedParameters(bodyValues, embedding)).toThrow(RangeError);
    }
    const view = new SharedParameters(bodyValues, { width, vocabularySize: 4, rows: Int32Array.of(2) });
    expect(() => view.gather(count(view.sharedLength - 1))).toThrow(/16 values instead of 17/);
    expect(() => view.scatter(count(view.sharedLength))).toThrow(/17 values instead of 8/);
  });

  it("are the model's body alone, or its body and its embedding", async () => {
    const config = { blocks: 1, width: 8, heads: 2, sequenceLength: 4, vocabularySize: 6 };
    const body = genesisBody(config, 1);
    const embedding = initialEmbedding(config, 1);
    const optimizer = {
      ...{ learningRate: 0.01, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0, gradientClip: 1 },
      ...{ warmupSteps: 0, totalSteps: 1, finalLearningRateRatio: 0.1 },
    };
    const model = await createTrainingModel({
      ...{ config, optimizer, batchSize: 1, device: "cpu", threads: 1, body, embedding },
    });
    const own = new SharedParameters(bodyLength(config));
    expect(await own.read(model)).toEqual(body);
    await own.write(model, body.toReversed());
    expect(await model.readEmbedding()).toEqual(embedding);

    const rows = Int32Array.of(0, 1, 2, 5, 7, 8);
    const held = new SharedParameters(body.length, { width: config.width, vocabularySize: 9, rows });
    const shared = genesisShared(config, 9, "other");
    await held.write(model, held.gather(shared));
    const read = held.scatter(await held.read(model));
    expect(read.subarray(0, body.length)).toEqual(shared.subarray(0, body.length));
    const row = (of: Float32Array, id: number) =>
      of.slice(body.length + id * config.width, body.length + (id + 1) * config.width);
    for (let id = 0; id < 9; id++) {
      expect(row(read, id)).toEqual(rows.includes(id) ? row(shared, id) : new Float32Array(config.width));
    }
    expect(await model.readEmbedding()).toHaveLength(embeddingLength(config));
    await model.dispose();
  });
});
