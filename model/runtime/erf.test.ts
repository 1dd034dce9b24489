import { describe, expect, it } from "vitest";
import { erf } from "./erf.ts";

describe("erf", () => {
  // From the C library's erf, which is within one unit in the last place.
  it.each([
    [0.1, 0.1124629160182849],
    [0.5, 0.5204998778130465],
    [1, 0.8427007929497149],
    [2, 0.9953222650189527],
    [2.9, 0.9999589021219005],
    [3.5, 0.9999992569016276],
    [5, 0.9999999999984626],
  ])("of %d is %d", (x, expected) => {
    expect(Math.abs(erf(x) - expected)).toBeLessThan(1e-15);
    expect(erf(-x)).toBe(-erf(x));
  });

  it("is the same by both formulas where they meet", () => {
    expect(Math.abs(erf(3) - erf(3 - 1e-13))).toBeLessThan(4e-16);
  });

  it("keeps the ends and what is not a number", () => {
    expect([erf(30), erf(-30), erf(Infinity)]).toEqual([1, -1, 1]);
    expect(erf(Number.NaN)).toBeNaN();
  });
});
