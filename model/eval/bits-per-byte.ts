// Evaluation on held-out text in a unit that vocabularies share: bits per byte. Owns the arithmetic only.
//   bits per byte = (sum of cross-entropies in nats) / ln 2 / (UTF-8 bytes of the targets)
// A perplexity is per token and so compares models of one vocabulary only.
import { countTargetBytes } from "../data/batches.ts";
import type { Batch, TrainingModel } from "../types.ts";

export interface Evaluation {
  readonly bitsPerByte: number;
  /** exp(natsPerToken). */
  readonly perplexity: number;
  readonly natsPerToken: number;
  readonly tokens: number;
  readonly bytes: number;
}

/**
 * Evaluates `model` on `batches`. `byteLengths` has the bytes of each token by id (Tokenizer.byteLengths). End-of-text
 * targets cost their nats and have no bytes: where documents end has to be predicted too.
 * @throws RangeError where the batches hold no text; the signal's reason
 */
export async function evaluateBitsPerByte(
  model: Pick<TrainingModel, "evaluate">,
  batches: Iterable<Batch>,
  byteLengths: ArrayLike<number>,
  signal?: AbortSignal,
): Promise<Evaluation> {
  let nats = 0;
  let tokens = 0;
  let bytes = 0;
  for (const batch of batches) {
    signal?.throwIfAborted();
    const result = await model.evaluate(batch);
    nats += result.nats;
    tokens += result.tokens;
    bytes += countTargetBytes(batch, byteLengths);
  }
  if (bytes === 0) throw new RangeError("There is no text to evaluate on: the batches hold no bytes.");
  const natsPerToken = nats / tokens;
  return {
    bitsPerByte: bitsPerByte(nats, bytes),
    perplexity: Math.exp(natsPerToken),
    natsPerToken,
    tokens,
    bytes,
  };
}

/** Nats over `bytes` bytes of text as bits per byte. */
export function bitsPerByte(nats: number, bytes: number): number {
  return nats / Math.LN2 / bytes;
}
