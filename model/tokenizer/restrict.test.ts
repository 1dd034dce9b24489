import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { Tokenizer as HuggingFaceTokenizer } from "tokenizers";
import { beforeAll, describe, expect, test } from "vitest";
import { collectTokens, restrict } from "./restrict.ts";
import { Tokenizer } from "./tokenizer.ts";
import { trainTokenizer } from "./train-tokenizer.ts";

const CORPORA = new URL("../../node/demo/corpora/", import.meta.url);
const NAMES = ["en-novels", "es-scripture", "zh-poetry"] as const;
type Name = (typeof NAMES)[number];

const texts = Object.fromEntries(
  NAMES.map((name) => {
    const text = gunzipSync(readFileSync(new URL(`${name}.txt.gz`, CORPORA))).toString("utf8");
    return [name, text.slice(0, 120_000)];
  }),
) as Record<Name, string>;

/** Nothing of it is in the corpora as it stands. */
const FOREIGN = `Привет, 한국어 👩‍👩‍👧‍👦 e\u0301 ½ \0\u0085\ufeff <|endoftext|> ${"長".repeat(300)}${" ab".repeat(300)}`;

/** A tokenizer.json as converters from merge-less vocabularies write it: every split of every token is a merge. */
function withEveryMerge(tokenizer: Tokenizer, ignoreMerges: boolean): Tokenizer {
  const json = JSON.parse(tokenizer.toJson());
  const vocabulary: Record<string, number> = json.model.vocab;
  json.model.ignore_merges = ignoreMerges;
  json.model.merges = Object.keys(vocabulary).flatMap((token) =>
    Array.from({ length: token.length - 1 }, (_, at) => [token.slice(0, at + 1), token.slice(at + 1)]).filter(
      ([left, right]) => left! in vocabulary && right! in vocabulary,
    ),
  );
  // Words that no merges lead to, one in use and one not.
  for (const word of ["ĠElizabeth", "Ġzzyzx"]) vocabulary[word] ??= Object.keys(vocabulary).length;
  return Tokenizer.fromJson(JSON.stringify(json));
}

let common: Tokenizer;
const kinds = new Map<string, Tokenizer>();

beforeAll(async () => {
  common = await trainTokenizer(Object.values(texts), { vocabularySize: 4000 });
  kinds.set("as it was trained", common);
  kinds.set("with several merges to a token", withEveryMerge(common, false));
  kinds.set("with whole words before merges", withEveryMerge(common, true));
});

describe.each(["as it was trained", "with several merges to a token", "with whole words before merges"])(
  "a common tokenizer %s, cut down to a text",
  (kind) => {
    const cut = async (text: string) => {
      const tokenizer = kinds.get(kind)!;
      return { whole: tokenizer, ...restrict(tokenizer, await collectTokens([text], tokenizer)) };
    };
    const asCommon = (tokenizer: Tokenizer, rows: Int32Array, text: string) =>
      Int32Array.from(tokenizer.encode(text), (id) => rows[id]!);

    test.each(NAMES)(
      "gives the very tokens of the common one on %s, and has fewer of its own",
      async (name) => {
        const { whole, tokenizer, rows } = await cut(texts[name]);
        expect(asCommon(tokenizer, rows, texts[name])).toEqual(Int32Array.from(whole.encode(texts[name])));
        expect(rows.length).toBe(tokenizer.vocabularySize);
        expect(rows.length).toBeLessThan(0.7 * whole.vocabularySize);
        expect(rows).toEqual(rows.toSorted());
        expect(rows[tokenizer.endOfText]).toBe(whole.endOfText);
        const lengths = Uint32Array.from(rows, (id) => whole.byteLengths[id]!);
        expect(tokenizer.byteLengths).toEqual(lengths);
      },
    );

    test("does so on any text, and keeps nothing that the text and its merges do not need", async () => {
      const slices = fc.tuple(fc.constantFrom(...NAMES), fc.nat(119_000), fc.integer({ min: 1, max: 900 }));
      await fc.assert(
        fc.asyncProperty(fc.array(slices, { minLength: 1, maxLength: 6 }), async (chosen) => {
          const text = chosen.map(([name, at, length]) => texts[name].slice(at, at + length)).join("");
          const { whole, tokenizer, rows } = await cut(text);
          const ids = whole.encode(text);
          expect(asCommon(tokenizer, rows, text)).toEqual(Int32Array.from(ids));
          // Cutting down twice is cutting down once.
          const again = restrict(tokenizer, tokenizer.encode(text));
          expect(again.rows.length).toBe(rows.length);
          expect(again.tokenizer.fingerprint).toBe(tokenizer.fingerprint);
        }),
        { numRuns: 60 },
      );
    });

    test("encodes every other text too, and gives it back to the byte", async () => {
      const { tokenizer } = await cut(texts["en-novels"].slice(0, 2000));
      for (const text of [FOREIGN, texts["zh-poetry"], texts["es-scripture"]]) {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      }
    });

    test("is a tokenizer.json that reads back the same, and that Hugging Face gives the same ids", async () => {
      const { tokenizer } = await cut(texts["es-scripture"].slice(0, 30_000));
      expect(Tokenizer.fromJson(tokenizer.toJson()).fingerprint).toBe(tokenizer.fingerprint);
      const oracle = HuggingFaceTokenizer.fromString(tokenizer.toJson());
      for (const text of [...Object.values(texts).map((corpus) => corpus.slice(0, 40_000)), FOREIGN]) {
        const encoded = await oracle.encode(text.replaceAll("<|endoftext|>", ""));
        expect([...tokenizer.encode(text.replaceAll("<|endoftext|>", ""))]).toEqual(encoded.getIds());
      }
    });
  },
);

test("a tokenizer cut down to no text has the bytes and the special tokens", () => {
  const { tokenizer, rows } = restrict(common, []);
  expect(tokenizer.vocabularySize).toBe(257);
  expect([...rows]).toEqual(Array.from({ length: 257 }, (_, id) => id));
  expect(tokenizer.mergePairs()).toEqual([]);
});

test("a tokenizer cut down to all its tokens is the tokenizer", () => {
  const { tokenizer, rows } = restrict(
    common,
    Array.from({ length: common.vocabularySize }, (_, id) => id),
  );
  expect(tokenizer.fingerprint).toBe(common.fingerprint);
  expect(rows).toHaveLength(common.vocabularySize);
});
