// Where a peer's vocabulary comes from, over a real state directory; whom to fetch a tokenizer from is a function here.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Variant } from "#protocol/core/run-config.ts";
import { sha256Hex } from "#protocol/net/hash.ts";
import { StateDirectory } from "../storage/state-directory.ts";
import { vocabularySource } from "./vocabulary-source.ts";

const TOKENIZER = new TextEncoder().encode('{"the run\'s": "tokenizer"}');

let directory: string;
let state: StateDirectory;
let fetched: string[];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-vocabulary-"));
  state = await StateDirectory.open(join(directory, "state"));
  fetched = [];
});
afterEach(async () => {
  await state.close();
  await rm(directory, { recursive: true, force: true });
});

const runOf = (variant: Variant) => ({
  name: "babel",
  variant,
  vocabulary: variant === "spec-opt" ? undefined : { tokenizer: sha256Hex(TOKENIZER), size: 600 },
});

const sourceFor = (variant: Variant, flags: { tokenizer?: string; vocabularySize?: number } = {}) =>
  vocabularySource({ tokenizer: undefined, vocabularySize: undefined, ...flags }, runOf(variant), {
    state,
    async fetch(contentId) {
      fetched.push(contentId);
      return TOKENIZER;
    },
  });

it("is the peer's own affair in spec-opt, and nobody is asked", async () => {
  const flags = { tokenizer: "mine.json" };
  expect(await sourceFor("spec-opt", flags)).toEqual({
    kind: "own",
    tokenizerPath: "mine.json",
    vocabularySize: undefined,
  });
  expect(fetched).toEqual([]);
});

it("is the run's tokenizer in the others: fetched once, kept byte for byte", async () => {
  const source = await sourceFor("trim");
  expect(source).toEqual({
    ...{ kind: "common", tokenizerPath: state.commonTokenizerPath },
    ...{ vocabularySize: 600, restricted: true },
  });
  expect(new Uint8Array(await readFile(state.commonTokenizerPath))).toEqual(TOKENIZER);
  expect(await sourceFor("spec")).toEqual(source);
  expect(await sourceFor("glob")).toMatchObject({ restricted: false });
  expect(fetched).toEqual([sha256Hex(TOKENIZER)]);
});

it("is fetched again where the one that was kept is damaged", async () => {
  await sourceFor("trim");
  await writeFile(state.commonTokenizerPath, TOKENIZER.slice(1));
  await sourceFor("trim");
  expect(fetched).toHaveLength(2);
  expect(new Uint8Array(await readFile(state.commonTokenizerPath))).toEqual(TOKENIZER);
});

it("is the file that is given, if it is the run's; then nobody is asked", async () => {
  const given = join(directory, "given.json");
  await writeFile(given, TOKENIZER);
  await sourceFor("glob", { tokenizer: given });
  expect(fetched).toEqual([]);
  expect(new Uint8Array(await readFile(state.commonTokenizerPath))).toEqual(TOKENIZER);

  await writeFile(given, TOKENIZER.slice(1));
  await expect(sourceFor("glob", { tokenizer: given })).rejects.toMatchObject({
    code: "TOKENIZER_NOT_THE_RUNS",
    expected: sha256Hex(TOKENIZER),
    actual: sha256Hex(TOKENIZER.slice(1)),
  });
  await expect(sourceFor("glob", { tokenizer: join(directory, "none.json") })).rejects.toMatchObject({
    code: "TOKENIZER_UNREADABLE",
  });
});

it("has the run's size, not one that is asked for", async () => {
  await expect(sourceFor("spec", { vocabularySize: 400 })).rejects.toThrow(
    "share one tokenizer of 600 tokens (variant spec): leave --vocabulary-size out",
  );
});
