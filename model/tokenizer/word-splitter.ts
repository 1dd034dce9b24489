// Cuts text into the words that BPE works inside of. Owns the regular expressions; the default is GPT-2's.
import { UnsupportedTokenizerError } from "./errors.ts";

/** GPT-2's pattern as tokenizer.json files spell it (Radford et al. 2019, the released encoder). */
export const GPT2_PATTERN =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/**
 * Unicode's White_Space. JavaScript's \s differs in two characters from the \s of the engines that Hugging Face uses:
 * it has U+FEFF (byte order mark) and lacks U+0085 (next line), so it is spelled out.
 */
const WHITE_SPACE = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

/** Calls `onWord` with every piece of `text` in order; the pieces joined are the text. */
export class WordSplitter {
  readonly pattern: string;
  readonly #expression: RegExp;

  /** @throws UnsupportedTokenizerError where `pattern` uses what JavaScript's expressions lack (possessive quantifiers, …). */
  constructor(pattern: string = GPT2_PATTERN) {
    this.pattern = pattern;
    try {
      this.#expression = new RegExp(withUnicodeWhiteSpace(pattern), "gu");
    } catch {
      throw new UnsupportedTokenizerError(
        `the split pattern ${JSON.stringify(pattern)}`,
        "use a tokenizer with GPT-2's pattern, or leave it out to have one trained",
      );
    }
  }

  split(text: string, onWord: (word: string) => void): void {
    const expression = this.#expression;
    let end = 0;
    expression.lastIndex = 0;
    for (let match = expression.exec(text); match !== null; match = expression.exec(text)) {
      const word = match[0];
      if (match.index > end) onWord(text.slice(end, match.index)); // what the pattern skips is a word too: no byte is lost
      if (word.length > 0) onWord(word);
      else expression.lastIndex += 1;
      end = match.index + word.length;
    }
    if (end < text.length) onWord(text.slice(end));
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
