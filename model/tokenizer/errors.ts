// What can be wrong with a tokenizer or with the text to train one from. Each error names the cause and the remedy.

export type TokenizerErrorCode =
  | "TOKENIZER_UNREADABLE"
  | "TOKENIZER_NOT_BYTE_LEVEL_BPE"
  | "TOKENIZER_MISSING_BYTES"
  | "TOKENIZER_UNSUPPORTED"
  | "TOKENIZER_TOO_SLOW"
  | "VOCABULARY_SIZE_OUT_OF_RANGE"
  | "CORPUS_TOO_SMALL_FOR_VOCABULARY";

export class TokenizerError extends Error {
  readonly code: TokenizerErrorCode;

  constructor(code: TokenizerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** Not JSON, or JSON of another shape than a tokenizer.json. */
export class TokenizerUnreadableError extends TokenizerError {
  constructor(reason: string, options?: ErrorOptions) {
    super(
      "TOKENIZER_UNREADABLE",
      `The tokenizer cannot be read: ${reason}. Give a tokenizer.json as glossa tokenizer or Hugging Face's tokenizers saves it.`,
      options,
    );
  }
}

/** A tokenizer of another kind (WordPiece, Unigram, SentencePiece-style BPE). */
export class NotByteLevelError extends TokenizerError {
  constructor(reason: string) {
    super(
      "TOKENIZER_NOT_BYTE_LEVEL_BPE",
      `The tokenizer is not a byte-level BPE: ${reason}. Use a GPT-2 style tokenizer.json, or leave it out to have one trained.`,
    );
  }
}

/** Some of the 256 bytes have no token, so that text with them would be lost without a word. */
export class MissingBytesError extends TokenizerError {
  readonly missingBytes: readonly number[];

  constructor(missingBytes: readonly number[]) {
    const named = missingBytes.slice(0, 8).map((byte) => `0x${byte.toString(16).padStart(2, "0")}`);
    super(
      "TOKENIZER_MISSING_BYTES",
      `The tokenizer has no token for ${missingBytes.length} of the 256 bytes (${named.join(", ")}${missingBytes.length > 8 ? ", …" : ""}) and would lose text; train it with the whole byte alphabet as its initial alphabet.`,
    );
    this.missingBytes = missingBytes;
  }
}

/** A byte-level BPE that asks for something this encoder does not do. */
export class UnsupportedTokenizerError extends TokenizerError {
  constructor(feature: string, remedy: string) {
    super("TOKENIZER_UNSUPPORTED", `The tokenizer uses ${feature}, which is not supported: ${remedy}.`);
  }
}

/** Its split pattern takes exponential time, by mistake or so that whoever uses it stands still. */
export class SlowTokenizerError extends TokenizerError {
  constructor(pattern: string, characters: number, options: ErrorOptions) {
    const shown = pattern.length > 200 ? `${pattern.slice(0, 200)}…` : pattern;
    super(
      "TOKENIZER_TOO_SLOW",
      `The tokenizer's split pattern ${JSON.stringify(shown)} did not come to an end over a text of ${characters} characters: use a tokenizer with GPT-2's pattern, or ask whoever made the run for one.`,
      options,
    );
  }
}

export class VocabularySizeError extends TokenizerError {
  readonly vocabularySize: number;

  constructor(vocabularySize: number, smallest: number, largest: number) {
    super(
      "VOCABULARY_SIZE_OUT_OF_RANGE",
      `A vocabulary of ${vocabularySize} tokens cannot be trained: choose a whole number from ${smallest} (256 bytes and the end-of-text token) to ${largest}.`,
    );
    this.vocabularySize = vocabularySize;
  }
}

/** The text ran out of pairs worth merging before the vocabulary was full. */
export class CorpusTooSmallForVocabularyError extends TokenizerError {
  readonly requestedVocabularySize: number;
  readonly possibleVocabularySize: number;
  readonly possibleMerges: number;

  constructor(requestedVocabularySize: number, possibleVocabularySize: number, possibleMerges: number) {
    super(
      "CORPUS_TOO_SMALL_FOR_VOCABULARY",
      `The text is too small for a vocabulary of ${requestedVocabularySize}: only ${possibleMerges} merges were possible; ask for at most ${possibleVocabularySize} tokens or give more text.`,
    );
    this.requestedVocabularySize = requestedVocabularySize;
    this.possibleVocabularySize = possibleVocabularySize;
    this.possibleMerges = possibleMerges;
  }
}
