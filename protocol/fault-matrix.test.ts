// A fault at each phase of a round; `npm run bench -- sim --seeds N` takes more seeds than a test may.
import { describe, expect, it } from "vitest";
import { FAULTS, MOMENTS, matrixCases, runCase } from "./testing/fault-matrix.ts";

describe("a swarm of four, disturbed around one of its peers", () => {
  const cases = matrixCases([1]);

  it("meets every fault at every moment", () => {
    expect(cases.length).toBe(FAULTS.length * MOMENTS.length);
  });

  it.each(cases)("by $fault at $moment ends with one body and nothing lost (seed $seed)", async (entry) => {
    expect(await runCase(entry)).toBeUndefined();
  });
});
