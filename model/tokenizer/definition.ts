// What a byte-level BPE tokenizer is, as plain data: what tokenizer.json holds and what an encoder is built from.

/** The token between documents. The trainer gives it id 0, as Hugging Face's trainer numbers special tokens first. */
export const END_OF_TEXT = "<|endoftext|>";

/** A token outside of the byte-level vocabulary: never made from text and without bytes of its own. */
export interface SpecialToken {
  readonly id: number;
  readonly content: string;
}

export interface TokenizerDefinition {
  /** Ordinary tokens by id, in letters (byte-alphabet.ts). Ids of special tokens, and ids nobody uses, are undefined. */
  readonly tokens: readonly (string | undefined)[];
  readonly specialTokens: readonly SpecialToken[];
  readonly endOfText: number;
  /** Flat triples in order of rank: left token, right token, merged token. */
  readonly merges: Int32Array;
  /** The regular expression that cuts words, as tokenizer.json spells it. */
  readonly pattern: string;
  /** Applied to text before anything else; empty for tokenizers trained here, so that they keep every byte. */
  readonly normalizations: readonly NormalizationForm[];
  /** A word that is a token as a whole is taken as it is, even where merges would cut it otherwise. */
  readonly ignoreMerges: boolean;
}

export type NormalizationForm = "NFC" | "NFD" | "NFKC" | "NFKD";
