// The smallest tokenizer there is: 256 bytes and the end of a text, no merges. For models made up in tests.
import { LETTER_OF_BYTE } from "../tokenizer/byte-alphabet.ts";
import { END_OF_TEXT } from "../tokenizer/definition.ts";
import { writeTokenizerJson } from "../tokenizer/tokenizer-json.ts";
import { GPT2_PATTERN } from "../tokenizer/word-splitter.ts";

/** Text of its tokenizer.json: 257 tokens, <|endoftext|> is 0 and byte b is b + 1. */
export function byteTokenizerJson(): string {
  return writeTokenizerJson({
    tokens: [undefined, ...LETTER_OF_BYTE],
    specialTokens: [{ id: 0, content: END_OF_TEXT }],
    endOfText: 0,
    merges: new Int32Array(0),
    pattern: GPT2_PATTERN,
    normalizations: [],
    ignoreMerges: false,
  });
}
