import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Batch } from "../types.ts";
import { BatchStream, countTargetBytes, validationBatches } from "./batches.ts";
import { CorpusTooSmallForSequenceError, DataPositionMismatchError } from "./errors.ts";
import { TokenFileWriter, type TokenSplit } from "./token-file.ts";

/** Token i of the file is i, so that a batch shows where it was taken. */
const TOKENS = 1003;
const BYTE_LENGTHS = Uint8Array.from({ length: TOKENS }, (_, id) => id % 4);

let folder: string;
let split: TokenSplit;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "batches-"));
  split = await write(TOKENS);
});
afterAll(() => rmSync(folder, { recursive: true }));

async function write(tokens: number): Promise<TokenSplit> {
  const source = { vocabularySize: TOKENS, endOfText: 0, byteLengths: BYTE_LENGTHS };
  const writer = await TokenFileWriter.create(join(folder, `${tokens}.bin`), source);
  await writer.append(Array.from({ length: tokens }, (_, i) => i));
  return writer.finish();
}

function rows(batch: Batch): number[][] {
  const { batchSize, sequenceLength } = batch;
  return Array.from({ length: batchSize }, (_, row) => [
    ...batch.inputs.slice(row * sequenceLength, (row + 1) * sequenceLength),
  ]);
}

describe("a stream of batches", () => {
  const options = { batchSize: 3, sequenceLength: 10, seed: 5 };

  test("predicts each token's successor", () => {
    const stream = new BatchStream(split, options);
    const batch = stream.next();
    expect(batch.inputs).toHaveLength(30);
    expect([...batch.targets]).toEqual([...batch.inputs].map((id) => id + 1));
    for (const row of rows(batch)) expect(row).toEqual(row.map((_, i) => row[0]! + i));
    stream.close();
  });

  test("goes over all tokens once an epoch, cut elsewhere and in another order in the next", () => {
    const stream = new BatchStream(split, { ...options, batchSize: 1 });
    const epochs: number[][] = [[], [], []];
    while (stream.position.epoch < 3) {
      const start = stream.next().inputs[0]!;
      epochs[stream.position.epoch]?.push(start);
    }
    for (const starts of epochs) {
      const sorted = [...starts].sort((a, b) => a - b);
      expect(sorted[0]).toBeLessThan(10);
      expect(sorted.every((start, i) => i === 0 || start === sorted[i - 1]! + 10)).toBe(true);
      expect(TOKENS - 1 - (sorted.at(-1)! + 10)).toBeLessThan(10); // nothing that a window more would have held
      expect(starts).not.toEqual(sorted);
    }
    expect(new Set(epochs.map((starts) => Math.min(...starts))).size).toBeGreaterThan(1);
    stream.close();
  });

  test("goes on from a saved position with the very next window, across epochs", () => {
    const stream = new BatchStream(split, options);
    for (let step = 0; step < 200; step++) {
      const saved = JSON.parse(JSON.stringify(stream.position));
      const restored = BatchStream.restore(split, options, saved);
      const batch = stream.next();
      if (step % 9 === 0) expect(restored.next()).toEqual(batch);
      restored.close();
    }
    expect(stream.position.epoch).toBeGreaterThan(3);
    stream.close();
  });

  test("depends on its seed alone", () => {
    const first = (seed: number) => {
      const stream = new BatchStream(split, { ...options, seed });
      const starts = rows(stream.next()).map((row) => row[0]);
      stream.close();
      return starts;
    };
    expect(first(5)).toEqual(first(5));
    expect(first(5)).not.toEqual(first(6));
  });

  test("of a file that is as small as can be repeats its window", async () => {
    const stream = new BatchStream(await write(20), options);
    for (let i = 0; i < 20; i++)
      expect(
        rows(stream.next())
          .flat()
          .every((id) => id < 20),
      ).toBe(true);
    stream.close();
  });

  test("of a smaller file is refused with the numbers", async () => {
    const small = await write(19);
    const open = () => new BatchStream(small, options);
    expect(open).toThrow(CorpusTooSmallForSequenceError);
    expect(open).toThrow("19 training tokens, but the run's sequence length needs at least 20");
  });

  test("refuses a position over other tokens or of another length", () => {
    const stream = new BatchStream(split, options);
    const { position } = stream;
    stream.close();
    const restore = (shape: object, at: object) => () =>
      BatchStream.restore(split, { ...options, ...shape }, { ...position, ...at });
    expect(restore({}, { tokens: 5 })).toThrow(DataPositionMismatchError);
    expect(restore({ sequenceLength: 20 }, {})).toThrow(DataPositionMismatchError);
    expect(restore({}, { window: 101 })).toThrow(DataPositionMismatchError);
    expect(restore({}, { epoch: -1 })).toThrow(DataPositionMismatchError);
  });

  test("follows a text that has changed with its next epoch, and one that has not with the next window", async () => {
    const kept = { ...split, digest: "of this text" };
    const stream = new BatchStream(kept, options);
    stream.next();
    const { position } = stream;
    stream.close();
    const follow = (over: TokenSplit, at = position) => {
      const followed = BatchStream.follow(over, options, at);
      followed.close();
      return followed.position;
    };
    expect(follow(kept)).toEqual(position);
    // Positions were kept without a digest once.
    const { digest: _, ...old } = position;
    expect(follow(kept, old)).toEqual(position);
    const next = { seed: 5, sequenceLength: 10, epoch: 1, window: 0 };
    expect(follow({ ...kept, digest: "of another" })).toEqual({
      ...next,
      tokens: TOKENS,
      digest: "of another",
    });
    expect(follow(await write(400), old)).toEqual({ ...next, tokens: 400 });
    expect(() => follow(kept, { ...position, sequenceLength: 20 })).toThrow(DataPositionMismatchError);
  });
});

test("the bytes of a batch are those of its targets", () => {
  const [batch] = validationBatches(split, { batchSize: 1, sequenceLength: 6, maximumTokens: 6 });
  expect([...batch!.targets]).toEqual([1, 2, 3, 4, 5, 6]);
  expect(countTargetBytes(batch!, BYTE_LENGTHS)).toBe(1 + 2 + 3 + 0 + 1 + 2);
});

describe("validation", () => {
  const shape = { batchSize: 4, sequenceLength: 10 };

  test("goes over the held-out tokens in order, the same each time, in whole batches", () => {
    const batches = [...validationBatches(split, { ...shape, maximumTokens: Number.POSITIVE_INFINITY })];
    expect(batches).toHaveLength(25);
    expect(batches.flatMap((batch) => [...batch.inputs])).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(batches.flatMap((batch) => [...batch.targets])).toEqual(
      Array.from({ length: 1000 }, (_, i) => i + 1),
    );
  });

  test("stops at its cap, after one batch at least", () => {
    const count = (maximumTokens: number) =>
      [...validationBatches(split, { ...shape, maximumTokens })].length;
    expect(count(200)).toBe(5);
    expect(count(239)).toBe(5);
    expect(count(1)).toBe(1);
  });

  test("of less than a batch is refused with the numbers", async () => {
    const small = await write(40);
    expect(() => [...validationBatches(small, { ...shape, maximumTokens: 100 })]).toThrow(
      "40 validation tokens",
    );
    expect([...validationBatches(await write(41), { ...shape, maximumTokens: 100 })]).toHaveLength(1);
  });
});
