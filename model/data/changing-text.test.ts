// A text that grows, shrinks or is edited between two preparations: what was held out of it is never trained on.
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { RandomStream } from "../random.ts";
import { tokensOf } from "../testing/split-tokens.ts";
import { restrict } from "../tokenizer/restrict.ts";
import { Tokenizer } from "../tokenizer/tokenizer.ts";
import { trainTokenizer } from "../tokenizer/train-tokenizer.ts";
import { HeldOutText } from "./held-out-text.ts";
import {
  type PrepareTokensOptions,
  prepareTokens,
  type TokenDataset,
  type TokenEncoder,
} from "./token-cache.ts";
import { TokenFileWriter, type TokenSplit } from "./token-file.ts";
import { idsOf, translateTokens } from "./translate-tokens.ts";

/** One token a character, moved up by one; 0 ends a text. */
const LETTERS: TokenEncoder = {
  vocabularySize: 200,
  endOfText: 0,
  byteLengths: Uint8Array.from({ length: 200 }, (_, id) => (id === 0 ? 0 : 1)),
  fingerprint: "letters",
  encode: (text) => Uint32Array.from(text, (letter) => letter.charCodeAt(0) + 1),
};

let folder: string;
let cacheDirectory: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "changing-"));
  cacheDirectory = join(folder, "cache");
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Words without a sense, so that no two stretches of text agree. */
function prose(seed: string, characters: number): string {
  const random = RandomStream.fromSeed(seed);
  const letter = () => " etaoinshrdlucmfw"[random.nextUint32() % 17]!;
  return `${seed}${Array.from({ length: characters - seed.length - 1 }, letter).join("")}.`;
}

function write(name: string, documents: readonly string[]): string {
  const path = join(folder, name);
  writeFileSync(path, documents.map((text) => JSON.stringify({ text })).join("\n"));
  return path;
}

const prepare = (paths: readonly string[], options: Partial<PrepareTokensOptions> = {}) =>
  prepareTokens({ paths, tokenizer: LETTERS, cacheDirectory, follows: true, ...options });

const textOf = (split: TokenSplit): string =>
  [...tokensOf(split)].map((id) => (id === 0 ? "\n" : String.fromCharCode(id - 1))).join("");

/** Text of both parts, in stretches that are too long for chance. */
function trainedOnThough({ train }: TokenDataset, heldOutBefore: string): string[] {
  const text = textOf(train);
  const pieces: string[] = [];
  for (const document of heldOutBefore.split("\n")) {
    for (let at = 0; at + 40 <= document.length; at += 20) pieces.push(document.slice(at, at + 40));
  }
  return pieces.filter((piece) => text.includes(piece));
}

describe("a text of few documents, whose end was held out whatever their hashes", () => {
  const few = ["one", "two", "three"].map((seed) => prose(seed, 900));
  const options = { validationFraction: 0, minimumValidationTokens: 300 };

  test("may grow: what was held out stays so, to the letter, and what is new is trained on", async () => {
    const path = write("a.jsonl", few);
    const before = await prepare([path], options);
    const heldOut = textOf(before.validation);
    expect(before.validation.tokens).toBe(300);
    const added = prose("four", 2000);
    const after = await prepare([path, write("b.jsonl", [added])], options);
    expect(textOf(after.validation)).toBe(heldOut);
    expect(textOf(after.train)).toContain(added);
    expect(textOf(after.train)).toContain(few[0]);
    // Without a memory of what was held out it would be another end.
    const forgetful = await prepare([path, join(folder, "b.jsonl")], { ...options, cacheDirectory: folder });
    expect(trainedOnThough(forgetful, heldOut)).not.toEqual([]);
    expect(trainedOnThough(after, heldOut)).toEqual([]);
  });

  test("may have its last document go on, or be edited where it was held out", async () => {
    const path = write("a.jsonl", few);
    const heldOut = textOf((await prepare([path], options)).validation);
    const last = few[2]!;
    const edited = `${last.slice(0, 700)}quite otherwise${last.slice(720)} And so on: ${prose("more", 500)}`;
    const after = await prepare([write("a.jsonl", [...few.slice(0, 2), edited])], options);
    expect(trainedOnThough(after, heldOut)).toEqual([]);
    expect(textOf(after.train)).toContain("And so on: more");
    expect(textOf(after.validation)).toContain("quite otherwise");
  });

  test("is the same text where it was moved or touched, to the order of its tokens", async () => {
    const path = write("a.jsonl", few);
    const before = await prepare([path], options);
    utimesSync(path, 5, 5);
    const after = await prepare([path], options);
    expect(after.wasCached).toBe(false);
    const facts = ({ train, validation }: TokenDataset) =>
      [train, validation].map(({ path: _, ...rest }) => rest);
    expect(facts(after)).toEqual(facts(before));
  });
});

