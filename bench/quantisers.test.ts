import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import { pseudoRandom } from "#protocol/core/golden/vectors.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import { measureQuantisers } from "./quantisers.ts";

const layout = parameterLayout(
  [
    { name: "norm", shape: [7] },
    { name: "matrix", shape: [100, 100] },
  ],
  (bytes) => createHash("sha256").update(bytes).digest(),
);

it("loses nothing with two magnitudes where there are two, and something with one or with even bins", () => {
  // 1 and 3 among much smaller ones, signs strewn; the vector does not count.
  const values = pseudoRandom(3, layout.total, 1e-3).map((value, at) =>
    at >= 7 && at % 97 === 0 ? Math.sign(value) * (at % 2 === 0 ? 1 : 3) : value,
  );
  const report = measureQuantisers(values, layout, 41);
  expect(report.keptEnergy).toBeGreaterThan(0.99);
  expect(report.twoMagnitudes).toBeLessThan(1e-6);
  // Half ones, half threes: the mean 2 is off by 1, squares average 5.
  expect(report.sign).toBeCloseTo(0.2, 2);
  expect(report.fourBins).toBeGreaterThan(0.01);
});
