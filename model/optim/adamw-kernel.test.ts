import { describe, expect, it } from "vitest";
import { GraphBuilder } from "../graph/builder.ts";
import { hostData } from "../runtime/session.ts";
import { normal } from "../testing/op-samples.ts";
import { runOnCpu } from "../testing/run-on-cpu.ts";
import type { OptimizerConfig } from "../types.ts";
import { allocateFlat } from "../wasm/flat-array.ts";
import { adamW } from "./adamw.ts";
import { AdamWKernel, MEMORIES, stepFactors } from "./adamw-kernel.ts";

const config: OptimizerConfig = {
  learningRate: 0.03,
  beta1: 0.8,
  beta2: 0.93,
  epsilon: 1e-3, // Large, so that an epsilon in the wrong place shows.
  weightDecay: 0.4,
  gradientClip: 1.5,
  warmupSteps: 0,
  totalSteps: 1,
  finalLearningRateRatio: 1,
};

/** Normal values in each array; the second moment's are squares. */
function filled(length: number) {
  const arrays = Object.fromEntries(
    MEMORIES.map((name, lane) => {
      const flat = allocateFlat(length, lane);
      const { data } = normal(`${name} ${length}`, [length], 0.7, 0.1);
      flat.values.set(name === "moment2" ? data.map((value) => value * value) : data);
      return [name, flat];
    }),
  ) as Record<(typeof MEMORIES)[number], ReturnType<typeof allocateFlat>>;
  return { arrays, kernel: new AdamWKernel(config, arrays) };
}

describe("the AdamW kernel", () => {
  // Above and below a whole number of vectors, of eight for the squares; one page of memory and several.
  it.each([1, 3, 4, 8, 21, 64, 1027, 40_001])("gives the graph's bits for %i values", async (length) => {
    const { arrays, kernel } = filled(length);
    const b = new GraphBuilder();
    const [weight, moment1, moment2, gradient] = MEMORIES.map((name) => b.input(name, [length, 1]));
    const scalars = ["learningRate", "biasCorrection1", "biasCorrection2", "scale"] as const;
    const [learningRate, biasCorrection1, biasCorrection2, scale] = scalars.map((name) => b.input(name, []));
    const update = adamW(
      b,
      config,
      { learningRate: learningRate!, biasCorrection1: biasCorrection1!, biasCorrection2: biasCorrection2! },
      scale!,
    );
    const after = update({ weight: weight!, moment1: moment1!, moment2: moment2! }, gradient!);
    // Powers of two: factors that the graph works out in float32 and the host in float64 are the same numbers.
    const powers = { learningRate: 2 ** -5, biasCorrection1: 0.25, biasCorrection2: 0.25, scale: 0.5 };
    const expected = await runOnCpu(b.build({ w: after.weight, m: after.moment1, v: after.moment2 }), {
      ...Object.fromEntries(MEMORIES.map((name) => [name, Float64Array.from(arrays[name].values)])),
      ...Object.fromEntries(Object.entries(powers).map(([name, value]) => [name, Float64Array.of(value)])),
    });
    const { fround } = Math;
    const factors = {
      gradientFactor: powers.scale * fround(1 - config.beta1),
      squareFactor: powers.scale ** 2 * fround(1 - config.beta2),
      epsilon: 0.5 * fround(config.epsilon),
      stepSize: (powers.learningRate * 0.5) / 0.25,
      keep: fround(1 - fround(powers.learningRate * fround(config.weightDecay))),
    };
    kernel.update(0, length, factors, true);
    expect(arrays.weights.values).toEqual(hostData(expected.w!));
    expect(arrays.moment1.values).toEqual(hostData(expected.m!));
    expect(arrays.moment2.values).toEqual(hostData(expected.v!));
  });

  it("moves only the range that it is given, and decays only where told", () => {
    const { arrays, kernel } = filled(50);
    const before = arrays.weights.values.slice();
    const still = stepFactors({ ...config, learningRate: 0 }, 0, 1, 1);
    // With a learning rate of zero a weight that decays by nothing stays, whatever its gradient.
    kernel.update(0, 50, still, true);
    expect(arrays.weights.values).toEqual(before);
    kernel.update(3, 22, { ...still, keep: 0.5 }, true);
    kernel.update(22, 50, { ...still, keep: 0.5 }, false);
    const halved = before.map((value, at) => (at >= 3 && at < 22 ? value / 2 : value));
    expect(arrays.weights.values).toEqual(halved);
  });

  it.each([0, 5, 8, 8 * 4097 + 7])("sums %i squares in float64", (length) => {
    const { arrays, kernel } = filled(length);
    const expected = arrays.gradient.values.reduce((sum, value) => sum + value * value, 0);
    expect(Math.abs(kernel.squares(0, length) - expected)).toBeLessThanOrEqual(1e-13 * expected);
  });

  it("has the factors of a step that is clipped and of one that is not", () => {
    const clipped = stepFactors(config, 0.03, 3, 1);
    expect(clipped.gradientFactor).toBeCloseTo(0.5 * 0.2, 6);
    expect(clipped.squareFactor).toBeCloseTo(0.25 * 0.07, 6);
    // Of the first step both corrections undo the moments' own factors: lr sqrt(0.07) / 0.2.
    expect(clipped.stepSize).toBeCloseTo((0.03 * Math.sqrt(0.07)) / 0.2, 12);
    expect(clipped.epsilon).toBeCloseTo(1e-3 * Math.sqrt(0.07), 12);
    expect(clipped.keep).toBe(1 - 0.03 * 0.4);
    expect(stepFactors(config, 0.03, 1.2, 1).gradientFactor).toBeCloseTo(0.2, 12);
  });
});
