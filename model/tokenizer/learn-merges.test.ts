import fc from "fast-check";
import { expect, test } from "vitest";
import { type LearnedMerges, learnMerges } from "./learn-merges.ts";

/** 97 is "a": the bytes a, b and c are the tokens 0, 1 and 2. */
const TOKENS = ["a", "b", "c"];
const TOKEN_OF_BYTE = Int32Array.from({ length: 256 }, (_, byte) => byte - 97);

/** The algorithm as its definition reads: count everything again before every merge. */
function learnNaively(wordCounts: ReadonlyMap<string, number>, vocabularySize: number): number[][] {
  const tokens = [...TOKENS];
  const words = [...wordCounts].map(([word, count]) => ({
    count,
    ids: [...word].map((letter) => tokens.indexOf(letter)),
  }));
  const merges: number[][] = [];
  while (tokens.length < vocabularySize) {
    const counts = new Map<string, number>();
    for (const { ids, count } of words) {
      for (let i = 0; i + 1 < ids.length; i++) {
        const pair = `${ids[i]} ${ids[i + 1]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + count);
      }
    }
    const best = [...counts]
      .map(([pair, count]) => ({ pair: pair.split(" ").map(Number), count }))
      .sort((x, y) => y.count - x.count || x.pair[0]! - y.pair[0]! || x.pair[1]! - y.pair[1]!)[0];
    if (best === undefined) break;
    const [left, right] = best.pair as [number, number];
    const token = tokens[left]! + tokens[right]!;
    if (!tokens.includes(token)) tokens.push(token);
    const id = tokens.indexOf(token);
    if (!merges.some((merge) => merge[0] === left && merge[1] === right)) merges.push([left, right, id]);
    for (const word of words) {
      const merged: number[] = [];
      for (let i = 0; i < word.ids.length; i++) {
        const isPair = word.ids[i] === left && word.ids[i + 1] === right;
        merged.push(isPair ? id : word.ids[i]!);
        if (isPair) i += 1;
      }
      word.ids = merged;
    }
  }
  return merges;
}

function learn(wordCounts: ReadonlyMap<string, number>, vocabularySize: number): LearnedMerges {
  const learning = learnMerges(wordCounts, {
    initialTokens: TOKENS,
    tokenOfByte: TOKEN_OF_BYTE,
    vocabularySize,
    minimumCount: 1,
  });
  for (;;) {
    const step = learning.next();
    if (step.done) return step.value;
  }
}

const words = fc
  .array(
    fc.tuple(
      fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 24 }),
      fc.integer({ min: 1, max: 9 }),
    ),
    {
      maxLength: 12,
    },
  )
  .map((entries) => new Map(entries));

test("keeping counts up to date gives the merges that counting again would give", () => {
  fc.assert(
    fc.property(words, fc.integer({ min: 3, max: 80 }), (wordCounts, vocabularySize) => {
      const { merges } = learn(wordCounts, vocabularySize);
      expect([...merges]).toEqual(learnNaively(wordCounts, vocabularySize).flat());
    }),
    { numRuns: 300 },
  );
});

test("the order of the words makes no difference", () => {
  fc.assert(
    fc.property(words, (wordCounts) => {
      const backwards = new Map([...wordCounts].reverse());
      expect(learn(backwards, 60)).toEqual(learn(wordCounts, 60));
    }),
  );
});
