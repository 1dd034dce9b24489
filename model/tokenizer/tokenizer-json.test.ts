import { Tokenizer as HuggingFaceTokenizer } from "tokenizers";
import { beforeAll, describe, expect, test } from "vitest";
import {
  MissingBytesError,
  NotByteLevelError,
  TokenizerUnreadableError,
  UnsupportedTokenizerError,
} from "./errors.ts";
import { Tokenizer } from "./tokenizer.ts";
import { trainTokenizer } from "./train-tokenizer.ts";
import { LLAMA3_PATTERN } from "./word-splitter.ts";

const TEXT = "It's 1,234 o'clock: the cats' Katze saß im Café… 東京 東京都 don't DON'T\r\n\r\n  x  \n".repeat(
  8,
);
/** As in Llama 3's tokenizer.json. */

// biome-ignore lint/suspicious/noExplicitAny: the tests bend the JSON into shapes that no type has
type Json = any;

describe("a tokenizer.json", () => {
  let trained: Tokenizer;
  beforeAll(async () => {
    trained = await trainTokenizer([TEXT], { vocabularySize: 300 });
  });

  /** The trained tokenizer.json with a change. */
  const changed = (change: (json: Json) => void): string => {
    const json = JSON.parse(trained.toJson());
    change(json);
    return JSON.stringify(json);
  };

  test("written and read again is the same tokenizer", () => {
    const read = Tokenizer.fromJson(trained.toJson());
    expect(read.toJson()).toBe(trained.toJson());
    expect(read.fingerprint).toBe(trained.fingerprint);
    expect(read.encode(TEXT)).toEqual(trained.encode(TEXT));
    expect(read.byteLengths).toEqual(trained.byteLengths);
  });

  test("has a fingerprint that tells tokenizers apart", async () => {
    const other = await trainTokenizer([TEXT], { vocabularySize: 299 });
    expect(other.fingerprint).not.toBe(trained.fingerprint);
    expect(trained.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  });

  test("with merges as strings and without a model type, as GPT-2's has them, reads alike", () => {
    const old = Tokenizer.fromJson(
      changed((json) => {
        delete json.model.type;
        json.model.merges = json.model.merges.map((pair: string[]) => pair.join(" "));
      }),
    );
    expect(old.fingerprint).toBe(trained.fingerprint);
  });

  test("with Llama 3's split pattern and ignored merges gives the ids that Hugging Face gives", async () => {
    const json = changed((root) => {
      root.pre_tokenizer = {
        type: "Sequence",
        pretokenizers: [
          { type: "Split", pattern: { Regex: LLAMA3_PATTERN }, behavior: "Isolated", invert: false },
          { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
        ],
      };
      root.model.ignore_merges = true;
      root.model.vocab.Katze = 300; // a word that no merges lead to
    });
    const tokenizer = Tokenizer.fromJson(json);
    const oracle = HuggingFaceTokenizer.fromString(json);
    for (const text of [TEXT, "Katze Katze", "1234567 \n\n x'LL \u0085\ufeff", "...\n\n!"]) {
      expect([...tokenizer.encode(text)]).toEqual((await oracle.encode(text)).getIds());
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
    expect(tokenizer.encode("Katze")).toEqual(Uint32Array.of(300));
    expect(Tokenizer.fromJson(tokenizer.toJson()).fingerprint).toBe(tokenizer.fingerprint);
  });

  test("that asks for a Unicode normalization gets it", async () => {
    const json = changed((root) => {
      root.normalizer = { type: "NFC" };
    });
    const tokenizer = Tokenizer.fromJson(json);
    const oracle = HuggingFaceTokenizer.fromString(json);
    expect([...tokenizer.encode("Cafe\u0301")]).toEqual((await oracle.encode("Cafe\u0301")).getIds());
    expect(tokenizer.decode(tokenizer.encode("Cafe\u0301"))).toBe("Café");
    expect(trained.decode(trained.encode("Cafe\u0301"))).toBe("Cafe\u0301");
  });

  test("without an end-of-text token gets one behind its last id", () => {
    const tokenizer = Tokenizer.fromJson(
      changed((json) => {
        delete json.model.vocab["<|endoftext|>"];
        json.added_tokens = [];
        for (const token of Object.keys(json.model.vocab)) json.model.vocab[token] -= 1;
      }),
    );
    expect(tokenizer.endOfText).toBe(299);
    expect(tokenizer.vocabularySize).toBe(300);
    expect(tokenizer.decode(tokenizer.encode(TEXT))).toBe(TEXT);
  });

  test("keeps tokens that look like numbers and like properties of objects", async () => {
    const text = "7777 __proto__ constructor ".repeat(200);
    const tokenizer = await trainTokenizer([text], { vocabularySize: 275 });
    const read = Tokenizer.fromJson(tokenizer.toJson());
    expect(read.fingerprint).toBe(tokenizer.fingerprint);
    expect([...read.encode(text)]).toEqual(
      (await HuggingFaceTokenizer.fromString(tokenizer.toJson()).encode(text)).getIds(),
    );
  });

  test.each<[string, (json: Json) => void, new (...args: never[]) => Error, RegExp]>([
    ["of another model", (j) => (j.model.type = "WordPiece"), NotByteLevelError, /WordPiece/],
    ["that falls back to bytes", (j) => (j.model.byte_fallback = true), NotByteLevelError, /SentencePiece/],
    ["without a pre-tokenizer", (j) => (j.pre_tokenizer = null), NotByteLevelError, /ByteLevel/],
    [
      "that splits by white space",
      (j) => (j.pre_tokenizer = { type: "Whitespace" }),
      NotByteLevelError,
      /Whitespace/,
    ],
    ["with a token in plain letters", (j) => (j.model.vocab["▁the"] = 300), NotByteLevelError, /▁the/],
    ["without some bytes", dropBytes, MissingBytesError, /2 of the 256 bytes \(0x00, 0xff\)/],
    [
      "that prefixes a space",
      (j) => (j.pre_tokenizer.add_prefix_space = true),
      UnsupportedTokenizerError,
      /false/,
    ],
    [
      "that lowercases",
      (j) => (j.normalizer = { type: "Lowercase" }),
      UnsupportedTokenizerError,
      /Lowercase/,
    ],
    ["with ids twice", (j) => (j.model.vocab.ĠĠĠĠ = 5), TokenizerUnreadableError, /share the id 5/],
    ["with an id that is none", (j) => (j.model.vocab.ĠĠĠĠ = -1), TokenizerUnreadableError, /-1/],
    ["with a merge of nothing", (j) => j.model.merges.push(["Ġ", "qqq"]), TokenizerUnreadableError, /qqq/],
    ["without merges", (j) => delete j.model.merges, TokenizerUnreadableError, /"merges"/],
    [
      "that goes over a text again and again",
      (j) => (j.normalizer = { type: "Sequence", normalizers: Array(9).fill({ type: "NFC" }) }),
      UnsupportedTokenizerError,
      /9 normalizers/,
    ],
    ["without a vocabulary", (j) => delete j.model.vocab, TokenizerUnreadableError, /"vocab"/],
  ])("%s is refused with the cause", (_, change, type, message) => {
    const read = () => Tokenizer.fromJson(changed(change));
    expect(read).toThrow(type);
    expect(read).toThrow(message);
  });

  test("that is nested without end is refused", () => {
    const [opened, closed] = ['{"type":"Sequence","normalizers":[', "]}"].map((part) => part.repeat(20_000));
    const json = changed((root) => (root.normalizer = "NORMALIZER"));
    const read = () => Tokenizer.fromJson(json.replace('"NORMALIZER"', `${opened}${closed}`));
    expect(read).toThrow(TokenizerUnreadableError);
    expect(read).toThrow("nested too deep");
  });

  test("may have more added tokens than a call has arguments", () => {
    const json = changed((root) => {
      root.added_tokens = Array.from({ length: 300_000 }, (_, at) => ({
        ...{ id: 1000 + at, content: `<|${at}|>`, special: true },
      }));
    });
    expect(Tokenizer.fromJson(json).vocabularySize).toBe(301_000);
  });

  test("that is no JSON, or JSON of something else, is refused", () => {
    for (const text of ["", "{", "[]", "3", "{}", '{"model": 3}']) {
      expect(() => Tokenizer.fromJson(text)).toThrow(TokenizerUnreadableError);
    }
  });

  test("with a split pattern that JavaScript cannot read is refused", () => {
    const json = changed((root) => {
      root.pre_tokenizer = {
        type: "Sequence",
        pretokenizers: [
          { type: "Split", pattern: { Regex: "\\p{L}++" }, behavior: "Isolated", invert: false },
          { type: "ByteLevel", add_prefix_space: false, use_regex: false },
        ],
      };
    });
    expect(() => Tokenizer.fromJson(json)).toThrow(UnsupportedTokenizerError);
  });
});

/** Takes the tokens of the bytes 0x00 and 0xff out. */
function dropBytes(json: Json): void {
  delete json.model.vocab.Ā;
  delete json.model.vocab.ÿ;
  json.model.merges = [];
}
