// AdamW (Loshchilov & Hutter 2019) and clipping by the global norm, as nodes of a graph. Numbers agree with PyTorch's
// torch.optim.AdamW and torch.nn.utils.clip_grad_norm_.
import type { GraphBuilder } from "../graph/builder.ts";
import type { Shape, Value } from "../graph/ops.ts";
import type { OptimizerConfig } from "../types.ts";

/** PyTorch's guard against a zero norm. */
export const NORM_EPSILON = 1e-6;

/** Scalars that change from step to step, so that one compiled graph serves them all. */
export interface StepScalars {
  readonly learningRate: Value;
  /** 1 - beta1^t and 1 - beta2^t, t = 1 at the first step after the moments were zero. */
  readonly biasCorrection1: Value;
  readonly biasCorrection2: Value;
}

/** A weight tensor with its AdamW moments, all of one shape. */
export interface ParameterState {
  readonly weight: Value;
  readonly moment1: Value;
  readonly moment2: Value;
}

/** Decay goes to matrices only: the weight of a norm has one axis and no reason to shrink. */
export function isDecaying(shape: Shape): boolean {
  return shape.length >= 2;
}

/**
 * Norm over all gradients together, and the factor min(1, limit / norm) that brings it down to `limit`. Of gradients that come
 * multiplied by a scale: the norm without it, and the factor that takes it away as well.
 */
export function clipByGlobalNorm(
  b: GraphBuilder,
  gradients: readonly Value[],
  limit: number,
  lossScale?: Value,
) {
  const squares = gradients.map((gradient) => b.sumSquares(gradient));
  const given = b.sqrt(squares.reduce((sum, square) => b.add(sum, square)));
  const norm = lossScale === undefined ? given : b.div(given, lossScale);
  const clip = b.minimum(b.scalar(1), b.div(b.scalar(limit), b.add(norm, b.scalar(NORM_EPSILON))));
  return { norm, scale: lossScale === undefined ? clip : b.div(clip, lossScale) };
}

/**
 * The AdamW update of one tensor; the scalars are worked out once, for all of them. With g the clipped gradient (scale * gradient), lr, c1 and c2 the step's scalars:
 *   m' = beta1 m + (1 - beta1) g,   v' = beta2 v + (1 - beta2) g^2
 *   w' = (1 - lr decay) w - (lr / c1) m' / (sqrt(v' / c2) + epsilon)
 * The last quotient is computed as (lr sqrt(c2) / c1) m' / (sqrt(v') + epsilon sqrt(c2)), and the clip goes into the
 * moments' own factors: the same numbers with fewer passes over the weights.
 */
export function adamW(
  b: GraphBuilder,
  config: OptimizerConfig,
  scalars: StepScalars,
  gradientScale: Value,
): (before: ParameterState, gradient: Value) => ParameterState {
  const beta1 = b.scalar(config.beta1);
  const beta2 = b.scalar(config.beta2);
  const gradientFactor = b.mul(gradientScale, b.scalar(1 - config.beta1));
  const squareFactor = b.mul(b.mul(gradientScale, gradientScale), b.scalar(1 - config.beta2));
  const rootCorrection2 = b.sqrt(scalars.biasCorrection2);
  const epsilon = b.mul(rootCorrection2, b.scalar(config.epsilon));
  const stepSize = b.div(b.mul(scalars.learningRate, rootCorrection2), scalars.biasCorrection1);
  const keep = b.sub(b.scalar(1), b.mul(scalars.learningRate, b.scalar(config.weightDecay)));

  return ({ weight, moment1, moment2 }, gradient) => {
    const nextMoment1 = b.add(b.mul(moment1, beta1), b.mul(gradient, gradientFactor));
    const squares = b.mul(b.mul(gradient, gradient), squareFactor);
    const nextMoment2 = b.add(b.mul(moment2, beta2), squares);
    const direction = b.div(nextMoment1, b.add(b.sqrt(nextMoment2), epsilon));
    const kept = isDecaying(weight.shape) ? b.mul(weight, keep) : weight;
    return { weight: b.sub(kept, b.mul(direction, stepSize)), moment1: nextMoment1, moment2: nextMoment2 };
  };
}
