// One training step as one graph: forward, loss, backward, clipping, AdamW. Read this file first; it is the whole of
// model/ on one page. It only composes: the forward pass is nn/mpt.ts, gradients are autodiff/, the optimizer is optim/.
import { bodyTensors, EMBEDDING_NAME, embeddingTensors } from "./architecture.ts";
import { gradients } from "./autodiff/gradients.ts";
import { GraphBuilder } from "./graph/builder.ts";
import type { Graph, Value } from "./graph/ops.ts";
import { mptHidden, type Weights } from "./nn/mpt.ts";
import { adamW, clipByGlobalNorm } from "./optim/adamw.ts";
import type { ModelConfig, OptimizerConfig, TensorSpec } from "./types.ts";

/** Parameters move by group. A newcomer fits its embedding to a frozen body before both train together. */
export type ParameterGroup = "body" | "embedding";

/** Names of a step's inputs besides the weights, which go by their own names. */
export const stepInputs = {
  inputs: "inputs",
  targets: "targets",
  learningRate: "learningRate",
  /** 1 - beta^t, where t counts the steps of the group's moments, this one included. */
  biasCorrection1: (group: ParameterGroup) => `${group}:biasCorrection1`,
  biasCorrection2: (group: ParameterGroup) => `${group}:biasCorrection2`,
  moment1: (tensor: string) => `${tensor}:moment1`,
  moment2: (tensor: string) => `${tensor}:moment2`,
};

/** Names of the outputs; `next` is what a weight or moment (by its input's name) is after the step. */
export const stepOutputs = {
  loss: "loss",
  gradientNorm: "gradientNorm",
  nats: "nats",
  next: (input: string) => `next:${input}`,
};

/**
 * The step that moves the groups in `trained` and leaves the rest as constant inputs.
 * Inputs: token ids int32[N], N = batchSize * sequenceLength; the scalars; every weight; the moments of those trained.
 * Outputs: mean loss in nats per token, the gradients' global norm before clipping, and the trained tensors' next values.
 */
export function buildTrainStep(
  config: ModelConfig,
  optimizer: OptimizerConfig,
  batchSize: number,
  trained: readonly ParameterGroup[],
): Graph {
  const b = new GraphBuilder();
  const { weights, nats } = forward(b, config, batchSize);
  const tokens = batchSize * config.sequenceLength;
  const loss = b.mul(b.reduceSum(nats, [0]), b.scalar(1 / tokens));

  const specs = trained.flatMap((group) => groupTensors(config, group).map((spec) => ({ group, spec })));
  const gradientOf = b.scope("backward", () =>
    gradients(
      b,
      loss,
      specs.map(({ spec }) => weights.get(spec.name)!),
    ),
  );
  const { norm, scale } = b.scope("clip", () => clipByGlobalNorm(b, gradientOf, optimizer.gradientClip));

  const learningRate = b.input(stepInputs.learningRate, []);
  const updateOf = new Map(
    trained.map((group) => {
      const biasCorrection1 = b.input(stepInputs.biasCorrection1(group), []);
      const biasCorrection2 = b.input(stepInputs.biasCorrection2(group), []);
      return [group, adamW(b, optimizer, { learningRate, biasCorrection1, biasCorrection2 }, scale)] as const;
    }),
  );

  const outputs: Record<string, Value> = { [stepOutputs.loss]: loss, [stepOutputs.gradientNorm]: norm };
  specs.forEach(({ group, spec: { name, shape } }, index) => {
    const before = {
      weight: weights.get(name)!,
      moment1: b.input(stepInputs.moment1(name), shape),
      moment2: b.input(stepInputs.moment2(name), shape),
    };
    const after = b.scope(`adamw/${name}`, () => updateOf.get(group)!(before, gradientOf[index]!));
    for (const key of ["weight", "moment1", "moment2"] as const) {
      outputs[stepOutputs.next(before[key].name)] = after[key];
    }
  });
  return b.build(outputs);
}

/** Forward only: token ids and weights in, summed cross-entropy `nats` out. */
export function buildEvaluation(config: ModelConfig, batchSize: number): Graph {
  const b = new GraphBuilder();
  const { nats } = forward(b, config, batchSize);
  return b.build({ [stepOutputs.nats]: b.reduceSum(nats, [0]) });
}

/** The tensors of a group, in the order of its flat form. */
export function groupTensors(config: ModelConfig, group: ParameterGroup): TensorSpec[] {
  return group === "body" ? bodyTensors(config) : embeddingTensors(config);
}

/** Declares every weight as an input and computes each token's cross-entropy, nats[N]. */
function forward(b: GraphBuilder, config: ModelConfig, batchSize: number): { weights: Weights; nats: Value } {
  const tokens = batchSize * config.sequenceLength;
  const inputs = b.input(stepInputs.inputs, [tokens], "int32");
  const targets = b.input(stepInputs.targets, [tokens], "int32");
  const weights = new Map(
    [...bodyTensors(config), ...embeddingTensors(config)].map(({ name, shape }) => [
      name,
      b.input(name, shape),
    ]),
  );
  const hidden = mptHidden(b, config, batchSize, weights, inputs);
  const { nats } = b.scope("head", () => b.linearCrossEntropy(hidden, weights.get(EMBEDDING_NAME)!, targets));
  return { weights, nats };
}
