import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SlowTokenizerError, UnsupportedTokenizerError } from "./errors.ts";
import { GPT2_PATTERN, WordSplitter } from "./word-splitter.ts";

function wordsOf(splitter: WordSplitter, text: string): string[] {
  const words: string[] = [];
  splitter.split(text, (word) => words.push(word));
  return words;
}

describe("a pattern that nobody vouches for", () => {
  test("cuts as one that is known does", () => {
    const known = new WordSplitter();
    // The same expression under another spelling.
    const unknown = new WordSplitter(`(?:${GPT2_PATTERN})`);
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 80 }), (text) => {
        expect(wordsOf(unknown, text)).toEqual(wordsOf(known, text));
      }),
      { numRuns: 200 },
    );
  });

  test("loses no piece of a text that it does not match", () => {
    expect(wordsOf(new WordSplitter("b+"), "aabbacb")).toEqual(["aa", "bb", "ac", "b"]);
  });

  test.each([
    ["exponential time", "(?:[a-z]+)+\\d"],
    ["a power of the text's length", "[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*\\d"],
    ["exponential time in what it looks ahead at", "(?=(?:[a-z]|[a-z][a-z])*\\d)[a-z]"],
  ])("and takes %s is stopped, and stays usable where it is quick", (_, pattern) => {
    const splitter = new WordSplitter(pattern, 100);
    const startedMs = performance.now();
    expect(() => wordsOf(splitter, "a".repeat(2000))).toThrow(SlowTokenizerError);
    expect(performance.now() - startedMs).toBeLessThan(3000);
    expect(wordsOf(splitter, "..").join("")).toBe("..");
  });

  test("and needs more memory to go back in than there is, is stopped as well", () => {
    const splitter = new WordSplitter("(?:a|b)*c");
    expect(() => wordsOf(splitter, "ab".repeat(5_000_000))).toThrow(SlowTokenizerError);
  });

  test("and is longer than any is refused", () => {
    expect(() => new WordSplitter("a|".repeat(3000))).toThrow(UnsupportedTokenizerError);
  });
});
