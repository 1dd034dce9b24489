import { describe, expect, it } from "vitest";
import { bodyLength, embeddingLength } from "./architecture.ts";
import { findFittingPlan, flopsPerToken, planMemory } from "./plan.ts";
import type { ModelConfig } from "./types.ts";

const MIB = 2 ** 20;
const config: ModelConfig = { blocks: 8, width: 256, heads: 4, sequenceLength: 256, vocabularySize: 8192 };

describe("a plan's parameters", () => {
  // The paper's sizes (Iacob et al. 2025, table 9) take the body as nominal size less embedding, 1-2% off a count.
  const paper = [
    { blocks: 12, width: 768, heads: 12, vocabularySize: 50_257, body: 86.4e6, embedding: 38.6e6 },
    { blocks: 12, width: 768, heads: 12, vocabularySize: 250_112, body: 86.4e6, embedding: 192.1e6 },
    { blocks: 24, width: 1024, heads: 16, vocabularySize: 50_257, body: 298e6, embedding: 51.4e6 },
    { blocks: 24, width: 2048, heads: 16, vocabularySize: 250_112, body: 1.2e9, embedding: 512.2e6 },
    { blocks: 24, width: 2048, heads: 16, vocabularySize: 50_257, body: 1.2e9, embedding: 102.9e6 },
  ];
  it.each(paper)("of $blocks blocks of width $width and $vocabularySize tokens are the paper's", (size) => {
    expect(Math.abs(bodyLength(size) / size.body - 1)).toBeLessThan(0.02);
    expect(Math.abs(embeddingLength(size) / size.embedding - 1)).toBeLessThan(0.002);
  });

  // Counted: a body of MPT without biases has 12 d^2 + 2 d parameters a block and d for its last norm; with biases, which MPT
  // has where it is not told otherwise, 11 d a block and d more. The totals are the paper's, in its own rounding.
  it.each([
    { ...paper[0]!, exact: 84_953_856, biasedMillions: 85.06, totalMillions: 125, off: 1.6 },
    { ...paper[1]!, exact: 84_953_856, biasedMillions: 85.06, totalMillions: 278, off: 1.2 },
    { ...paper[2]!, exact: 302_040_064, biasedMillions: 302.3, totalMillions: 350, off: 3.6 },
    { ...paper[3]!, exact: 1_208_059_904, biasedMillions: 1208.6, totalMillions: 1710, off: 10.5 },
    { ...paper[4]!, exact: 1_208_059_904, biasedMillions: 1208.6, totalMillions: 1300, off: 11.1 },
  ])(
    "of $blocks blocks of width $width are $exact in the body, $totalMillions million with $vocabularySize tokens",
    (size) => {
      expect(bodyLength(size)).toBe(size.exact);
      expect(bodyLength(size)).toBe(size.blocks * (12 * size.width ** 2 + 2 * size.width) + size.width);
      const biases = 11 * size.blocks * size.width + size.width;
      expect(Math.abs((size.exact + biases) / 1e6 / size.biasedMillions - 1)).toBeLessThan(1e-4);
      expect(embeddingLength(size)).toBe(size.vocabularySize * size.width);
      const millions = (bodyLength(size) + embeddingLength(size)) / 1e6;
      expect(Math.abs(millions - size.totalMillions)).toBeLessThan(size.off);
    },
  );
});

