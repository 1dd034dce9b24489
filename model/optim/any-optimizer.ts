// AdamW's settings for those who time or count steps and keep no model: nothing that they measure depends on the values.
import type { OptimizerConfig } from "../types.ts";

export const ANY_OPTIMIZER: OptimizerConfig = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  gradientClip: 1,
  warmupSteps: 0,
  totalSteps: 1_000_000,
  finalLearningRateRatio: 0.1,
};
