// Against Hugging Face's own tokenizers (Rust) as the oracle, on the demo's corpora and on strings made to break things.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { BPE, byteLevelPreTokenizer, Tokenizer as HuggingFaceTokenizer } from "tokenizers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LETTER_OF_BYTE } from "./byte-alphabet.ts";
import { Tokenizer } from "./tokenizer.ts";
import { trainTokenizer } from "./train-tokenizer.ts";

const CORPORA = new URL("../../node/demo/corpora/", import.meta.url);
const NAMES = ["en-novels", "es-scripture", "zh-poetry"] as const;
const SLICE_CHARACTERS = 150_000;

const HARD_STRINGS: readonly string[] = [
  "",
  " ",
  "a",
  "it's they'll I'd we've IT'S don''t",
  "  two  spaces\t\ttabs \n\n newlines\r\nCRLF\r\n\r\n ",
  "NUL\0inside\0\0",
  "next line\u0085and\u0085 more \ufeff byte order mark \ufeff\ufeffx \u180e mongolian",
  "\u2028line\u2029paragraph\u3000ideographic\u00a0no-break\u202fnarrow\u200bzero width",
  "\x1c\x1d\x1e\x1f separators \x0b\x0c",
  "👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 ❤️‍🔥",
  "astral 𠀀𠮷𡃁 𝔘𝔫𝔦 𐍈",
  "e\u0301 vs é, ﬁ vs fi, Å vs Å",
  "１２３ 三百 ٣٤٥ ½ ² Ⅷ 12345678901234567890",
  "Привет, мир! Ελληνικά العربية עברית हिन्दी ไทย 한국어 日本語テキスト",
  "a<|endoftext|>b",
  "snake_case camelCase kebab-case http://example.org/?q=1&r=%20#x",
  `${"=".repeat(200)} ${"ab".repeat(400)} ${"長".repeat(300)}`,
  "\u{10ffff}\ue000\uffff\ufffe",
];

function corpus(name: string): string {
  const text = gunzipSync(readFileSync(new URL(`${name}.txt.gz`, CORPORA))).toString("utf8");
  return text.slice(0, SLICE_CHARACTERS);
}

/** The lines of a text with their ends: the pieces that the native trainer reads from a file. */
function lines(text: string): string[] {
  return text.split(/(?<=\n)/);
}

describe.each(NAMES)("on %s", (name) => {
  let folder: string;
  let tokenizer: Tokenizer;
  let oracle: HuggingFaceTokenizer;
  const text = corpus(name);

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "tokenizer-"));
    tokenizer = await trainTokenizer(lines(text), { vocabularySize: 2000 });
    oracle = HuggingFaceTokenizer.fromString(tokenizer.toJson());
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test("learns exactly the merges that the native trainer learns, down to pairs seen once", async () => {
    const native = new HuggingFaceTokenizer(BPE.empty());
    native.setPreTokenizer(byteLevelPreTokenizer(false, true));
    writeFileSync(join(folder, "text.txt"), text);
    native.train([join(folder, "text.txt")]);
    native.save(join(folder, "native.json"));
    const { merges } = JSON.parse(readFileSync(join(folder, "native.json"), "utf8")).model;
    expect(merges.length).toBeGreaterThan(7_000);
    const ours = await trainTokenizer(lines(text), {
      vocabularySize: 257 + merges.length,
      minimumPairCount: 1,
    });
    expect(ours.mergePairs()).toEqual(merges);
  });

  test("a smaller vocabulary has the first merges of a larger one", async () => {
    const smaller = await trainTokenizer(lines(text), { vocabularySize: 700 });
    expect(smaller.mergePairs()).toEqual(tokenizer.mergePairs().slice(0, 700 - 257));
  });

  test.each(NAMES)("encodes %s to the ids that Hugging Face gives for our tokenizer.json", async (other) => {
    for (const document of corpus(other).slice(0, 60_000).split("\n\n")) {
      const expected = (await oracle.encode(document)).getIds();
      expect([...tokenizer.encode(document)]).toEqual(expected);
      expect(tokenizer.decode(expected)).toBe(document);
    }
  });

  test("encodes hard strings to the ids that Hugging Face gives, and back to the same text", async () => {
    for (const hard of HARD_STRINGS) {
      const ids = [...tokenizer.encode(hard)];
      // Hugging Face makes the special token of a literal one; without it the text is encoded as we do.
      const pieces = hard.split("<|endoftext|>");
      if (pieces.length === 1) expect(ids, hard).toEqual((await oracle.encode(hard)).getIds());
      expect(tokenizer.decode(ids)).toBe(hard);
    }
  });

  test("Hugging Face decodes our ids to the same text", async () => {
    const sample = text.slice(0, 5000);
    expect(await oracle.decode([...tokenizer.encode(sample)], true)).toBe(sample);
  });
});

