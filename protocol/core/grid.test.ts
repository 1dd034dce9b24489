import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GRID_UNITS, MAX_UPDATE_VALUE, MAX_UPDATE_WEIGHT, MAX_UPDATES_PER_ROUND, toGrid } from "./grid.ts";

describe("the grid", () => {
  it("rounds halves upwards, to either side of zero, and knows no negative zero", () => {
    const units = [-1.5, -1, -0.5, -0.25, -0, 0.25, 0.5, 1.5, 2 ** -40, -(2 ** -120)];
    const grid = units.map((value) => toGrid(value / GRID_UNITS));
    expect(grid).toEqual([-1, -1, 0, 0, 0, 0, 1, 2, 0, 0]);
  });

  it("rounds any float32 as exact rational arithmetic does", () => {
    const float = fc.float({ min: -4, max: 4, noNaN: true });
    fc.assert(
      fc.property(float, (value) => {
        // value * 2^180 is an integer for every float32: floor(value * 2^30 + 1/2) by integers alone.
        const scaled = BigInt(value * 2 ** 180) + 2n ** 149n;
        expect(BigInt(toGrid(value))).toBe(scaled >> 150n);
      }),
      { numRuns: 1000 },
    );
  });

  it("keeps the largest possible sum of a round below 2^53, where float64 stops being exact", () => {
    const largest =
      BigInt(toGrid(MAX_UPDATE_VALUE)) * BigInt(MAX_UPDATE_WEIGHT) * BigInt(MAX_UPDATES_PER_ROUND);
    expect(largest).toBe(2n ** 53n - 2n ** 42n);
    expect(largest).toBeLessThanOrEqual(BigInt(Number.MAX_SAFE_INTEGER));
  });
});