describe("a plan's memory", () => {
  it("has parts that add up to the total", () => {
    const { total, ...parts } = planMemory(config, { batchSize: 8, microBatchSize: 4, recompute: false });
    expect(Object.values(parts).reduce((sum, part) => sum + part)).toBe(total);
  });

  // Peak resident sizes of child processes, `npm run bench -- memory` (docs/decisions.md has the table).
  const large: ModelConfig = {
    blocks: 6,
    width: 512,
    heads: 8,
    sequenceLength: 512,
    vocabularySize: 32_000,
  };
  const long: ModelConfig = {
    blocks: 2,
    width: 512,
    heads: 8,
    sequenceLength: 2048,
    vocabularySize: 8192,
  };
  it.each([
    { of: config, plan: { batchSize: 8, microBatchSize: 8, recompute: false }, measuredMiB: 979 },
    { of: config, plan: { batchSize: 8, microBatchSize: 8, recompute: true }, measuredMiB: 764 },
    { of: config, plan: { batchSize: 8, microBatchSize: 2, recompute: false }, measuredMiB: 563 },
    { of: config, plan: { batchSize: 8, microBatchSize: 2, recompute: true }, measuredMiB: 481 },
    { of: large, plan: { batchSize: 2, microBatchSize: 1, recompute: false }, measuredMiB: 1170 },
    { of: large, plan: { batchSize: 2, microBatchSize: 1, recompute: true }, measuredMiB: 1174 },
    { of: long, plan: { batchSize: 1, microBatchSize: 1, recompute: false }, measuredMiB: 1361 },
    { of: long, plan: { batchSize: 1, microBatchSize: 1, recompute: true }, measuredMiB: 1270 },
  ])("is within a quarter of the $measuredMiB MiB that were measured", ({ of, plan, measuredMiB }) => {
    const ratio = planMemory(of, plan).total / (measuredMiB * MIB);
    expect(ratio).toBeGreaterThan(0.95);
    expect(ratio).toBeLessThan(1.25);
  });

  it("of activations is about proportional to the micro-batch, and little of it is left by recomputation", () => {
    const activations = (microBatchSize: number, recompute: boolean) =>
      planMemory({ ...config, vocabularySize: 256 }, { batchSize: 16, microBatchSize, recompute })
        .activations;
    expect(activations(8, false) / activations(4, false)).toBeGreaterThan(1.8);
    expect(activations(8, true)).toBeLessThan(0.4 * activations(8, false));
  });

  it("stays far below logits of all tokens for the largest vocabulary", () => {
    const wide: ModelConfig = { ...config, sequenceLength: 1024, blocks: 1, vocabularySize: 250_112 };
    const { activations } = planMemory(wide, { batchSize: 8, microBatchSize: 4, recompute: false });
    const wholeLogits = 4 * 4 * 1024 * 250_112;
    expect(activations).toBeLessThan(0.5 * wholeLogits);
  });
});

describe("the plan that fits", () => {
  const plan = (bytes: number) => findFittingPlan(config, 8, bytes);
  const bytesOf = (microBatchSize: number, recompute: boolean) =>
    planMemory(config, { batchSize: 8, microBatchSize, recompute }).total;

  it("is the whole batch at once where there is room", () => {
    expect(plan(2 ** 40)).toEqual({ batchSize: 8, microBatchSize: 8, recompute: false });
  });

  it("is the largest micro-batch otherwise, and recomputation only where no micro-batch will do", () => {
    expect(plan(bytesOf(8, false) - 1)).toEqual({ batchSize: 8, microBatchSize: 4, recompute: false });
    expect(bytesOf(1, true)).toBeLessThan(bytesOf(1, false));
    expect(plan(bytesOf(1, false) - 1)).toMatchObject({ recompute: true });
  });

  it("is none where not even one sequence fits", () => {
    expect(plan(bytesOf(1, true) - 1)).toBeUndefined();
  });
});

describe("the arithmetic of a token", () => {
  it("is six times the matrix weights and twelve T d a block, with a forward pass more where blocks are recomputed", () => {
    const { blocks, width, sequenceLength, vocabularySize } = config;
    const blockWeights = blocks * 12 * width * width;
    const attention = blocks * sequenceLength * width;
    const kept = 6 * (blockWeights + vocabularySize * width) + 12 * attention;
    expect(flopsPerToken(config)).toBe(kept);
    expect(flopsPerToken(config, true)).toBe(kept + 2 * blockWeights + 4 * attention);
  });
});
