import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { tokensOf } from "../testing/split-tokens.ts";
import {
  CorpusTooSmallForSequenceError,
  DataPathMissingError,
  TokenCacheCorruptError,
  TokenCacheUnwritableError,
} from "./errors.ts";
import {
  type PrepareTokensOptions,
  prepareTokens,
  type TokenDataset,
  type TokenEncoder,
  type TokenizingProgress,
} from "./token-cache.ts";
import type { TokenSplit } from "./token-file.ts";

/** One token a UTF-16 code unit, moved up by one; 0 ends a text. */
function codeUnitEncoder(vocabularySize: number): TokenEncoder {
  return {
    vocabularySize,
    endOfText: 0,
    byteLengths: Uint8Array.from({ length: vocabularySize }, (_, id) => (id === 0 ? 0 : id > 0x80 ? 2 : 1)),
    fingerprint: `code units up to ${vocabularySize}`,
    encode: (text) => Uint32Array.from(text, (unit) => unit.charCodeAt(0) + 1),
  };
}
const SMALL = codeUnitEncoder(300);

const DOCUMENTS = Array.from({ length: 400 }, (_, i) =>
  `Document ${i} says so, in ${i % 7} words — no: é.`.replace("—", "-"),
);

let folder: string;
let text: string;
let cacheDirectory: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tokens-"));
  text = join(folder, "text.txt");
  cacheDirectory = join(folder, "deep", "cache");
  writeFileSync(text, DOCUMENTS.join("\n\n"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function prepare(options: Partial<PrepareTokensOptions> = {}): Promise<TokenDataset> {
  return prepareTokens({ paths: [text], tokenizer: SMALL, cacheDirectory, ...options });
}

function documentsOf(split: TokenSplit): string[] {
  const characters = [...tokensOf(split)].map((id) => (id === 0 ? "\n\n" : String.fromCharCode(id - 1)));
  return characters.join("").split("\n\n").slice(0, -1);
}

describe("preparing tokens", () => {
  test("writes every document once, in training or in validation, and counts them", async () => {
    const { train, validation, wasCached } = await prepare();
    expect(wasCached).toBe(false);
    const written = [...documentsOf(train), ...documentsOf(validation)];
    expect(written.sort()).toEqual([...DOCUMENTS].sort());
    expect(train.documents + validation.documents).toBe(DOCUMENTS.length);
    expect(train.bytes + validation.bytes).toBe(Buffer.byteLength(DOCUMENTS.join("")));
    expect(train.type).toBe("uint16");
  });

  test("holds out about the share asked for", async () => {
    const fifth = await prepare({ validationFraction: 0.2 });
    expect(fifth.validation.documents).toBeGreaterThan(50);
    expect(fifth.validation.documents).toBeLessThan(110);
    const usual = await prepare();
    expect(usual.validation.documents).toBeGreaterThan(8);
    expect(usual.validation.documents).toBeLessThan(36);
  });

  test("holds out the same documents in whatever order and files they come", async () => {
    const first = await prepare();
    const other = join(folder, "other.jsonl");
    const backwards = [...DOCUMENTS].reverse();
    writeFileSync(other, backwards.map((document) => JSON.stringify({ text: document })).join("\n"));
    const second = await prepare({ paths: [other] });
    expect(documentsOf(second.validation).sort()).toEqual(documentsOf(first.validation).sort());
  });

  test("keeps ids beyond 65,535 in four bytes", async () => {
    const large = { ...codeUnitEncoder(70_000), encode: () => Uint32Array.of(69_999, 1, 65_536) };
    const { train } = await prepare({ tokenizer: large });
    expect(train.type).toBe("uint32");
    expect([...tokensOf(train).slice(0, 5)]).toEqual([69_999, 1, 65_536, 0, 69_999]);
    expect(readFileSync(train.path).readUInt32LE(0)).toBe(69_999);
  });

  test("writes little-endian numbers and nothing else", async () => {
    const { train } = await prepare();
    const bytes = readFileSync(train.path);
    expect(bytes.length).toBe(train.tokens * 2);
    expect(bytes.readUInt16LE(0)).toBe("D".charCodeAt(0) + 1);
  });

  test("tells its progress", async () => {
    const seen: TokenizingProgress[] = [];
    await prepare({ onProgress: (progress) => seen.push(progress) });
    const { size } = { size: readFileSync(text).length };
    expect(seen.at(-1)).toMatchObject({ bytesRead: size, bytesTotal: size });
    expect(seen.at(-1)!.tokens).toBeGreaterThan(0);
  });
});

describe("the cache", () => {
  test("is used again for the same data and tokenizer", async () => {
    const first = await prepare();
    const second = await prepare({ tokenizer: { ...SMALL, encode: () => expect.unreachable() } });
    expect(second).toEqual({ ...first, wasCached: true });
  });

  test("is not used for other data, another tokenizer, another field or another split", async () => {
    const keys = new Set([(await prepare()).key]);
    keys.add((await prepare({ tokenizer: { ...SMALL, fingerprint: "other" } })).key);
    keys.add((await prepare({ validationFraction: 0.1 })).key);
    keys.add((await prepare({ minimumValidationTokens: 100 })).key);
    utimesSync(text, 1, 1);
    keys.add((await prepare()).key);
    writeFileSync(text, `${DOCUMENTS.join("\n\n")}\n\nOne more.`);
    keys.add((await prepare()).key);
    expect(keys.size).toBe(6);
  });

  test.each<[string, (dataset: TokenDataset) => void]>([
    ["cut short", ({ train }) => writeFileSync(train.path, readFileSync(train.path).subarray(0, -2))],
    ["changed by one bit", ({ validation }) => flipBit(validation.path)],
    ["gone", ({ train }) => rmSync(train.path)],
    ["without a header that is JSON", ({ key }) => writeFileSync(join(cacheDirectory, `${key}.json`), "{")],
  ])("is made again where it is %s", async (_, damage) => {
    const first = await prepare();
    const before = [tokensOf(first.train), tokensOf(first.validation)];
    damage(first);
    const second = await prepare();
    expect(second).toEqual(first);
    expect([tokensOf(second.train), tokensOf(second.validation)]).toEqual(before);
    expect((await prepare()).wasCached).toBe(true);
  });

  test("leaves nothing behind when stopped, and starts again afterwards", async () => {
    const controller = new AbortController();
    const reason = new Error("stopped");
    const onProgress = () => controller.abort(reason);
    await expect(prepare({ signal: controller.signal, onProgress })).rejects.toBe(reason);
    expect(readdirSync(cacheDirectory)).toEqual([]);
    expect((await prepare()).wasCached).toBe(false);
  });

  test("removes what a killed process left, but not what a living one is writing", async () => {
    await prepare();
    const name = (pid: number) => join(cacheDirectory, `${"ab".repeat(16)}.train.${pid}.tmp`);
    const deadPid = 2 ** 22 + 1; // beyond the largest process id of Linux
    writeFileSync(name(deadPid), "left");
    writeFileSync(name(process.ppid), "being written");
    utimesSync(text, 5, 5);
    await prepare();
    expect(existsSync(name(deadPid))).toBe(false);
    expect(existsSync(name(process.ppid))).toBe(true);
  });

  test("in a place that cannot be written is refused with the remedy", async () => {
    const failed = prepare({ cacheDirectory: join(text, "cache") });
    await expect(failed).rejects.toThrow(TokenCacheUnwritableError);
    await expect(failed).rejects.toThrow("choose another state directory");
  });

  test("says when the disk is full", () => {
    const full = Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
    expect(new TokenCacheUnwritableError("/cache", full).message).toContain("the disk is full");
  });

  test("is not begun where the data is missing", async () => {
    await expect(prepare({ paths: [join(folder, "no.txt")] })).rejects.toThrow(DataPathMissingError);
    expect(existsSync(cacheDirectory)).toBe(false);
  });
});

describe("few documents", () => {
  test("give validation the last of them, whole, when their hashes give it too little", async () => {
    const documents = Array.from({ length: 10 }, (_, i) => `${"abcdefghij"[i]}`.repeat(99));
    writeFileSync(text, documents.join("\n\n"));
    const options = { validationFraction: 0, minimumValidationTokens: 150 };
    const { train, validation } = await prepare(options);
    expect(documentsOf(train)).toEqual(documents.slice(0, 8));
    expect(documentsOf(validation)).toEqual(documents.slice(8));
    expect(train).toMatchObject({ tokens: 800, bytes: 792, documents: 8 });
    expect(validation).toMatchObject({ tokens: 200, bytes: 198, documents: 2 });
  });

  test("are cut where there is but one", async () => {
    writeFileSync(text, "x".repeat(999));
    const { train, validation } = await prepare({ validationFraction: 0, minimumValidationTokens: 300 });
    expect(train).toMatchObject({ tokens: 700, bytes: 700, documents: 0 });
    expect(validation).toMatchObject({ tokens: 300, bytes: 299, documents: 1 });
  });

  test("give training most of them when their hashes give it nothing", async () => {
    const documents = Array.from({ length: 10 }, (_, i) => `${"abcdefghij"[i]}`.repeat(99));
    writeFileSync(text, documents.join("\n\n"));
    const { train, validation } = await prepare({ validationFraction: 1, minimumValidationTokens: 300 });
    expect(documentsOf(validation)).toEqual(documents.slice(0, 7));
    expect(documentsOf(train)).toEqual(documents.slice(7));
    expect(train).toMatchObject({ tokens: 300, bytes: 297, documents: 3 });
  });

  test("leave training at least half", async () => {
    writeFileSync(text, `${"x".repeat(9)}\n\n${"y".repeat(989)}`);
    const { train, validation } = await prepare({ validationFraction: 0, minimumValidationTokens: 500 });
    expect([train.tokens, validation.tokens]).toEqual([500, 500]);
  });

  test("are refused with the numbers where half of all is not enough", async () => {
    writeFileSync(text, "x".repeat(99));
    const failed = prepare({ minimumValidationTokens: 51 });
    await expect(failed).rejects.toThrow(CorpusTooSmallForSequenceError);
    await expect(failed).rejects.toMatchObject({ tokens: 100, neededTokens: 102 });
    expect(readdirSync(cacheDirectory)).toEqual([]);
  });
});

test("a token outside of the vocabulary is noticed when it is read", async () => {
  const { train } = await prepare();
  const bytes = readFileSync(train.path);
  bytes.writeUInt16LE(300, 20);
  writeFileSync(train.path, bytes);
  expect(() => tokensOf(train)).toThrow(TokenCacheCorruptError);
  writeFileSync(train.path, bytes.subarray(0, 10));
  expect(() => tokensOf(train)).toThrow("shorter than its header says");
});

function flipBit(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1]! ^= 4;
  writeFileSync(path, bytes);
}
