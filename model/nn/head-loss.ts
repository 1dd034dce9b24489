// The tied head with its cross-entropy, chunk by chunk over tokens: logits of all tokens never exist at once. A chunk's
// gradients are computed right after its loss, so that its probabilities are gone before the next chunk's are made.
import { backpropagate } from "../autodiff/gradients.ts";
import type { GraphBuilder } from "../graph/builder.ts";
import type { Shape, Value } from "../graph/ops.ts";

/**
 * Bound on a chunk's logits. Twice this is alive (logits, then probabilities beside them). Up to here a chunk is as fast
 * as all at once; a quarter of the embedding's own size is allowed where that is more, because each chunk passes over the
 * embedding's whole gradient.
 */
export const CHUNK_LOGITS_BYTES = 64 * 2 ** 20;
const EMBEDDING_SHARE = 1 / 4;

export interface HeadInputs {
  /** [n, d] */
  readonly hidden: Value;
  /** [v, d] */
  readonly head: Value;
  /** int32[n] */
  readonly targets: Value;
  /** A bound of one's own on a chunk's logits. */
  readonly chunkLogitsBytes?: number | undefined;
}

/** Tokens of each chunk: as few chunks as the bound allows, sizes that differ by at most one. */
export function chunkSizes(
  tokens: number,
  vocabularySize: number,
  width: number,
  chunkLogitsBytes = Math.max(CHUNK_LOGITS_BYTES, EMBEDDING_SHARE * 4 * vocabularySize * width),
): number[] {
  const most = Math.max(1, Math.floor(chunkLogitsBytes / (4 * vocabularySize)));
  const chunks = Math.ceil(tokens / most);
  return Array.from(
    { length: chunks },
    (_, chunk) => Math.floor(((chunk + 1) * tokens) / chunks) - Math.floor((chunk * tokens) / chunks),
  );
}

/** Cross-entropy summed over all tokens, in nats: a scalar. */
export function headNats(b: GraphBuilder, inputs: HeadInputs): Value {
  let nats: Value | undefined;
  for (const chunk of chunksOf(b, inputs)) {
    const hidden = b.after(chunk.hidden, nats === undefined ? [] : [nats]);
    const sum = b.reduceSum(b.linearCrossEntropy(hidden, inputs.head, chunk.targets).nats, [0]);
    nats = nats === undefined ? sum : b.add(nats, sum);
  }
  return nats!;
}

/** Cross-entropy of each token, in nats: [n]. */
export function headTokenNats(b: GraphBuilder, inputs: HeadInputs): Value {
  const nats: Value[] = [];
  for (const chunk of chunksOf(b, inputs)) {
    const hidden = b.after(chunk.hidden, nats.slice(-1));
    nats.push(b.linearCrossEntropy(hidden, inputs.head, chunk.targets).nats);
  }
  return b.concat(nats, 0);
}

/**
 * The head's gradient as [blocks, rows, width], [v, width] in memory. onnxruntime's Gemm goes through the inner axis in steps of
 * 128 and through all rows of its result in each; a block's rows stay in the cache meanwhile. 8,192 rows of 256 take 57 ms
 * at once and 50 ms in blocks of 512, 50,257 rows of 768 take 312 ms and, in blocks of 1,733, 231 ms (docs/decisions.md).
 */
export function blockedShape([vocabularySize, width]: Shape): [blocks: number, rows: number, width: number] {
  const size = vocabularySize!;
  const distance = (rows: number) => Math.abs(Math.log2(rows / BLOCK_ROWS));
  let best = size;
  for (let rows = BLOCK_ROWS / 4; rows <= 4 * BLOCK_ROWS; rows++) {
    if (size % rows === 0 && distance(rows) < distance(best)) best = rows;
  }
  return [size / best, best, width!];
}

/** Where a vocabulary has no divisor within a factor of four, it stays in one block. */
const BLOCK_ROWS = 512;

export interface HeadGradients {
  readonly nats: Value;
  /** [n, d] */
  readonly dHidden: Value;
  /** [v, d], or as `targetRowsApart` says; undefined where the head is not trained. */
  readonly dHead: Value | undefined;
}

export interface HeadTraining {
  /** Gradient of the loss with respect to the summed nats: a scalar. */
  readonly dNats: Value;
  readonly trainsHead: boolean;
  /** Part of the head's gradient that is there already. */
  readonly dHead: Value | undefined;
  /**
   * Leaves out of the head's gradient what goes to the targets' rows alone: -dNats * hidden[i] belongs at targets[i]. The
   * caller adds that, and saves a pass over the whole gradient, which then has the shape `blockedShape`. Default false.
   */
  readonly targetRowsApart?: boolean | undefined;
}

/** As headNats, with the gradients of dNats * nats with respect to the hidden states and the head. */
export function headGradients(b: GraphBuilder, inputs: HeadInputs, training: HeadTraining): HeadGradients {
  const { head } = inputs;
  let { dHead } = training;
  let nats: Value | undefined;
  const dHiddens: Value[] = [];
  // All that reads a chunk's logits and probabilities, the loss not least: nothing goes on before they are free.
  let finished: Value[] = [];
  for (const chunk of chunksOf(b, inputs)) {
    const since = b.nodes.length;
    const hidden = b.after(chunk.hidden, finished);
    const { nats: tokenNats, probabilities } = b.linearCrossEntropy(hidden, head, chunk.targets);
    const sum = b.reduceSum(tokenNats, [0]);
    nats = nats === undefined ? sum : b.add(nats, sum);
    const known = new Map([[sum, training.dNats]]);
    if (dHead !== undefined) known.set(head, dHead);
    const isWhole = training.trainsHead && !training.targetRowsApart;
    const wanted = isWhole ? [hidden, head] : [hidden];
    const [dHidden, dHeadNow] = b.scope("backward", () => backpropagate(b, known, wanted, { since }));
    dHiddens.push(dHidden!);
    if (isWhole) dHead = dHeadNow;
    else if (training.trainsHead) {
      const [blocks, rows] = blockedShape(head.shape);
      const cut = b.reshape(probabilities, [hidden.shape[0]!, blocks, rows]);
      const dense = b.scope("backward", () => b.matMulInBlocks(cut, b.mul(hidden, training.dNats)));
      dHead = dHead === undefined ? dense : b.add(dHead, dense);
    }
    finished = [nats, dHidden!, ...(dHead === undefined ? [] : [dHead])];
  }
  return { nats: nats!, dHidden: b.after(b.concat(dHiddens, 0), finished), dHead };
}

function chunksOf(b: GraphBuilder, { hidden, head, targets, chunkLogitsBytes }: HeadInputs) {
  const [tokens, width] = hidden.shape as [number, number];
  const sizes = chunkSizes(tokens, head.shape[0]!, width, chunkLogitsBytes);
  const ids = b.split(targets, 0, sizes);
  return b.split(hidden, 0, sizes).map((rows, chunk) => ({ hidden: rows, targets: ids[chunk]! }));
}
