import { describe, expect, test } from "vitest";
import { CorpusTooSmallForVocabularyError, VocabularySizeError } from "./errors.ts";
import { type TokenizerTrainingProgress, trainTokenizer } from "./train-tokenizer.ts";
import { WordCounts } from "./word-counts.ts";
import { WordSplitter } from "./word-splitter.ts";

describe("training a tokenizer", () => {
  test("merges the most frequent pair first and breaks ties by the lower ids", async () => {
    // "ab" 4 times, then "cd" and "ce" twice each: of equals the lower ids win, not the first seen.
    const tokenizer = await trainTokenizer(["ce", "ce", "cd", "cd", "ab", "ab", "ab", "ab"], {
      vocabularySize: 260,
    });
    expect(tokenizer.mergePairs()).toEqual([
      ["a", "b"],
      ["c", "d"],
      ["c", "e"],
    ]);
  });

  test("keeps counts right where a pair overlaps itself", async () => {
    const tokenizer = await trainTokenizer(["aaaaa aaaaa aaa"], { vocabularySize: 261, minimumPairCount: 1 });
    expect(tokenizer.mergePairs()).toEqual([
      ["a", "a"],
      ["aa", "a"],
      ["aa", "aaa"],
      ["Ġ", "aaa"],
    ]);
  });

  test("makes the smallest vocabulary, of bytes alone, from no text at all", async () => {
    const tokenizer = await trainTokenizer([], { vocabularySize: 257 });
    expect(tokenizer.encode("鯨")).toHaveLength(3);
  });

  test.each([256, 0, -1, 300.5, Number.NaN, 2 ** 22])(
    "refuses a vocabulary of %d",
    async (vocabularySize) => {
      await expect(trainTokenizer(["text"], { vocabularySize })).rejects.toThrow(VocabularySizeError);
    },
  );

  test("says how many merges a small text allows", async () => {
    const failed = trainTokenizer(["abab abab"], { vocabularySize: 1000 });
    await expect(failed).rejects.toThrow(CorpusTooSmallForVocabularyError);
    await expect(failed).rejects.toMatchObject({
      code: "CORPUS_TOO_SMALL_FOR_VOCABULARY",
      requestedVocabularySize: 1000,
      possibleVocabularySize: 259,
      possibleMerges: 2,
    });
    const possible = await trainTokenizer(["abab abab"], { vocabularySize: 259 });
    expect(possible.vocabularySize).toBe(259);
  });

  test("stops reading at its byte budget", async () => {
    let given = 0;
    async function* documents(): AsyncGenerator<string> {
      for (;;) {
        given += 1;
        yield "the quick brown fox ".repeat(50);
      }
    }
    await trainTokenizer(documents(), { vocabularySize: 260, maxBytes: 10_000 });
    expect(given).toBe(10);
  });

  test("tells its progress, to the end", async () => {
    const seen: TokenizerTrainingProgress[] = [];
    const text = Array.from({ length: 3000 }, (_, i) => `word${(i * 7919) % 997} `).join("");
    const documents = Array.from({ length: 60 }, () => text);
    await trainTokenizer(documents, { vocabularySize: 500, onProgress: (step) => seen.push(step) });
    expect(new Set(seen.map(({ phase }) => phase))).toEqual(new Set(["counting", "merging"]));
    expect(seen.at(-1)).toEqual({ phase: "merging", done: 500, total: 500 });
    expect(seen.every(({ done, total }) => done <= total)).toBe(true);
  });

  test("stops when told to, while counting and while merging", async () => {
    const text = Array.from({ length: 3000 }, (_, i) => `word${(i * 7919) % 997} `).join("");
    for (const phase of ["counting", "merging"]) {
      const controller = new AbortController();
      const reason = new Error(`stopped while ${phase}`);
      const training = trainTokenizer(
        Array.from({ length: 60 }, () => text),
        {
          vocabularySize: 500,
          signal: controller.signal,
          onProgress: (step) => {
            if (step.phase === phase) controller.abort(reason);
          },
        },
      );
      await expect(training).rejects.toBe(reason);
    }
  });
});

describe("counting words", () => {
  test("keeps the frequent words when there are too many", () => {
    const words = new WordCounts(new WordSplitter(), 1000);
    for (let i = 0; i < 5000; i++) words.add(` often rare${i}`.replace(/\d+/, (n) => toLetters(Number(n))));
    expect(words.counts.size).toBeLessThanOrEqual(1000);
    expect(words.counts.get(" often")).toBe(5000);
  });

  test("cuts words without end, and never through a character", () => {
    const words = new WordCounts(new WordSplitter());
    words.add(`a${"𠀀".repeat(1000)}`);
    const pieces = [...words.counts.keys()];
    expect(pieces.every((piece) => piece.length <= 256 && piece.isWellFormed())).toBe(true);
    const characters = [...words.counts].reduce((sum, [piece, count]) => sum + [...piece].length * count, 0);
    expect(characters).toBe(1001);
  });
});

/** A number in letters, as words of letters are what the splitter keeps whole. */
function toLetters(value: number): string {
  return [...String(value)].map((digit) => "abcdefghij"[Number(digit)]).join("");
}
