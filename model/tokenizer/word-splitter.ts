// Cuts text into the words that BPE works inside of. Owns the regular expressions; the default is GPT-2's. A tokenizer may
// come from a stranger whose run is joined, and with it the expression: its time is bounded.
import { createContext, Script } from "node:vm";
import { SlowTokenizerError, UnsupportedTokenizerError } from "./errors.ts";

/** GPT-2's pattern as tokenizer.json files spell it (Radford et al. 2019, the released encoder). */
export const GPT2_PATTERN =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** The patterns of Llama 3 (and cl100k) and of Qwen 2, as their tokenizer.json files spell them. */
export const LLAMA3_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
export const QWEN2_PATTERN = LLAMA3_PATTERN.replace("{1,3}", "");

/** Known to take a time in proportion to the text, whatever it is: they need no guard, which costs 0.15 ms a document. */
const LINEAR_PATTERNS: ReadonlySet<string> = new Set([GPT2_PATTERN, LLAMA3_PATTERN, QWEN2_PATTERN]);

/** GPT-4o's has 500. Some of a hundred thousand take seconds to compile. */
const LONGEST_PATTERN_CHARACTERS = 4096;

/** A document has a million characters at most, which ordinary patterns cut in a tenth of a second. */
const LONGEST_SPLIT_MS = 5_000;

/**
 * Unicode's White_Space. JavaScript's \s differs in two characters from the \s of the engines that Hugging Face uses:
 * it has U+FEFF (byte order mark) and lacks U+0085 (next line), so it is spelled out.
 */
const WHITE_SPACE = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

/** Calls `onWord` with every piece of `text` in order; the pieces joined are the text. */
export class WordSplitter {
  readonly pattern: string;
  readonly #expression: RegExp;
  readonly #guard: Guard | undefined;

  /** @throws UnsupportedTokenizerError where `pattern` uses what JavaScript's expressions lack (possessive quantifiers, …). */
  constructor(pattern: string = GPT2_PATTERN, longestSplitMs: number = LONGEST_SPLIT_MS) {
    this.pattern = pattern;
    if (pattern.length > LONGEST_PATTERN_CHARACTERS) {
      throw new UnsupportedTokenizerError(`a split pattern of ${pattern.length} characters`, REMEDY);
    }
    try {
      this.#expression = new RegExp(withUnicodeWhiteSpace(pattern), "gu");
    } catch {
      throw new UnsupportedTokenizerError(`the split pattern ${JSON.stringify(pattern)}`, REMEDY);
    }
    if (!LINEAR_PATTERNS.has(pattern)) this.#guard = new Guard(pattern, longestSplitMs);
  }

  /** @throws SlowTokenizerError where the pattern takes longer over the text than any of use does */
  split(text: string, onWord: (word: string) => void): void {
    if (this.#guard === undefined) {
      this.#scan(text, (from, to) => onWord(text.slice(from, to)));
      return;
    }
    // The guard may end what it runs at any instruction: nothing else runs in it.
    const ends: number[] = [];
    this.#guard.run(text.length, () => this.#scan(text, (_, to) => ends.push(to)));
    let from = 0;
    for (const to of ends) {
      onWord(text.slice(from, to));
      from = to;
    }
  }

  #scan(text: string, onPiece: (from: number, to: number) => void): void {
    const expression = this.#expression;
    let end = 0;
    expression.lastIndex = 0;
    for (let match = expression.exec(text); match !== null; match = expression.exec(text)) {
      const { length } = match[0];
      if (match.index > end) onPiece(end, match.index); // what the pattern skips is a word too: no byte is lost
      if (length > 0) onPiece(match.index, match.index + length);
      else expression.lastIndex += 1;
      end = match.index + length;
    }
    if (end < text.length) onPiece(end, text.length);
  }
}

const REMEDY = "use a tokenizer with GPT-2's pattern, or leave it out to have one trained";

/** Bounds the time that an expression takes, which can grow exponentially with the text. */
class Guard {
  readonly #pattern: string;
  readonly #longestMs: number;
  /** V8 ends a script, also within an expression, when its time is up. */
  readonly #script = new Script("work()");
  readonly #context: { work: () => void } = createContext({ work: () => undefined }) as { work: () => void };

  constructor(pattern: string, longestMs: number) {
    this.#pattern = pattern;
    this.#longestMs = longestMs;
  }

  run(characters: number, work: () => void): void {
    this.#context.work = work;
    try {
      this.#script.runInContext(this.#context, { timeout: this.#longestMs });
    } catch (cause) {
      // Also where it asks for more memory to go back in than there is.
      throw new SlowTokenizerError(this.#pattern, characters, { cause });
    }
  }
}

/** Replaces \s and \S, inside and outside of brackets. */
function withUnicodeWhiteSpace(pattern: string): string {
  let inBrackets = false;
  let out = "";
  for (let i = 0; i < pattern.length; i++) {
    const character = pattern[i]!;
    if (character === "\\") {
      const next = pattern[++i] ?? "";
      if (next === "s") out += inBrackets ? WHITE_SPACE : `[${WHITE_SPACE}]`;
      else if (next === "S" && !inBrackets) out += `[^${WHITE_SPACE}]`;
      else out += character + next;
      continue;
    }
    if (character === "[") inBrackets = true;
    if (character === "]") inBrackets = false;
    out += character;
  }
  return out;
}

/** V8 keeps a substring of 13 characters or more as a view that holds its whole document in memory. */
const LONGEST_COPIED_SUBSTRING = 12;

/** The same string, owning its characters, for keys that outlive the document they were cut from. */
export function detach(word: string): string {
  return word.length <= LONGEST_COPIED_SUBSTRING ? word : Buffer.from(word, "utf16le").toString("utf16le");
}
