import { describe, expect, it } from "vitest";
import { ModelConfigError } from "../errors.ts";
import type { OptimizerConfig } from "../types.ts";
import { learningRateAt, validateOptimizerConfig } from "./schedule.ts";

const config: OptimizerConfig = {
  learningRate: 0.02,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  gradientClip: 1,
  warmupSteps: 4,
  totalSteps: 24,
  finalLearningRateRatio: 0.2,
};

describe("the learning rate", () => {
  it("rises linearly and reaches its peak with the last warm-up step", () => {
    const rates = [0, 1, 2, 3].map((step) => learningRateAt(config, step));
    [0.005, 0.01, 0.015, 0.02].forEach((rate, step) => {
      expect(rates[step]).toBeCloseTo(rate, 12);
    });
  });

  it("falls from the peak along a cosine", () => {
    expect(learningRateAt(config, 4)).toBeCloseTo(0.02, 12);
    // A quarter and half of the way: floor 0.004 + 0.016 * (1 + cos(pi/4)) / 2, and the middle.
    expect(learningRateAt(config, 9)).toBeCloseTo(0.004 + 0.008 * (1 + Math.SQRT1_2), 12);
    expect(learningRateAt(config, 14)).toBeCloseTo(0.012, 12);
  });

  it("stays at its floor from totalSteps on", () => {
    for (const step of [24, 25, 1_000_000]) expect(learningRateAt(config, step)).toBeCloseTo(0.004, 12);
  });

  it("starts at the peak without a warm-up, and holds the floor with no steps to go", () => {
    expect(learningRateAt({ ...config, warmupSteps: 0 }, 0)).toBeCloseTo(0.02, 12);
    expect(learningRateAt({ ...config, warmupSteps: 0, totalSteps: 0 }, 0)).toBeCloseTo(0.004, 12);
  });
});

describe("optimizer settings", () => {
  it.each([
    ["learningRate", { learningRate: 0 }],
    ["learningRate", { learningRate: Infinity }],
    ["beta1", { beta1: 1 }],
    ["beta2", { beta2: -0.1 }],
    ["epsilon", { epsilon: 0 }],
    ["weightDecay", { weightDecay: Number.NaN }],
    ["gradientClip", { gradientClip: 0 }],
    ["warmupSteps", { warmupSteps: 1.5 }],
    ["totalSteps", { totalSteps: -1 }],
    ["finalLearningRateRatio", { finalLearningRateRatio: 1.1 }],
  ] as const)("with a bad %s are refused by its name", (field, change) => {
    expect(() => validateOptimizerConfig(config)).not.toThrow();
    expect(() => validateOptimizerConfig({ ...config, ...change })).toThrow(ModelConfigError);
    expect(() => validateOptimizerConfig({ ...config, ...change })).toThrow(
      expect.objectContaining({ field }),
    );
  });
});
