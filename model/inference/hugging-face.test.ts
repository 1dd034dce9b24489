// transformers' own word on a model of its own making: testdata/hugging-face/check-with-transformers.py wrote both.
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readModelFolder } from "../checkpoint/model-folder.ts";
import { byteTokenizerJson } from "../testing/byte-tokenizer.ts";
import { Decoder, type DecoderStep } from "./decoder.ts";
import { generateTokens } from "./generate.ts";

const TINY = new URL("../testdata/hugging-face/tiny-mpt/", import.meta.url);
/** Of the largest logit; both sides compute in float32. */
const TOLERANCE = 1e-5;

interface Expected {
  readonly tokens: readonly number[];
  readonly logits: Readonly<Record<string, readonly number[]>>;
  readonly greedy: readonly number[];
}
let folder = "";
let expected: Expected;
let decoder: Decoder;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "glossa-tiny-mpt-"));
  await cp(TINY, folder, { recursive: true });
  await writeFile(join(folder, "tokenizer.json"), byteTokenizerJson());
  expected = JSON.parse(await readFile(join(folder, "expected.json"), "utf8"));
  decoder = await Decoder.create({ ...(await readModelFolder(folder)), threads: 1 });
});
afterAll(async () => {
  await decoder.dispose();
  await rm(folder, { recursive: true });
});

it("a model that transformers saved is read, whichever version wrote its config", async () => {
  const model = await readModelFolder(folder);
  const { config } = model;
  expect(config).toEqual({ blocks: 2, width: 6, heads: 3, sequenceLength: 16, vocabularySize: 257 });
  await cp(join(folder, "config-4.38.2.json"), join(folder, "config.json"));
  expect(await readModelFolder(folder)).toEqual(model);
});

it("its logits are the ones that transformers gives, token by token", async () => {
  let step: DecoderStep | undefined;
  let compared = 0;
  for (const [at, token] of expected.tokens.entries()) {
    step = await decoder.read([token], step?.cache);
    const row = expected.logits[at];
    if (row === undefined) continue;
    const scale = Math.max(...row.map(Math.abs));
    const { logits } = step;
    expect(logits.length).toBe(row.length);
    expect(Math.max(...row.map((value, id) => Math.abs(value - logits[id]!))) / scale).toBeLessThan(
      TOLERANCE,
    );
    compared++;
  }
  expect(compared).toBe(3);
});

it("it is continued as transformers continues it", async () => {
  const start = await decoder.read(expected.tokens.slice(0, 6));
  const options = { temperature: 0, topK: 0, topP: 1, seed: "", endOfText: -1, vocabularySize: 257 };
  const { signal } = new AbortController();
  const tokens: number[] = [];
  for await (const token of generateTokens(decoder, start, { ...options, maxTokens: 10 }, signal)) {
    tokens.push(token);
  }
  expect(tokens).toEqual(expected.greedy);
});
