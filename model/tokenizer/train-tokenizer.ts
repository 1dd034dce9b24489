// Trains a byte-level BPE tokenizer on a sample of text. Owns the byte budget, progress and cancellation.
import { setImmediate as nextTurn } from "node:timers/promises";
import { BYTES_BY_LETTER, LETTER_OF_BYTE } from "./byte-alphabet.ts";
import { END_OF_TEXT } from "./definition.ts";
import { CorpusTooSmallForVocabularyError, VocabularySizeError } from "./errors.ts";
import { learnMerges } from "./learn-merges.ts";
import { Tokenizer } from "./tokenizer.ts";
import { WordCounts } from "./word-counts.ts";
import { GPT2_PATTERN, WordSplitter } from "./word-splitter.ts";

/** The end-of-text token and the 256 bytes. */
export const SMALLEST_VOCABULARY = 257;
/** Eight times the largest vocabulary in use; an embedding beyond it would dwarf any body. */
export const LARGEST_VOCABULARY = 2 ** 21;

/** Beyond some 20 MB merges hardly change (and the time does). */
const DEFAULT_SAMPLE_BYTES = 20_000_000;
/** A pair seen once says nothing of the language. */
const MINIMUM_PAIR_COUNT = 2;
const BYTES_PER_TURN = 1_000_000;

export interface TokenizerTrainingProgress {
  readonly phase: "counting" | "merging";
  /** UTF-8 bytes read of at most `maxBytes`, then tokens made of `vocabularySize`. */
  readonly done: number;
  readonly total: number;
}

export interface TokenizerTrainingOptions {
  /** Tokens in all: 256 bytes, the end-of-text token and vocabularySize - 257 merges. */
  readonly vocabularySize: number;
  /** Reading stops after the document that reaches this many bytes. Default 20 MB. */
  readonly maxBytes?: number | undefined;
  /** Pairs seen less often are not merged. Default 2. */
  readonly minimumPairCount?: number | undefined;
  readonly onProgress?: ((progress: TokenizerTrainingProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Learns a tokenizer from `documents`. The same text gives the same tokenizer, and merges equal those of Hugging
 * Face's BPE trainer. Ids: 0 end-of-text, 1-256 the bytes, then the merges in order.
 * @throws VocabularySizeError, CorpusTooSmallForVocabularyError, what `documents` throws, the signal's reason
 */
export async function trainTokenizer(
  documents: AsyncIterable<string> | Iterable<string>,
  options: TokenizerTrainingOptions,
): Promise<Tokenizer> {
  const { vocabularySize, maxBytes = DEFAULT_SAMPLE_BYTES, onProgress, signal } = options;
  if (
    !Number.isInteger(vocabularySize) ||
    vocabularySize < SMALLEST_VOCABULARY ||
    vocabularySize > LARGEST_VOCABULARY
  ) {
    throw new VocabularySizeError(vocabularySize, SMALLEST_VOCABULARY, LARGEST_VOCABULARY);
  }
  const words = new WordCounts(new WordSplitter());
  let bytes = 0;
  let turnEnds = BYTES_PER_TURN;
  signal?.throwIfAborted();
  for await (const document of documents) {
    words.add(document);
    bytes += Buffer.byteLength(document);
    if (bytes >= turnEnds) {
      turnEnds = bytes + BYTES_PER_TURN;
      onProgress?.({ phase: "counting", done: Math.min(bytes, maxBytes), total: maxBytes });
      await nextTurn();
      signal?.throwIfAborted();
    }
    if (bytes >= maxBytes) break;
  }

  const initialTokens = [undefined, ...BYTES_BY_LETTER.map((byte) => LETTER_OF_BYTE[byte])];
  const tokenOfByte = new Int32Array(256);
  BYTES_BY_LETTER.forEach((byte, index) => {
    tokenOfByte[byte] = index + 1;
  });
  const learning = learnMerges(words.counts, {
    initialTokens,
    tokenOfByte,
    vocabularySize,
    minimumCount: options.minimumPairCount ?? MINIMUM_PAIR_COUNT,
  });
  let step = learning.next();
  for (; !step.done; step = learning.next()) {
    onProgress?.({ phase: "merging", done: step.value, total: vocabularySize });
    await nextTurn();
    signal?.throwIfAborted();
  }
  const { tokens, merges } = step.value;
  if (tokens.length < vocabularySize) {
    throw new CorpusTooSmallForVocabularyError(vocabularySize, tokens.length, merges.length / 3);
  }
  onProgress?.({ phase: "merging", done: vocabularySize, total: vocabularySize });
  return new Tokenizer({
    tokens,
    specialTokens: [{ id: 0, content: END_OF_TEXT }],
    endOfText: 0,
    merges,
    pattern: GPT2_PATTERN,
    normalizations: [],
    ignoreMerges: false,
  });
}
