// One training step as one graph: forward, loss, backward, clipping, AdamW; or as two, one that gives gradients, of a micro-batch
// too, and one that applies their sum. Which of them a device takes is engine/'s. Read this file first; it is the whole of
// model/ on one page. It only composes: the forward pass is nn/, gradients are autodiff/, the optimizer is optim/.
import { bodyTensors, EMBEDDING_NAME, embeddingTensors } from "./architecture.ts";
import { backpropagate } from "./autodiff/gradients.ts";
import { GraphBuilder } from "./graph/builder.ts";
import { withHalfProducts } from "./graph/half-products.ts";
import { type Loop, next } from "./graph/loop.ts";
import type { Graph, Value } from "./graph/ops.ts";
import { blockedShape, headGradients, headNats } from "./nn/head-loss.ts";
import { embedded, finerTensors, mptHiddenOf, type Weights } from "./nn/mpt.ts";
import { adamW, clipByGlobalNorm } from "./optim/adamw.ts";
import type { ModelConfig, OptimizerConfig, Precision, TensorSpec } from "./types.ts";

/** Parameters move by group. A newcomer fits its embedding to a frozen body before both train together. */
export type ParameterGroup = "body" | "embedding";

/** Names of a step's inputs besides the weights, which go by their own names. */
export const stepInputs = {
  inputs: "inputs",
  targets: "targets",
  /** A group may follow a schedule of its own. */
  learningRate: (group: ParameterGroup) => `${group}:learningRate`,
  /** 1 - beta^t, where t counts the steps of the group's moments, this one included. */
  biasCorrection1: (group: ParameterGroup) => `${group}:biasCorrection1`,
  biasCorrection2: (group: ParameterGroup) => `${group}:biasCorrection2`,
  moment1: (tensor: string) => `${tensor}:moment1`,
  moment2: (tensor: string) => `${tensor}:moment2`,
  /** In float16: what the loss, and so every gradient, is multiplied by. */
  lossScale: "lossScale",
  /** Sum of a tensor's gradients over the micro-batches so far. */
  gradient: (tensor: string) => `${tensor}:gradient`,
};

/** Input of `buildZeroGradients`. */
export const ZERO = "zero";

/** Names of the outputs; `next` is what a weight or moment (by its input's name) is after the step. */
export const stepOutputs = {
  loss: "loss",
  gradientNorm: "gradientNorm",
  nats: "nats",
  /** With `rowsApart`, [N, d] each: the gradient of each input token's row, and what the head read at each position. */
  inputRows: "inputRows",
  hidden: "hidden",
  next,
};

/** How a graph is built, at the same numbers. */
export interface GraphOptions {
  /** Keep only each block's input and compute the rest of it once more on the way back. Default false. */
  readonly recompute?: boolean | undefined;
  /** A bound of one's own on the logits that exist at once; see nn/head-loss.ts. */
  readonly chunkLogitsBytes?: number | undefined;
  /**
   * A gradient step leaves to its caller what goes to single rows of the embedding: of its gradient, add row i of
   * `inputRows` at inputs[i], and `-rowScale` times row i of `hidden` at targets[i]. The embedding's gradient has the shape
   * that `gradientTensors` gives. Default false.
   */
  readonly rowsApart?: boolean | undefined;
  /** A gradient step adds its gradients onto others; see there. */
  readonly addsUp?: boolean | undefined;
  /** In float16 gradients come multiplied by the scale of the loss, an input more; the norm does not. Default float32. */
  readonly precision?: Precision | undefined;
}

/** Factor of the head's rows, see GraphOptions.rowsApart. */
export function rowScale(config: ModelConfig, batchSize: number): number {
  return 1 / (batchSize * config.sequenceLength);
}

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
  options: GraphOptions = {},
): Graph {
  const b = new GraphBuilder();
  const perToken = b.scalar(1 / (batchSize * config.sequenceLength));
  const scale = lossScaleOf(b, options);
  const dNats = scale === undefined ? perToken : b.mul(perToken, scale);
  const { weights, nats, gradientOf } = differentiated(b, config, batchSize, trained, dNats, options);
  const loss = b.mul(nats, perToken);
  return inPrecision(
    b.build({
      [stepOutputs.loss]: loss,
      ...updated(b, config, optimizer, trained, weights, gradientOf, scale),
    }),
    options,
  );
}

/**
 * Forward and backward of one micro-batch out of a batch. Inputs: its token ids, every weight, and, with `addsUp` (default:
 * where it is not the whole batch), the gradients so far. Outputs: its cross-entropy, summed, and the gradients of the batch's mean loss with its own
 * share added.
 */
