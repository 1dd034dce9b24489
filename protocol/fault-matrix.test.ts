// A fault at each phase of a round; `npm run bench -- sim --seeds N` takes more seeds than a test may.
import { describe, expect, it } from "vitest";
import { FAULTS, type MatrixCase, MOMENTS, matrixCases, runCase } from "./testing/fault-matrix.ts";

/** Cases that have failed before, each with what it was. */
const FOUND: readonly (MatrixCase & { readonly was: string })[] = [
  // A round that was left in the moment it began: the trainer still stood in the one before, whose progress was published,
  // and carried it into the next update once more.
  { fault: "reorder", moment: "publishing", seed: 11, overlap: "off", was: "progress counted twice" },
  { fault: "partition", moment: "waiting", seed: 45, overlap: "off", was: "progress counted twice" },
];

describe("a swarm of four, disturbed around one of its peers", () => {
  const cases = matrixCases([1]);

  it("meets every fault at every moment", () => {
    expect(cases.length).toBe(2 * FAULTS.length * MOMENTS.length);
  });

  it.each(cases)(
    "by $fault at $moment ends with one body and nothing lost (seed $seed, overlap $overlap)",
    async (entry) => {
      expect(await runCase(entry)).toBeUndefined();
    },
  );

  it.each(FOUND)("by $fault at $moment (seed $seed) no longer ends with $was", async (entry) => {
    expect(await runCase(entry)).toBeUndefined();
  });
});
