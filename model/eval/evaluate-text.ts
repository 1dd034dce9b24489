// How well a model predicts a text, all of it: every token counts once, and every byte. Owns the arithmetic and the order
// of its sums; where text comes from and how it is shown is the caller's.
//   bits per byte          = sum of nats / ln 2 / UTF-8 bytes of the documents        compares any two models
//   perplexity             = exp(nats per token)                                      compares models of one vocabulary
//   unigram-normalised     = nats per token - H, where H = -sum_v p_v ln p_v is the cross-entropy that the source's own
//   loss, and its exp        token frequencies p have with it. What context has taught, per token (DEPT section 4, Photon)
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { bitsPerByte } from "./bits-per-byte.ts";
import type { Scorer } from "./scorer.ts";
import { type WindowBatch, Windows } from "./windows.ts";

export interface TextEvaluation {
  readonly bitsPerByte: number;
  readonly perplexity: number;
  readonly natsPerToken: number;
  /** H, in nats per token. */
  readonly unigramNatsPerToken: number;
  readonly normalizedNatsPerToken: number;
  readonly normalizedPerplexity: number;
  /** End-of-text tokens included, one a document: where a document ends has to be predicted too. */
  readonly tokens: number;
  readonly bytes: number;
  readonly documents: number;
}

export interface EvaluateTextOptions {
  /** Tokens between the begins of two windows; default the sequence length, so that windows do not overlap. */
  readonly stride?: number | undefined;
  /** After each batch. */
  readonly onProgress?: ((soFar: { readonly tokens: number; readonly nats: number }) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

type Encoder = Pick<Tokenizer, "encode" | "endOfText" | "vocabularySize">;

/**
 * Evaluates on `documents`, in one pass and with one window batch in memory. The sums are of float32 per token, in float64
 * and in the order of the text.
 * @throws RangeError where there is no document; what `documents` throws; the signal's reason
 */
export async function evaluateText(
  scorer: Scorer,
  tokenizer: Encoder,
  documents: AsyncIterable<string> | Iterable<string>,
  { stride, onProgress, signal }: EvaluateTextOptions = {},
): Promise<TextEvaluation> {
  const { sequenceLength } = scorer.config;
  const { endOfText } = tokenizer;
  const shape = { batchSize: scorer.batchSize, sequenceLength, stride: stride ?? sequenceLength, endOfText };
  const windows = new Windows(shape);
  const frequencies = new Float64Array(tokenizer.vocabularySize);
  let nats = 0;
  let tokens = 0;
  let bytes = 0;
  let count = 0;

  const score = async (batches: Iterable<WindowBatch>): Promise<void> => {
    for (const { batch, counted } of batches) {
      // A batch blocks this thread: a Ctrl-C is heard between two of them.
      await nextTurn();
      signal?.throwIfAborted();
      const natsOf = await scorer.score(batch);
      for (const [from, to] of counted) {
        for (let at = from; at < to; at++) {
          nats += natsOf[at]!;
          frequencies[batch.targets[at]!]!++;
        }
        tokens += to - from;
      }
      onProgress?.({ tokens, nats });
    }
  };
  const endToken = [endOfText];
  for await (const document of documents) {
    signal?.throwIfAborted();
    count += 1;
    bytes += Buffer.byteLength(document);
    await score(windows.push(tokenizer.encode(document)));
    await score(windows.push(endToken));
  }
  await score(windows.end());
  if (bytes === 0) throw new RangeError("there is no text to evaluate on");

  const natsPerToken = nats / tokens;
  const unigramNatsPerToken = entropy(frequencies, tokens);
  const normalizedNatsPerToken = natsPerToken - unigramNatsPerToken;
  return {
    bitsPerByte: bitsPerByte(nats, bytes),
    perplexity: Math.exp(natsPerToken),
    natsPerToken,
    unigramNatsPerToken,
    normalizedNatsPerToken,
    normalizedPerplexity: Math.exp(normalizedNatsPerToken),
    tokens,
    bytes,
    documents: count,
  };
}

/** -sum p ln p of the frequencies, in nats. */
function entropy(frequencies: Float64Array, total: number): number {
  let nats = 0;
  for (const frequency of frequencies) {
    if (frequency > 0) nats -= (frequency / total) * Math.log(frequency / total);
  }
  return nats;
}
