import { expect, test } from "vitest";
import { measureMemory } from "./memory.ts";

test("a process that trains in another process peaks near its plan", async () => {
  const row = await measureMemory({
    config: { blocks: 1, width: 32, heads: 2, sequenceLength: 16, vocabularySize: 300 },
    plan: { batchSize: 2, microBatchSize: 1, recompute: true },
    threads: 1,
    steps: 1,
  });
  expect(row.peakBytes).toBeGreaterThan(50 * 2 ** 20);
  expect(row.ratio).toBe(row.plannedBytes / row.peakBytes);
  expect(row.ratio).toBeGreaterThan(0.5);
  expect(row.ratio).toBeLessThan(2.5);
});
