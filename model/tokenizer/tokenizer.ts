// The tokenizer that the rest of the system sees: text ⇄ token ids, exact to the byte. Owns the word cache.
import { createHash } from "node:crypto";
import { fromLetters, LETTER_OF_BYTE } from "./byte-alphabet.ts";
import { BytePairEncoder } from "./byte-pair-encoder.ts";
import type { TokenizerDefinition } from "./definition.ts";
import { MergeTable } from "./merge-table.ts";
import { parseTokenizerJson, writeTokenizerJson } from "./tokenizer-json.ts";
import { detach, WordSplitter } from "./word-splitter.ts";

/** Words cached before the cache starts anew: 2^17 hold nearly all running text of a language in some 20 MB. */
const CACHED_WORDS = 2 ** 17;
/** Their tokens; a longer word is not worth keeping. */
const CACHED_TOKENS = 2 ** 20;
const LONGEST_CACHED_WORD_TOKENS = 63;

/** A cached word's entry is its one token, or for several -(offset · 64 + length) into the cached tokens. */
const LENGTH_STEP = LONGEST_CACHED_WORD_TOKENS + 1;

/**
 * A byte-level BPE tokenizer. Immutable but for its cache; not for use by two threads at once (send `toJson()` and
 * build another there).
 *
 * `decodeBytes(encode(text))` is the UTF-8 of `text`, byte for byte, unless the tokenizer.json asks for a Unicode
 * normalization. A lone surrogate has no UTF-8 and becomes U+FFFD. Special tokens are never made from text: a literal
 * `<|endoftext|>` in a document is encoded as the characters it is written in.
 */
export class Tokenizer {
  readonly vocabularySize: number;
  /** Id of the token that ends every document. */
  readonly endOfText: number;
  /** UTF-8 bytes of each token, by id; 0 for special tokens and unused ids. The denominator of bits per byte. */
  readonly byteLengths: Uint32Array;
  /** Lower-case hex SHA-256 of what `toJson` gives: equal exactly where ids are equal. */
  readonly fingerprint: string;

  /** What it is made of. */
  readonly definition: TokenizerDefinition;
  readonly #json: string;
  readonly #splitter: WordSplitter;
  readonly #encoder: BytePairEncoder;
  readonly #tokenBytes: readonly Uint8Array[];
  /** Ids of whole words, only where the definition ignores merges. */
  readonly #wholeWords: ReadonlyMap<string, number> | undefined;

  readonly #utf8 = new TextEncoder();
  #wordBytes = new Uint8Array(512);
  #output = new Uint32Array(4096);
  #outputLength = 0;
  readonly #cache = new Map<string, number>();
  readonly #cachedTokens = new Int32Array(CACHED_TOKENS);
  #cachedTokensLength = 0;

  constructor(definition: TokenizerDefinition) {
    this.definition = definition;
    this.#json = writeTokenizerJson(definition);
    this.fingerprint = createHash("sha256").update(this.#json).digest("hex");
    this.vocabularySize = definition.tokens.length;
    this.endOfText = definition.endOfText;
    this.#splitter = new WordSplitter(definition.pattern);
    const noBytes = new Uint8Array(0);
    this.#tokenBytes = definition.tokens.map((token) =>
      token === undefined ? noBytes : fromLetters(token)!,
    );
    this.byteLengths = Uint32Array.from(this.#tokenBytes, (bytes) => bytes.length);
    const idOfToken = new Map(definition.tokens.map((token, id) => [token, id]));
    const tokenOfByte = Int32Array.from(LETTER_OF_BYTE, (letter) => idOfToken.get(letter)!);
    this.#encoder = new BytePairEncoder(new MergeTable(definition.merges), tokenOfByte);
    if (definition.ignoreMerges) this.#wholeWords = wordsOfTokens(this.#tokenBytes);
  }

  /** @throws TokenizerError (see errors.ts) that says what is wrong with the file and what to do. */
  static fromJson(text: string): Tokenizer {
    return new Tokenizer(parseTokenizerJson(text));
  }

  /** Hugging Face's tokenizer.json: loads in its libraries with the same ids. */
  toJson(): string {
    return this.#json;
  }

  /** Merges in order of rank, each as its two tokens in letters. */
  mergePairs(): [string, string][] {
    const { merges, tokens } = this.definition;
    const pairs: [string, string][] = [];
    for (let i = 0; i < merges.length; i += 3) pairs.push([tokens[merges[i]!]!, tokens[merges[i + 1]!]!]);
    return pairs;
  }

  /** Token ids of `text`, without an end-of-text token. */
  encode(text: string): Uint32Array {
    let normalized = text;
    for (const form of this.definition.normalizations) normalized = normalized.normalize(form);
    this.#outputLength = 0;
    this.#splitter.split(normalized, this.#appendWord);
    return this.#output.slice(0, this.#outputLength);
  }

  /** The bytes of `ids`; special tokens have none. Exact also where `ids` ends inside of a character. */
  decodeBytes(ids: ArrayLike<number>): Uint8Array {
    let length = 0;
    for (let i = 0; i < ids.length; i++) length += this.#bytesOf(ids[i]!).length;
    const bytes = new Uint8Array(length);
    let offset = 0;
    for (let i = 0; i < ids.length; i++) {
      const token = this.#bytesOf(ids[i]!);
      bytes.set(token, offset);
      offset += token.length;
    }
    return bytes;
  }

  /** The text of `ids`; bytes that are no UTF-8 (a character cut in two) become U+FFFD. */
  decode(ids: ArrayLike<number>): string {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.decodeBytes(ids));
  }

