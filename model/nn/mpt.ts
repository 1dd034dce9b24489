// The MPT decoder's forward pass, from token ids to the hidden states that the tied head reads.
// Shapes: N = batch * T tokens, d = width, H heads of size h = d / H.
import { blockTensorNames, EMBEDDING_NAME, FINAL_NORM_NAME, LAYER_NORM_EPSILON } from "../architecture.ts";
import type { GraphBuilder } from "../graph/builder.ts";
import type { Value } from "../graph/ops.ts";
import type { ModelConfig, TensorSpec } from "../types.ts";
import { attentionBiases } from "./alibi.ts";

/** The weights of a model by their names. */
export type Weights = ReadonlyMap<string, Value>;

const PROJECTIONS = ["query", "key", "value"] as const;

/**
 * The same values in the same order, cut finer: the queries', keys' and values' projections one by one. A graph that takes
 * them so need not cut what they compute, which costs more than a third of attention's copies; a flat array is cut for free.
 */
export function finerTensors(specs: readonly TensorSpec[]): TensorSpec[] {
  return specs.flatMap((spec) => {
    const [rows, width] = spec.shape as [number, number];
    return spec.name.endsWith("attn.Wqkv.weight")
      ? PROJECTIONS.map((part) => ({ name: partName(spec.name, part), shape: [rows / 3, width] }))
      : [spec];
  });
}

const partName = (name: string, part: (typeof PROJECTIONS)[number]) => `${name}:${part}`;

/** ids[N] -> hidden[N, d], after the last LayerNorm. The logits are hidden @ wte^T. */
export function mptHidden(
  b: GraphBuilder,
  config: ModelConfig,
  batchSize: number,
  weights: Weights,
  ids: Value,
): Value {
  return mptHiddenOf(b, config, batchSize, weights, embedded(b, weights, ids));
}

/** ids[N] -> their rows of the embedding, [N, d]. */
export function embedded(b: GraphBuilder, weights: Weights, ids: Value): Value {
  return b.scope("wte", () => b.gather(weights.get(EMBEDDING_NAME)!, ids));
}

/** As mptHidden, from the rows. Each block is a segment of the graph. */
export function mptHiddenOf(
  b: GraphBuilder,
  config: ModelConfig,
  batchSize: number,
  weights: Weights,
  rows: Value,
): Value {
  const weight = (name: string) => weights.get(name)!;
  const norm = (x: Value, name: string) => b.layerNorm(x, weight(name), LAYER_NORM_EPSILON).y;
  const biases = attentionBiases(b, config.heads, config.sequenceLength);

  let x = rows;
  for (let block = 0; block < config.blocks; block++) {
    const names = blockTensorNames(block);
    x = b.segment(() =>
      b.scope(`blocks.${block}`, () => {
        const attended = b.scope("attn", () =>
          attention(b, config, batchSize, {
            x: norm(x, names.norm1),
            projections: projectionsOf(b, weights, names.queryKeyValue),
            outProjection: weight(names.outProjection),
            biases,
          }),
        );
        const middle = b.add(x, attended);
        const transformed = b.scope("ffn", () => {
          const up = b.matMul(norm(middle, names.norm2), weight(names.upProjection), { transposeB: true });
          return b.matMul(b.gelu(up), weight(names.downProjection), { transposeB: true });
        });
        return b.add(middle, transformed);
      }),
    );
  }
  return b.scope("norm_f", () => norm(x, FINAL_NORM_NAME));
}

/** Three of [d, d], whether the weights are cut finer or not. */
function projectionsOf(b: GraphBuilder, weights: Weights, name: string): readonly Value[] {
  const whole = weights.get(name);
  if (whole === undefined) return PROJECTIONS.map((part) => weights.get(partName(name, part))!);
  const rows = whole.shape[0]! / 3;
  return b.split(whole, 0, [rows, rows, rows]);
}

interface AttentionInputs {
  readonly x: Value;
  /** Of queries, keys and values, [d, d] each. */
  readonly projections: readonly Value[];
  readonly outProjection: Value;
  readonly biases: readonly Value[];
}

/** Multi-head causal self-attention with ALiBi: [N, d] -> [N, d]. */
function attention(b: GraphBuilder, config: ModelConfig, batchSize: number, inputs: AttentionInputs): Value {
  const { width, heads, sequenceLength } = config;
  const headSize = width / heads;
  const perToken = [batchSize, sequenceLength, heads, headSize];
  // [batch, T, H, h] <-> [batch, H, T, h]
  const swap = (x: Value) => b.transpose(x, [0, 2, 1, 3]);

  const [query, key, value] = inputs.projections.map((projection) =>
    swap(b.reshape(b.matMul(inputs.x, projection, { transposeB: true }), perToken)),
  );
  const mixed = swap(b.attention(query!, key!, value!, inputs.biases, 1 / Math.sqrt(headSize)));
  return b.matMul(b.reshape(mixed, [batchSize * sequenceLength, width]), inputs.outProjection, {
    transposeB: true,
  });
}