describe("a tokenizer", () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await trainTokenizer(lines(corpus("en-novels")), { vocabularySize: 1000 });
  });

  test("gives any text back, whatever characters it has", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => {
        const ids = tokenizer.encode(text);
        expect(tokenizer.decode(ids)).toBe(text);
        expect(Buffer.from(tokenizer.decodeBytes(ids))).toEqual(Buffer.from(text));
        expect(ids.reduce((sum, id) => sum + tokenizer.byteLengths[id]!, 0)).toBe(Buffer.byteLength(text));
      }),
    );
  });

  test("has a token for each of the 256 bytes, numbered as Hugging Face's trainer does", () => {
    const decoded = Array.from({ length: 256 }, (_, i) => tokenizer.decodeBytes([i + 1])[0]!);
    expect([...decoded].sort((a, b) => a - b)).toEqual(Array.from({ length: 256 }, (_, byte) => byte));
    const codePoints = decoded.map((byte) => LETTER_OF_BYTE[byte]!.codePointAt(0)!);
    expect(codePoints).toEqual([...codePoints].sort((a, b) => a - b));
  });

  test("encodes a lone surrogate as U+FFFD, which is all that UTF-8 can do", () => {
    expect(tokenizer.decode(tokenizer.encode("a\ud800b\udc00"))).toBe("a\ufffdb\ufffd");
  });

  test("never makes the end-of-text token from text", () => {
    const ids = tokenizer.encode("one<|endoftext|>two");
    expect(ids).not.toContain(tokenizer.endOfText);
    expect(tokenizer.byteLengths[tokenizer.endOfText]).toBe(0);
    expect(tokenizer.decode([...ids, tokenizer.endOfText])).toBe("one<|endoftext|>two");
  });

  test("gives a word the same tokens from the cache as without", () => {
    const words = "the the whale the 鯨 the 鯨 Leviathan the Leviathan";
    const cold = Tokenizer.fromJson(tokenizer.toJson());
    const first = cold.encode(words);
    expect(cold.encode(words)).toEqual(first);
    expect(first).toEqual(tokenizer.encode(words));
  });

  test("encodes a million letters without a space in one go, as Hugging Face does a shorter run", async () => {
    const long = "thequickbrownfox".repeat(65_536);
    const ids = tokenizer.encode(long);
    expect(tokenizer.decode(ids)).toBe(long);
    const oracle = HuggingFaceTokenizer.fromString(tokenizer.toJson());
    const shorter = long.slice(0, 3001);
    expect([...tokenizer.encode(shorter)]).toEqual((await oracle.encode(shorter)).getIds());
  });

  test("decodes a stream of single tokens to whole characters", () => {
    const text = "naïve 鯨 👩‍👩‍👧 fin\ufeff";
    const stream = tokenizer.decodeStream();
    const pieces = [...tokenizer.encode(text)].map((id) => stream.push([id]));
    expect(pieces.join("") + stream.end()).toBe(text);
    expect(pieces.some((piece) => piece.includes("\ufffd"))).toBe(false);
    const cut = tokenizer.decodeStream();
    expect(cut.push(tokenizer.encode("鯨").slice(0, 1)) + cut.end()).toBe("\ufffd");
  });

  test("refuses to decode an id outside of its vocabulary", () => {
    expect(() => tokenizer.decode([1000])).toThrow(RangeError);
  });
});
