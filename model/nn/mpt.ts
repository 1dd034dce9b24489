// The MPT decoder's forward pass, from token ids to the hidden states that the tied head reads.
// Shapes: N = batch * T tokens, d = width, H heads of size h = d / H.
import { blockTensorNames, EMBEDDING_NAME, FINAL_NORM_NAME, LAYER_NORM_EPSILON } from "../architecture.ts";
import type { GraphBuilder } from "../graph/builder.ts";
import type { Value } from "../graph/ops.ts";
import type { ModelConfig } from "../types.ts";
import { attentionBias } from "./alibi.ts";

/** The weights of a model by their names. */
export type Weights = ReadonlyMap<string, Value>;

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
  const bias = attentionBias(b, config.heads, config.sequenceLength);

  let x = rows;
  for (let block = 0; block < config.blocks; block++) {
    const names = blockTensorNames(block);
    x = b.segment(() =>
      b.scope(`blocks.${block}`, () => {
        const attended = b.scope("attn", () =>
          attention(b, config, batchSize, {
            x: norm(x, names.norm1),
            queryKeyValue: weight(names.queryKeyValue),
            outProjection: weight(names.outProjection),
            bias,
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

interface AttentionInputs {
  readonly x: Value;
  /** [3d, d]: rows of queries, then keys, then values. */
  readonly queryKeyValue: Value;
  readonly outProjection: Value;
  readonly bias: Value;
}

/** Multi-head causal self-attention with ALiBi: [N, d] -> [N, d]. */
function attention(b: GraphBuilder, config: ModelConfig, batchSize: number, inputs: AttentionInputs): Value {
  const { width, heads, sequenceLength } = config;
  const headSize = width / heads;
  const perHead = [batchSize, heads, sequenceLength, headSize];

  const projected = b.matMul(inputs.x, inputs.queryKeyValue, { transposeB: true });
  // [batch, T, 3, H, h] -> [3, batch, H, T, h]: then each of the three is one contiguous piece.
  const byRole = b.transpose(
    b.reshape(projected, [batchSize, sequenceLength, 3, heads, headSize]),
    [2, 0, 3, 1, 4],
  );
  const [query, key, value] = b.split(byRole, 0, [1, 1, 1]).map((part) => b.reshape(part, perHead));

  const scores = b.matMul(query!, key!, { transposeB: true, alpha: 1 / Math.sqrt(headSize) });
  const probabilities = b.softmax(b.add(scores, inputs.bias));
  const mixed = b.transpose(b.matMul(probabilities, value!), [0, 2, 1, 3]);
  return b.matMul(b.reshape(mixed, [batchSize * sequenceLength, width]), inputs.outProjection, {
    transposeB: true,
  });
}
