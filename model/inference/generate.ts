// Token after token: what a decoder says, sampling chooses, and the decoder reads. Owns the order of these and the seed's
// stream of random numbers; text is the caller's.
import { RandomStream } from "../random.ts";
import type { Decoder, DecoderStep } from "./decoder.ts";
import { freeCache } from "./decoder.ts";
import { type SamplingOptions, sampleToken } from "./sampling.ts";

export interface GenerationOptions extends SamplingOptions {
  readonly maxTokens: number;
  /** Equal seeds give equal tokens, on one machine. */
  readonly seed: string;
  /** Ends the text; not given out. */
  readonly endOfText: number;
  /** Only ids below this are drawn: an embedding may have rows that no token has. */
  readonly vocabularySize: number;
}

export type GenerationEnd = "end-of-text" | "max-tokens";

const SEED_DOMAIN = "glossa/generate/1";

/**
 * Goes on from where `start` has read to; several texts may go on from one, so its cache stays as it is. Gives each token
 * before the model reads it.
 */
export async function* generateTokens(
  decoder: Decoder,
  start: DecoderStep,
  options: GenerationOptions,
  signal: AbortSignal,
): AsyncGenerator<number, GenerationEnd> {
  const { maxTokens, endOfText, vocabularySize } = options;
  const stream = RandomStream.fromSeed(`${SEED_DOMAIN}\n${options.seed}`);
  let step = start;
  try {
    for (let made = 0; made < maxTokens; ) {
      signal.throwIfAborted();
      const token = sampleToken(step.logits.subarray(0, vocabularySize), options, () => uniform(stream));
      if (token === endOfText) return "end-of-text";
      made++;
      yield token;
      if (made === maxTokens) break;
      const next = await decoder.read([token], step.cache, signal);
      if (step !== start) freeCache(step.cache);
      step = next;
    }
    return "max-tokens";
  } finally {
    if (step !== start) freeCache(step.cache);
  }
}

/** 53 random bits as a number of [0, 1). */
function uniform(stream: RandomStream): number {
  return ((stream.nextUint32() >>> 5) * 2 ** 26 + (stream.nextUint32() >>> 6)) / 2 ** 53;
}