export function buildGradientStep(
  config: ModelConfig,
  batchSize: number,
  microBatchSize: number,
  trained: readonly ParameterGroup[],
  options: GraphOptions = {},
): Graph {
  const b = new GraphBuilder();
  const perToken = b.scalar(rowScale(config, batchSize));
  const scale = lossScaleOf(b, options);
  const specsOf = options.rowsApart ? gradientTensors : groupTensors;
  const { addsUp = microBatchSize < batchSize } = options;
  const others = addsUp ? trained.flatMap((group) => specsOf(config, group)) : [];
  const soFar = new Map(others.map(({ name, shape }) => [name, b.input(stepInputs.gradient(name), shape)]));
  const { nats, gradientOf, inputRows, hidden } = differentiated(
    b,
    config,
    microBatchSize,
    trained,
    scale === undefined ? perToken : b.mul(perToken, scale),
    options,
    soFar,
  );
  const outputs: Record<string, Value> = { [stepOutputs.nats]: nats };
  if (inputRows !== undefined) Object.assign(outputs, { [stepOutputs.inputRows]: inputRows, hidden });
  for (const [name, gradient] of gradientOf) outputs[stepOutputs.next(stepInputs.gradient(name))] = gradient;
  return inPrecision(b.build(outputs), options);
}

/**
 * Gradients of zero, made on the device for micro-batches to be added onto. The zero is an input, or a runtime would work the
 * tensors out beforehand and keep them.
 */
export function buildZeroGradients(config: ModelConfig, trained: readonly ParameterGroup[]): Graph {
  const b = new GraphBuilder();
  const zero = b.input(ZERO, []);
  const entries = trainedTensors(config, trained).map(({ spec: { name, shape } }) => [
    stepOutputs.next(stepInputs.gradient(name)),
    b.broadcast(zero, shape),
  ]);
  return b.build(Object.fromEntries(entries));
}

/** Clipping over the whole batch and AdamW. Inputs: the trained weights, moments and summed gradients; the scalars. */
export function buildUpdateStep(
  config: ModelConfig,
  optimizer: OptimizerConfig,
  trained: readonly ParameterGroup[],
  options: Pick<GraphOptions, "precision"> = {},
): Graph {
  const b = new GraphBuilder();
  const tensors = trainedTensors(config, trained).map(({ spec }) => spec);
  const weights = new Map(tensors.map(({ name, shape }) => [name, b.input(name, shape)]));
  const gradientOf = new Map(
    tensors.map(({ name, shape }) => [name, b.input(stepInputs.gradient(name), shape)]),
  );
  const scale = lossScaleOf(b, options);
  return b.build(updated(b, config, optimizer, trained, weights, gradientOf, scale));
}

function lossScaleOf(b: GraphBuilder, { precision }: Pick<GraphOptions, "precision">): Value | undefined {
  return precision === "float16" ? b.input(stepInputs.lossScale, []) : undefined;
}

function inPrecision(graph: Graph, { precision }: GraphOptions): Graph {
  return precision === "float16" ? withHalfProducts(graph) : graph;
}

/** Input of `buildStepLoop`: how many steps. */
export const STEPS = "steps";

/**
 * Steps one after the other in one run. Inputs: weights and moments as a step's; of each step a row of its token ids,
 * [steps, N] or, in micro-batches, [steps, micro-batches, n], and of its scalars, [steps]. Outputs: weights and moments after
 * the last step; of each step the norm, and the loss, or the nats of each micro-batch.
 */
export function buildStepLoop(
  config: ModelConfig,
  optimizer: OptimizerConfig,
  { batchSize, microBatchSize }: { readonly batchSize: number; readonly microBatchSize: number },
  trained: readonly ParameterGroup[],
  options: GraphOptions = {},
): Loop {
  const { inputs, targets, learningRate, biasCorrection1, biasCorrection2 } = stepInputs;
  const scalars = trained.flatMap((group) => [
    learningRate(group),
    biasCorrection1(group),
    biasCorrection2(group),
  ]);
  const steps = { rounds: STEPS, perRound: [inputs, targets, ...scalars] };
  if (microBatchSize === batchSize) {
    const step = buildTrainStep(config, optimizer, batchSize, trained, options);
    return { ...steps, parts: [step], collected: [stepOutputs.loss, stepOutputs.gradientNorm] };
  }
  const sums: Loop = {
    parts: [buildGradientStep(config, batchSize, microBatchSize, trained, options)],
    rounds: batchSize / microBatchSize,
    perRound: [inputs, targets],
    collected: [stepOutputs.nats],
  };
  return {
    ...steps,
    parts: [buildZeroGradients(config, trained), sums, buildUpdateStep(config, optimizer, trained, options)],
    collected: [stepOutputs.nats, stepOutputs.gradientNorm],
  };
}

/** Forward only: token ids and weights in, summed cross-entropy `nats` out. */
export function buildEvaluation(config: ModelConfig, batchSize: number, options: GraphOptions = {}): Graph {
  const b = new GraphBuilder();
  const { weights, hidden, targets } = forward(b, config, batchSize);
  const { chunkLogitsBytes } = options;
  const head = weights.get(EMBEDDING_NAME)!;
  return b.build({
    [stepOutputs.nats]: b.scope("head", () => headNats(b, { hidden, head, targets, chunkLogitsBytes })),
  });
}

/** The tensors of a group as a step takes them, in the order of its flat form. */
export function groupTensors(config: ModelConfig, group: ParameterGroup): TensorSpec[] {
  return finerTensors(group === "body" ? bodyTensors(config) : embeddingTensors(config));
}