test("a text that shrinks keeps nothing of what is gone, and only the files of what it is now", async () => {
  const documents = Array.from({ length: 200 }, (_, i) => prose(`document ${i}`, 120));
  const path = write("a.jsonl", documents);
  const before = await prepare([path]);
  const heldOut = textOf(before.validation);
  const gone = heldOut.split("\n")[0]!;
  expect(documents).toContain(gone);
  const after = await prepare([
    write(
      "a.jsonl",
      documents.slice(0, 150).filter((text) => text !== gone),
    ),
  ]);
  expect(textOf(after.validation)).not.toContain(gone);
  expect(trainedOnThough(after, heldOut)).toEqual([]);
  expect(readdirSync(cacheDirectory).sort()).toEqual(
    ["json", "train.bin", "validation.bin"].map((ending) => `${after.key}.${ending}`),
  );
});

test("text that was trained on is not taken for held out because both parts quote it", async () => {
  const licence = prose("licence", 200);
  const documents = Array.from({ length: 100 }, (_, i) => `${licence} ${prose(`work ${i}`, 100)}`);
  const before = await prepare([write("a.jsonl", documents)], { validationFraction: 0.3 });
  const more = Array.from({ length: 100 }, (_, i) => `${licence} ${prose(`later work ${i}`, 100)}`);
  const after = await prepare([write("a.jsonl", [...documents, ...more])], { validationFraction: 0.3 });
  const share = ({ train, validation }: TokenDataset) =>
    validation.tokens / (train.tokens + validation.tokens);
  expect(share(after)).toBeLessThan(share(before) + 0.1);
  expect(textOf(after.train)).toContain(licence);
});

test("every stretch of a document is in one part, in order, and no held-out block in training", async () => {
  const split = async (name: string, documents: readonly (readonly number[])[]): Promise<TokenSplit> => {
    const writer = await TokenFileWriter.create(join(folder, name), LETTERS);
    for (const document of documents) await writer.append([...document, 0]);
    return writer.finish();
  };
  const document = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 120 });
  const documents = fc.array(document, { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(
      documents,
      documents,
      document,
      document,
      fc.nat(),
      async (held, trained, ahead, behind, at) => {
        const before = { train: await split("train", trained), validation: await split("validation", held) };
        const heldOut = await HeldOutText.of(before, 0);
        const quoted = held[at % held.length]!;
        const text = [...ahead, ...quoted, ...behind];
        const stretches = heldOut.stretches(text);
        expect(stretches.map(({ from }) => from)).toEqual([0, ...stretches.slice(0, -1).map(({ to }) => to)]);
        expect(stretches.at(-1)!.to).toBe(text.length);
        const left = stretches
          .filter((each) => !each.heldOut)
          .map(({ from, to }) => text.slice(from, to).join());
        const wasTrained = trained.map((each) => each.join());
        for (let from = 0; from + 32 <= quoted.length; from += 32) {
          const block = quoted.slice(from, from + 32).join();
          if (!wasTrained.some((each) => each.includes(block)))
            expect(left.some((each) => each.includes(block))).toBe(false);
        }
      },
    ),
    { numRuns: 100 },
  );
});

test("a text that is rewritten in the ids of a restricted tokenizer is what tokenising it again would give", async () => {
  const words = Array.from({ length: 300 }, (_, i) => prose(`text ${i}`, 90));
  const whole = await trainTokenizer([...words, "other letters: ÄÖÜ ЖЩ ".repeat(50)], {
    vocabularySize: 500,
  });
  const path = write("a.jsonl", words);
  const options = { tokenizer: whole, minimumValidationTokens: 50 };
  const dataset = await prepare([path], options);
  const { tokenizer, rows } = restrict(whole, await idsOf(dataset));
  expect(tokenizer.vocabularySize).toBeLessThan(whole.vocabularySize);
  const again = await prepare([path], { ...options, tokenizer, cacheDirectory: join(folder, "again") });
  const translated = await translateTokens(dataset, rows, {
    ...{ ...options, tokenizer: Tokenizer.fromJson(tokenizer.toJson()) },
    ...{ paths: [path], cacheDirectory },
  });
  expect(translated.key).toBe(again.key);
  for (const part of ["train", "validation"] as const) {
    expect({ ...translated[part], path: "" }).toEqual({ ...again[part], path: "" });
    expect(readFileSync(translated[part].path)).toEqual(readFileSync(again[part].path));
  }
  expect(readdirSync(cacheDirectory)).toHaveLength(3);
  expect((await prepare([path], { ...options, tokenizer })).wasCached).toBe(true);
});
