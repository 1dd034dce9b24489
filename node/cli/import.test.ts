import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeModelFolder } from "#model/checkpoint/model-folder.ts";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import { parseInvite } from "#protocol/core/invite.ts";
import { bodyRoot } from "#protocol/core/merkle.ts";
import { parseManifest } from "#protocol/core/run-manifest.ts";
import { sha256, sha256Hex } from "#protocol/net/hash.ts";
import { runCli } from "./main.ts";

const BODY = { blocks: 2, width: 24, heads: 3, sequenceLength: 40 };
const tokenizer = (await trainTokenizer(["to be or not to be"], { vocabularySize: 259 })).toJson();

let directory: string;
let folder: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-import-"));
  folder = join(directory, "model");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** A model with `rows` of embedding; those beyond the tokenizer's tokens are padding. */
async function writeModel(rows: number) {
  const config = { ...BODY, vocabularySize: rows };
  const model = { config, body: genesisBody(BODY, 1), embedding: initialEmbedding(config, 2), tokenizer };
  await writeModelFolder(folder, model);
  return model;
}

async function glossa(...argv: string[]) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const { signal } = new AbortController();
  const exitCode = await runCli(["import", ...argv], { signal, stdout, stderr, environment: {} });
  return { exitCode, stdout: String(stdout.read() ?? ""), stderr: String(stderr.read() ?? "") };
}

async function imported(...flags: string[]) {
  const output = join(directory, "run.json");
  const { exitCode, stdout, stderr } = await glossa(folder, "--output", output, ...flags);
  expect(exitCode, stderr).toBe(0);
  const { runId } = parseInvite(stdout.trim(), sha256);
  return { stderr, ...parseManifest(await readFile(output), runId, sha256) };
}

const joined = (...arrays: Float32Array[]) => Float32Array.from(arrays.flatMap((array) => [...array]));

test("a run of a model has its size, its sequence length and the root of its body", async () => {
  const { body } = await writeModel(259);
  const { config, stderr } = await imported("--name", "more", "--rounds", "7");
  expect(config).toMatchObject({ name: "more", variant: "spec-opt", model: BODY, training: { rounds: 7 } });
  expect(config.initialBody).toBe(bodyRoot(body, sha256));
  expect(stderr).toContain(`glossa peer --join <invite> --body ${folder} --manifest`);
});

test.each(["trim", "glob"])("in variant %s its embedding and tokenizer are shared too", async (variant) => {
  const { body, embedding } = await writeModel(259);
  const { config, layout } = await imported("--variant", variant, "--sequence-length", "16");
  expect(config.model.sequenceLength).toBe(16);
  expect(config.vocabulary).toEqual({ tokenizer: sha256Hex(Buffer.from(tokenizer)), size: 259 });
  expect(config.initialBody).toBe(bodyRoot(joined(body, embedding), sha256));
  expect(layout.at(-1)).toEqual({ name: "transformer.wte.weight", shape: [259, 24] });
  expect(await readFile(join(directory, "run.tokenizer.json"), "utf8")).toBe(tokenizer);
});

test("rows that are padding are not shared", async () => {
  const { body, embedding } = await writeModel(320);
  const { config } = await imported("--variant", "glob");
  expect(config.vocabulary?.size).toBe(259);
  expect(config.initialBody).toBe(bodyRoot(joined(body, embedding.slice(0, 259 * 24)), sha256));
});

test("what is no model folder is refused with what to do instead", async () => {
  expect(await glossa()).toMatchObject({ exitCode: 2 });
  expect(await glossa("one", "two")).toMatchObject({ exitCode: 2 });
  expect(await glossa(join(directory, "nothing"))).toMatchObject({ exitCode: 70 });
});
