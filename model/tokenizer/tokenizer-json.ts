// Hugging Face's tokenizer.json ⇄ TokenizerDefinition. Owns the format: what is written, what is accepted and why not.
import { fromLetters, LETTER_OF_BYTE } from "./byte-alphabet.ts";
import {
  END_OF_TEXT,
  type NormalizationForm,
  type SpecialToken,
  type TokenizerDefinition,
} from "./definition.ts";
import {
  MissingBytesError,
  NotByteLevelError,
  TokenizerUnreadableError,
  UnsupportedTokenizerError,
} from "./errors.ts";
import { GPT2_PATTERN } from "./word-splitter.ts";

/** What other tokenizers call the token between documents, most specific first. */
const END_OF_TEXT_NAMES = [END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>"];
const NORMALIZATION_FORMS: readonly string[] = ["NFC", "NFD", "NFKC", "NFKD"];
/** Each goes over all of a text; one is usual. */
const MOST_NORMALIZATIONS = 8;
/** A hole costs a row of embedding; an id far beyond the number of tokens is a mistake, not a vocabulary. */
const LARGEST_ID = 2 ** 21;

/** The text of a tokenizer.json. Equal definitions give equal texts. */
export function writeTokenizerJson(definition: TokenizerDefinition): string {
  const { tokens, specialTokens, merges, pattern, normalizations } = definition;
  const vocabulary: [string, number][] = specialTokens.map(({ content, id }) => [content, id]);
  tokens.forEach((token, id) => {
    if (token !== undefined) vocabulary.push([token, id]);
  });
  vocabulary.sort((a, b) => a[1] - b[1]);
  const pairs: [string, string][] = [];
  for (let i = 0; i < merges.length; i += 3) pairs.push([tokens[merges[i]!]!, tokens[merges[i + 1]!]!]);
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  const split = { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
  const forms = normalizations.map((type) => ({ type }));
  return JSON.stringify({
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map(({ id, content }) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: forms.length > 1 ? { type: "Sequence", normalizers: forms } : (forms[0] ?? null),
    pre_tokenizer:
      pattern === GPT2_PATTERN
        ? { ...byteLevel, use_regex: true }
        : { type: "Sequence", pretokenizers: [split, { ...byteLevel, use_regex: false }] },
    post_processor: null,
    decoder: { ...byteLevel, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: definition.ignoreMerges,
      vocab: Object.fromEntries(vocabulary),
      merges: pairs,
    },
  });
}

/**
 * Reads and checks a tokenizer.json. Added tokens are kept as special tokens, that is, they are never made from text:
 * a document that spells one out is encoded as the letters it has. Without a token for the end of a text, one is added
 * behind the last id.
 * @throws TokenizerUnreadableError, NotByteLevelError, MissingBytesError, UnsupportedTokenizerError
 */
export function parseTokenizerJson(text: string): TokenizerDefinition {
  try {
    return parseDefinition(text);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new TokenizerUnreadableError("it is nested too deep", { cause });
  }
}

function parseDefinition(text: string): TokenizerDefinition {
  const root = record(parseJson(text), "the file");
  const model = record(root.model, '"model"');
  const type = model.type ?? ("merges" in model ? "BPE" : "unnamed");
  if (type !== "BPE") throw new NotByteLevelError(`its model is ${String(type)}`);
  if (model.byte_fallback === true) {
    throw new NotByteLevelError("its model falls back to bytes, as SentencePiece's do");
  }
  for (const field of ["continuing_subword_prefix", "end_of_word_suffix"]) {
    if (model[field]) throw new NotByteLevelError(`its model has a ${field}`);
  }
  const pattern = readPreTokenizer(root.pre_tokenizer);
  const normalizations = readNormalizer(root.normalizer);
  if (normalizations.length > MOST_NORMALIZATIONS) {
    throw new UnsupportedTokenizerError(
      `${normalizations.length} normalizers`,
      `use one with ${MOST_NORMALIZATIONS} at most`,
    );
  }
  const { tokens, specialTokens } = readVocabulary(model.vocab, root.added_tokens);
  const idOfToken = new Map<string, number>();
  tokens.forEach((token, id) => {
    if (token !== undefined) idOfToken.set(token, id);
  });
  const missing = LETTER_OF_BYTE.flatMap((letter, byte) => (idOfToken.has(letter) ? [] : [byte]));
  if (missing.length > 0) throw new MissingBytesError(missing);
  return {
    tokens,
    specialTokens,
    endOfText: findEndOfText(specialTokens, tokens),
    merges: readMerges(model.merges, idOfToken),
    pattern,
    normalizations,
    ignoreMerges: model.ignore_merges === true,
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TokenizerUnreadableError(`it is not JSON (${(cause as Error).message})`, { cause });
  }
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TokenizerUnreadableError(`${what} is not an object`);
  }
  return value as Record<string, unknown>;
}

function list(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new TokenizerUnreadableError(`${what} is not a list`);
  return value;
}

/** The pattern of ByteLevel, or of Split followed by ByteLevel. */
function readPreTokenizer(value: unknown): string {
  if (value === null || value === undefined) throw new NotByteLevelError("it has no ByteLevel pre-tokenizer");
  const outer = record(value, '"pre_tokenizer"');
  const steps =
    outer.type === "Sequence"
      ? list(outer.pretokenizers, '"pretokenizers"').map((step) => record(step, "a pre-tokenizer"))
      : [outer];
  const types = steps.map((step) => String(step.type));
  const byteLevel = steps.at(-1);
  if (byteLevel?.type !== "ByteLevel") {
    throw new NotByteLevelError(
      `its pre-tokenizer is ${types.join(" + ")}, which does not end with ByteLevel`,
    );
  }
  if (byteLevel.add_prefix_space === true) {
    throw new UnsupportedTokenizerError(
      "add_prefix_space, so that decoding would not give the text back",
      'set "add_prefix_space" to false in its pre_tokenizer',
    );
  }
  const usesOwnPattern = byteLevel.use_regex !== false;
  if (steps.length === 1 && usesOwnPattern) return GPT2_PATTERN;
  const split = steps[0]!;
  const pattern = split.pattern;
  const regex =
    typeof pattern === "object" && pattern !== null ? (pattern as { Regex?: unknown }).Regex : null;
  if (steps.length !== 2 || usesOwnPattern || split.type !== "Split" || typeof regex !== "string") {
    throw new UnsupportedTokenizerError(
      `the pre-tokenizer ${types.join(" + ")}`,
      "use ByteLevel alone, or one Split by a Regex followed by ByteLevel with use_regex false",
    );
  }
  return regex;
}

function readNormalizer(value: unknown): NormalizationForm[] {
  if (value === null || value === undefined) return [];
  const normalizer = record(value, '"normalizer"');
  const type = String(normalizer.type);
  if (type === "Sequence") return list(normalizer.normalizers, '"normalizers"').flatMap(readNormalizer);
  if (!NORMALIZATION_FORMS.includes(type)) {
    throw new UnsupportedTokenizerError(
      `the normalizer ${type}`,
      "use a tokenizer that keeps the text as it is, or one of NFC, NFD, NFKC and NFKD",
    );
  }
  return [type as NormalizationForm];
}

function readVocabulary(vocabulary: unknown, added: unknown) {
  const contentOfId = new Map<number, string>();
  const idOfToken = record(vocabulary, '"vocab"');
  const specialTokens: SpecialToken[] = [];
  for (const item of added === undefined || added === null ? [] : list(added, '"added_tokens"')) {
    const { id, content, special } = record(item, "an added token");
    if (typeof content !== "string") throw new TokenizerUnreadableError("an added token has no content");
    const isOrdinary = special !== true && idOfToken[content] === id && fromLetters(content) !== undefined;
    if (!isOrdinary) specialTokens.push({ id: checkId(id, content), content });
  }
  for (const { id, content } of specialTokens) claim(contentOfId, id, content);
  const tokens: (string | undefined)[] = [];
  for (const [token, value] of Object.entries(idOfToken)) {
    const id = checkId(value, token);
    if (contentOfId.get(id) === token) continue; // a special token that the vocabulary repeats
    if (fromLetters(token) === undefined) {
      throw new NotByteLevelError(`its token ${JSON.stringify(token)} is not written in the byte alphabet`);
    }
    claim(contentOfId, id, token);
    if (END_OF_TEXT_NAMES.includes(token)) specialTokens.push({ id, content: token });
    else tokens[id] = token;
  }
  const length = specialTokens.reduce((longest, { id }) => Math.max(longest, id + 1), tokens.length);
  return { tokens: Array.from({ length }, (_, id) => tokens[id]), specialTokens };
}

function checkId(id: unknown, token: string): number {
  if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > LARGEST_ID) {
    throw new TokenizerUnreadableError(`token ${JSON.stringify(token)} has the id ${JSON.stringify(id)}`);
  }
  return id;
}

function claim(contentOfId: Map<number, string>, id: number, content: string): void {
  const other = contentOfId.get(id);
  if (other !== undefined) {
    throw new TokenizerUnreadableError(
      `the tokens ${JSON.stringify(other)} and ${JSON.stringify(content)} share the id ${id}`,
    );
  }
  contentOfId.set(id, content);
}

/** Finds the token, or adds one to both lists. */
function findEndOfText(specialTokens: SpecialToken[], tokens: (string | undefined)[]): number {
  for (const name of END_OF_TEXT_NAMES) {
    const found = specialTokens.find(({ content }) => content === name);
    if (found !== undefined) return found.id;
  }
  const id = tokens.length;
  tokens.push(undefined);
  specialTokens.push({ id, content: END_OF_TEXT });
  return id;
}

/** Merges come as "left right" (before 2024) or as ["left", "right"]. */
function readMerges(value: unknown, idOfToken: ReadonlyMap<string, number>): Int32Array {
  const merges = list(value, '"merges"');
  const triples = new Int32Array(merges.length * 3);
  merges.forEach((merge, rank) => {
    const pair = typeof merge === "string" ? merge.split(" ") : merge;
    const [left, right] = Array.isArray(pair) && pair.length === 2 ? pair : [];
    const ids = [left, right, `${left}${right}`].map((token) => idOfToken.get(token));
    if (ids.some((id) => id === undefined)) {
      throw new TokenizerUnreadableError(
        `merge ${rank} (${JSON.stringify(merge)}) names a token that "vocab" lacks`,
      );
    }
    triples.set(ids as number[], rank * 3);
  });
  return triples;
}
