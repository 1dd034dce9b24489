// ALiBi (Press et al. 2022) as Hugging Face's MPT computes it, and the causal mask, as constants of a graph.
import { ALIBI_BIAS_MAX } from "../architecture.ts";
import type { GraphBuilder } from "../graph/builder.ts";
import type { Value } from "../graph/ops.ts";

/**
 * Slope of each head: 2^(-8 i / n) for i = 1..n, with n the next power of two. Where n is not the number of heads, MPT
 * takes the even-numbered slopes first, then the odd ones, and cuts the list.
 */
export function alibiSlopes(heads: number): number[] {
  const powerOfTwo = 2 ** Math.ceil(Math.log2(heads));
  const slopes = Array.from(
    { length: powerOfTwo },
    (_, i) => 2 ** ((-ALIBI_BIAS_MAX * (i + 1)) / powerOfTwo),
  );
  if (powerOfTwo === heads) return slopes;
  const interleaved = [...slopes.filter((_, i) => i % 2 === 1), ...slopes.filter((_, i) => i % 2 === 0)];
  return interleaved.slice(0, heads);
}

/**
 * What is added to attention scores, [1, heads, T, T]: slope * (key - (T - 1)) where key <= query, -infinity elsewhere.
 * The bias needs no query: softmax does not see what is the same along a row. Made once, used by every block.
 */
export function attentionBias(b: GraphBuilder, heads: number, sequenceLength: number): Value {
  const T = sequenceLength;
  const bias = Float64Array.from(
    alibiSlopes(heads).flatMap((slope) => Array.from({ length: T }, (_, key) => slope * (key - (T - 1)))),
  );
  const mask = Float64Array.from({ length: T * T }, (_, at) =>
    at % T <= Math.floor(at / T) ? 0 : -Infinity,
  );
  return b.scope("alibi", () => b.add(b.constant(bias, [1, heads, 1, T]), b.constant(mask, [1, 1, T, T])));
}
