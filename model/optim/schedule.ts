// The learning rate of each step: linear warm-up, then half a cosine down to a floor that holds from there on.
import { ModelConfigError } from "../errors.ts";
import type { OptimizerConfig } from "../types.ts";

/** Rejects settings with which no step makes sense, with a ModelConfigError that names the field. */
export function validateOptimizerConfig(config: OptimizerConfig): void {
  const demand = (field: keyof OptimizerConfig, valid: boolean, remedy: string) => {
    if (!valid) throw new ModelConfigError(field, `${field} is ${config[field]}`, remedy);
  };
  const { learningRate, beta1, beta2, epsilon, weightDecay, gradientClip } = config;
  demand("learningRate", Number.isFinite(learningRate) && learningRate > 0, "give a number above 0");
  demand("beta1", beta1 >= 0 && beta1 < 1, "give a number from 0 to below 1");
  demand("beta2", beta2 >= 0 && beta2 < 1, "give a number from 0 to below 1");
  demand("epsilon", Number.isFinite(epsilon) && epsilon > 0, "give a small number above 0");
  demand("weightDecay", Number.isFinite(weightDecay) && weightDecay >= 0, "give 0 or more");
  demand("gradientClip", gradientClip > 0, "give a number above 0");
  for (const field of ["warmupSteps", "totalSteps"] as const) {
    demand(
      field,
      Number.isSafeInteger(config[field]) && config[field] >= 0,
      "give a whole number, 0 or more",
    );
  }
  const ratio = config.finalLearningRateRatio;
  demand("finalLearningRateRatio", ratio >= 0 && ratio <= 1, "give a number from 0 to 1");
}

export type ScheduleConfig = Pick<
  OptimizerConfig,
  "learningRate" | "warmupSteps" | "totalSteps" | "finalLearningRateRatio"
>;

/**
 * Rate of the 0-based sequential `step`: peak * (step + 1) / warmupSteps while step < warmupSteps; then from the peak
 * at warmupSteps along a cosine to peak * finalLearningRateRatio at totalSteps, and that floor beyond it.
 */
export function learningRateAt(config: ScheduleConfig, step: number): number {
  const { learningRate, warmupSteps, totalSteps, finalLearningRateRatio } = config;
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  const floor = learningRate * finalLearningRateRatio;
  if (step >= totalSteps) return floor;
  const progress = (step - warmupSteps) / (totalSteps - warmupSteps);
  return floor + (learningRate - floor) * 0.5 * (1 + Math.cos(Math.PI * progress));
}
