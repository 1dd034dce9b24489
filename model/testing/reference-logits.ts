// The logits of the training step's own forward pass, in float64: what every other way to compute them is held against.
import { bodyTensors, EMBEDDING_NAME, embeddingTensors } from "../architecture.ts";
import { GraphBuilder } from "../graph/builder.ts";
import { elementCount } from "../graph/ops.ts";
import { mptHidden } from "../nn/mpt.ts";
import { interpret } from "../runtime/interpreter.ts";
import type { ModelConfig } from "../types.ts";

/** One sequence of any length in, [its length, vocabularySize] out. */
export function referenceLogits(
  config: ModelConfig,
  { body, embedding }: { body: Float32Array; embedding: Float32Array },
  tokens: readonly number[],
): Float64Array {
  const b = new GraphBuilder();
  const feeds: Record<string, ArrayLike<number>> = {
    ids: Int32Array.from(tokens),
    [EMBEDDING_NAME]: embedding,
  };
  let offset = 0;
  const weights = new Map(
    [...bodyTensors(config), ...embeddingTensors(config)].map(({ name, shape }) => {
      if (name !== EMBEDDING_NAME) {
        feeds[name] = body.subarray(offset, offset + elementCount(shape));
        offset += elementCount(shape);
      }
      return [name, b.input(name, shape)];
    }),
  );
  const ids = b.input("ids", [tokens.length], "int32");
  const hidden = mptHidden(b, { ...config, sequenceLength: tokens.length }, 1, weights, ids);
  const logits = b.matMul(hidden, weights.get(EMBEDDING_NAME)!, { transposeB: true });
  return interpret(b.build({ logits }), feeds).logits as Float64Array;
}
