// The paper's optimizer of phase 2 (DEPT, section 3.5 and appendix A.1): AdamW as in pre-training, on a cosine of its own that
// starts at the pre-training's peak rate where the embedding is random, and at half of it where it is not.
import type { OptimizerConfig } from "#model/types.ts";
import { type PresetName, presetNames, presets } from "#protocol/core/presets.ts";
import { parseRunConfig, type RunConfigInput } from "#protocol/core/run-config.ts";
import type { EmbeddingStart } from "./start-embedding.ts";

export interface PhaseTwo {
  readonly embedding: EmbeddingStart;
  readonly steps: number;
  readonly warmupSteps: number;
  readonly schedule: "cosine" | "constant";
  /** The pre-training's peak rate. */
  readonly learningRate: number;
}

export function optimizerFor(phase: PhaseTwo): OptimizerConfig {
  const { beta1, beta2, epsilon, weightDecay, gradientClip, finalLearningRateRatio } = parseRunConfig(
    {},
  ).training;
  return {
    beta1,
    beta2,
    epsilon,
    weightDecay,
    gradientClip,
    learningRate: phase.embedding === "random" ? phase.learningRate : phase.learningRate / 2,
    warmupSteps: phase.warmupSteps,
    totalSteps: phase.steps,
    finalLearningRateRatio: phase.schedule === "constant" ? 1 : finalLearningRateRatio,
  };
}

/** The peak rate of the smallest preset that is at least as wide: for a model that does not say what it was trained with. */
export function usualLearningRate(width: number): number {
  const runs = presetNames.map((name: PresetName) => parseRunConfig(presets[name].config as RunConfigInput));
  const byWidth = runs.toSorted((a, b) => a.model.width - b.model.width);
  return (byWidth.find(({ model }) => model.width >= width) ?? byWidth.at(-1)!).training.learningRate;
}