/** The same by the shapes that their gradients have with `rowsApart`. */
export function gradientTensors(config: ModelConfig, group: ParameterGroup): TensorSpec[] {
  return groupTensors(config, group).map(({ name, shape }) => ({
    name,
    shape: name === EMBEDDING_NAME ? blockedShape(shape) : shape,
  }));
}

function trainedTensors(config: ModelConfig, trained: readonly ParameterGroup[]) {
  return trained.flatMap((group) => groupTensors(config, group).map((spec) => ({ group, spec })));
}

/** Declares every weight as an input and computes what the head reads, hidden[N, d]. */
function forward(b: GraphBuilder, config: ModelConfig, batchSize: number) {
  const tokens = batchSize * config.sequenceLength;
  const inputs = b.input(stepInputs.inputs, [tokens], "int32");
  const targets = b.input(stepInputs.targets, [tokens], "int32");
  const weights: Weights = new Map(
    trainedTensors(config, ["body", "embedding"]).map(({ spec: { name, shape } }) => [
      name,
      b.input(name, shape),
    ]),
  );
  const rows = embedded(b, weights, inputs);
  return { weights, rows, hidden: mptHiddenOf(b, config, batchSize, weights, rows), targets };
}

/**
 * Summed nats, and the gradient of dNats * nats by the name of each trained tensor, added onto `soFar` where given; the rows
 * of the embedding's own where they stay apart.
 */
function differentiated(
  b: GraphBuilder,
  config: ModelConfig,
  batchSize: number,
  trained: readonly ParameterGroup[],
  dNats: Value,
  { recompute, chunkLogitsBytes, rowsApart = false }: GraphOptions,
  soFar: Weights = new Map(),
): Differentiated {
  const { weights, rows, hidden, targets } = forward(b, config, batchSize);
  const head = weights.get(EMBEDDING_NAME)!;
  const names = trainedTensors(config, trained).map(({ spec }) => spec.name);
  const trainsHead = names.includes(EMBEDDING_NAME);
  const { nats, dHidden, dHead } = b.scope("head", () =>
    headGradients(
      b,
      { hidden, head, targets, chunkLogitsBytes },
      { dNats, trainsHead, dHead: soFar.get(EMBEDDING_NAME), targetRowsApart: rowsApart },
    ),
  );
  const known = new Map([[hidden, dHidden]]);
  for (const [name, gradient] of soFar) known.set(weights.get(name)!, gradient);
  if (dHead !== undefined) known.set(head, dHead);
  // Rows that count as independent of the embedding send nothing on to it: its gradient is the head's.
  const standsFor = (name: string) => (rowsApart && name === EMBEDDING_NAME ? rows : weights.get(name)!);
  const leaves = names.map(standsFor);
  if (rowsApart) known.delete(head);
  else if (dHead !== undefined) known.set(head, dHead);
  const found = b.scope("backward", () => backpropagate(b, known, leaves, { recompute }));
  const gradientOf = new Map(names.map((name, index) => [name, found[index]!]));
  if (!rowsApart || !trainsHead) return { weights, nats, gradientOf, inputRows: undefined, hidden };
  const inputRows = gradientOf.get(EMBEDDING_NAME)!;
  return { weights, nats, gradientOf: gradientOf.set(EMBEDDING_NAME, dHead!), inputRows, hidden };
}

interface Differentiated {
  readonly weights: Weights;
  readonly nats: Value;
  readonly gradientOf: Weights;
  readonly inputRows: Value | undefined;
  readonly hidden: Value;
}

/** Clips all gradients by their common norm and moves weights and moments: the outputs of a step but its loss. */
function updated(
  b: GraphBuilder,
  config: ModelConfig,
  optimizer: OptimizerConfig,
  trained: readonly ParameterGroup[],
  weights: Weights,
  gradientOf: Weights,
  lossScale: Value | undefined,
): Record<string, Value> {
  const { norm, scale } = b.scope("clip", () =>
    clipByGlobalNorm(b, [...gradientOf.values()], optimizer.gradientClip, lossScale),
  );
  const updateOf = new Map(
    trained.map((group) => {
      const learningRate = b.input(stepInputs.learningRate(group), []);
      const biasCorrection1 = b.input(stepInputs.biasCorrection1(group), []);
      const biasCorrection2 = b.input(stepInputs.biasCorrection2(group), []);
      return [group, adamW(b, optimizer, { learningRate, biasCorrection1, biasCorrection2 }, scale)] as const;
    }),
  );
  const outputs: Record<string, Value> = { [stepOutputs.gradientNorm]: norm };
  for (const { group, spec } of trainedTensors(config, trained)) {
    const { name, shape } = spec;
    const before = {
      weight: weights.get(name)!,
      moment1: b.input(stepInputs.moment1(name), shape),
      moment2: b.input(stepInputs.moment2(name), shape),
    };
    const after = b.scope(`adamw/${name}`, () => updateOf.get(group)!(before, gradientOf.get(name)!));
    for (const key of ["weight", "moment1", "moment2"] as const) {
      outputs[stepOutputs.next(before[key].name)] = after[key];
    }
  }
  return outputs;
}
