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
 * Queries go in chunks, so that most of what lies after them is never computed at all. Each chunk costs nodes and copies: few
 * chunks of few rows are worth it, more of them only with more rows (measured, docs/decisions.md).
 */
const FEW_CHUNKS = 4;
const MIN_ROWS_OF_FEW = 128;
const MIN_ROWS_OF_MANY = 256;
const MAX_CHUNKS = 16;

/** Rows of each chunk of queries; they add up to the sequence and differ by at most one. */
export function queryChunks(sequenceLength: number): number[] {
  const few = Math.min(FEW_CHUNKS, Math.floor(sequenceLength / MIN_ROWS_OF_FEW));
  const many = Math.min(MAX_CHUNKS, Math.floor(sequenceLength / MIN_ROWS_OF_MANY));
  const chunks = Math.max(1, few, many);
  const start = (chunk: number) => Math.floor((chunk * sequenceLength) / chunks);
  return Array.from({ length: chunks }, (_, chunk) => start(chunk + 1) - start(chunk));
}

/**
 * What is added to the scores of each chunk's C queries against the E keys up to its end, [1, heads, C, E]:
 * slope * (key - (T - 1)) where key <= query, -infinity elsewhere. The bias needs no query: softmax does not see what is the
 * same along a row. Made once, used by every block.
 */
export function attentionBiases(b: GraphBuilder, heads: number, sequenceLength: number): Value[] {
  const slopes = alibiSlopes(heads);
  let end = 0;
  return queryChunks(sequenceLength).map((rows) => {
    const first = end;
    end += rows;
    const bias = slopes.flatMap((slope) =>
      Array.from({ length: end }, (_, key) => slope * (key - (sequenceLength - 1))),
    );
    const mask = Float64Array.from({ length: rows * end }, (_, at) =>
      at % end <= first + Math.floor(at / end) ? 0 : -Infinity,
    );
    return b.scope("alibi", () =>
      b.add(b.constant(Float64Array.from(bias), [1, heads, 1, end]), b.constant(mask, [1, 1, rows, end])),
    );
  });
}
