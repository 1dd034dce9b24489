import { describe, expect, test } from "vitest";
import type { Batch } from "../types.ts";
import { evaluateBitsPerByte } from "./bits-per-byte.ts";

describe("bits per byte", () => {
  const batch = (targets: readonly number[]): Batch => ({
    inputs: new Int32Array(targets.length),
    targets: Int32Array.from(targets),
    batchSize: 1,
    sequenceLength: targets.length,
  });

  test("are the nats over ln 2 over the bytes, summed over batches of unequal bytes", async () => {
    const nats = [7, 11];
    const model = {
      evaluate: async ({ targets }: Batch) => ({ nats: nats.shift()!, tokens: targets.length }),
    };
    const result = await evaluateBitsPerByte(model, [batch([1, 1, 3]), batch([2, 0])], [0, 2, 3, 5]);
    expect(result).toMatchObject({ tokens: 5, bytes: 12, natsPerToken: 18 / 5 });
    expect(result.bitsPerByte).toBeCloseTo(18 / 12 / Math.LN2, 12);
    expect(result.perplexity).toBeCloseTo(36.598234, 5);
  });

  test("of a model that knows nothing of bytes is eight", async () => {
    const model = {
      evaluate: async ({ targets }: Batch) => ({
        nats: targets.length * Math.log(256),
        tokens: targets.length,
      }),
    };
    const result = await evaluateBitsPerByte(model, [batch([1, 1, 1])], [0, 1]);
    expect(result.bitsPerByte).toBeCloseTo(8, 12);
    expect(result.perplexity).toBeCloseTo(256, 9);
  });

  test("of no text, or when told to stop, are refused", async () => {
    const model = { evaluate: async () => ({ nats: 1, tokens: 1 }) };
    await expect(evaluateBitsPerByte(model, [batch([0])], [0])).rejects.toThrow(RangeError);
    const reason = new Error("stop");
    const stopped = evaluateBitsPerByte(model, [batch([0])], [1], AbortSignal.abort(reason));
    await expect(stopped).rejects.toBe(reason);
  });
});