  /** Decodes ids as they come: characters that span calls come whole, with the call that completes them. */
  decodeStream(): { push(ids: ArrayLike<number>): string; end(): string } {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return {
      push: (ids) => decoder.decode(this.decodeBytes(ids), { stream: true }),
      end: () => decoder.decode(),
    };
  }

  #bytesOf(id: number): Uint8Array {
    const bytes = this.#tokenBytes[id];
    if (bytes === undefined) {
      throw new RangeError(`Token ${id} is outside of the vocabulary of ${this.vocabularySize} tokens.`);
    }
    return bytes;
  }

  readonly #appendWord = (word: string): void => {
    const cached = this.#cache.get(word);
    if (cached === undefined) {
      this.#appendUnknownWord(word);
    } else if (cached >= 0) {
      this.#reserve(1);
      this.#output[this.#outputLength++] = cached;
    } else {
      const length = -cached % LENGTH_STEP;
      const offset = (-cached - length) / LENGTH_STEP;
      this.#reserve(length);
      for (let i = 0; i < length; i++) this.#output[this.#outputLength++] = this.#cachedTokens[offset + i]!;
    }
  };

  #appendUnknownWord(word: string): void {
    const tokens = this.#encodeWord(word);
    this.#reserve(tokens.length);
    this.#output.set(tokens, this.#outputLength);
    this.#outputLength += tokens.length;
    if (tokens.length > LONGEST_CACHED_WORD_TOKENS) return;
    if (this.#cache.size >= CACHED_WORDS || this.#cachedTokensLength + tokens.length > CACHED_TOKENS) {
      this.#cache.clear();
      this.#cachedTokensLength = 0;
    }
    if (tokens.length === 1) {
      this.#cache.set(detach(word), tokens[0]!);
      return;
    }
    this.#cachedTokens.set(tokens, this.#cachedTokensLength);
    this.#cache.set(detach(word), -(this.#cachedTokensLength * LENGTH_STEP + tokens.length));
    this.#cachedTokensLength += tokens.length;
  }

  #encodeWord(word: string): Int32Array {
    const whole = this.#wholeWords?.get(word);
    if (whole !== undefined) return Int32Array.of(whole);
    if (word.length * 3 > this.#wordBytes.length) this.#wordBytes = new Uint8Array(word.length * 3);
    const { written } = this.#utf8.encodeInto(word, this.#wordBytes);
    return this.#encoder.encode(this.#wordBytes, written);
  }

  #reserve(tokens: number): void {
    if (this.#outputLength + tokens <= this.#output.length) return;
    const larger = new Uint32Array(Math.max(this.#output.length * 2, this.#outputLength + tokens));
    larger.set(this.#output);
    this.#output = larger;
  }
}

/** Text → id of the tokens whose bytes are UTF-8. */
function wordsOfTokens(tokenBytes: readonly Uint8Array[]): Map<string, number> {
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const words = new Map<string, number>();
  tokenBytes.forEach((bytes, id) => {
    if (bytes.length === 0) return;
    try {
      words.set(strict.decode(bytes), id);
    } catch {
      // A piece of a character is never a word.
    }
  });
  return words;
}
