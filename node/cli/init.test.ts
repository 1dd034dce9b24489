import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeModelFolder } from "#model/checkpoint/model-folder.ts";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import { parseManifest } from "#protocol/core/run-manifest.ts";
import { sha256, sha256Hex } from "#protocol/net/hash.ts";
import { runCli } from "./main.ts";

const TOKENIZER = (await trainTokenizer(["to be or not to be"], { vocabularySize: 259 })).toJson();
const OTHER = (await trainTokenizer(["two bees or no two bees"], { vocabularySize: 259 })).toJson();

let directory: string;
let tokenizer: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-init-"));
  tokenizer = join(directory, "given.json");
  await writeFile(tokenizer, TOKENIZER);
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function init(...flags: string[]) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const { signal } = new AbortController();
  const argv = ["init", "--output", join(directory, "babel.run.json"), ...flags];
  const exitCode = await runCli(argv, { signal, stdout, stderr, environment: {} });
  return { exitCode, stdout: String(stdout.read() ?? ""), stderr: String(stderr.read() ?? "") };
}

async function made(...flags: string[]) {
  const { exitCode, stdout, stderr } = await init("--json", ...flags);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  const event = JSON.parse(stdout);
  return { event, ...parseManifest(await readFile(event.file), event.runId, sha256) };
}

test("a run of one's own vocabularies names no tokenizer", async () => {
  const { event, config, layout } = await made();
  expect(config).toMatchObject({ variant: "spec-opt" });
  expect(config.vocabulary).toBeUndefined();
  expect(event.sharedParameters).toBe(event.bodyParameters);
  expect(layout.at(-1)?.name).toBe("transformer.norm_f.weight");
  expect(await readdir(directory)).toEqual(["babel.run.json", "given.json"]);
});

test("a run that names no codec is given one that its length allows, and says why", async () => {
  const { event, config } = await made("--rounds", "60");
  expect(event).toMatchObject({ codec: "topk", codecReason: expect.stringMatching(/for 60 rounds of/) });
  expect(config.averaging).toMatchObject({ codec: "topk", outerLearningRate: 12 });
  const { stderr } = await init("--output", join(directory, "short.run.json"), "--rounds", "5");
  expect(stderr).toMatch(/averaging +int4, .*: 5 rounds are too few/);
  const { event: named } = await made("--output", join(directory, "named.run.json"), "--codec", "int8");
  expect(named).toMatchObject({ codec: "int8" });
  expect(named.codecReason).toBeUndefined();
});

test.each([
  ["spec", 0],
  ["trim", 259],
  ["glob", 259],
] as const)(
  "a run of variant %s names its tokenizer, puts it beside the manifest and shares %i rows",
  async (variant, rows) => {
    const { event, config, layout } = await made("--variant", variant, "--tokenizer", tokenizer);
    expect(config.vocabulary).toEqual({ tokenizer: sha256Hex(Buffer.from(TOKENIZER)), size: 259 });
    expect(event).toMatchObject({ variant, tokenizerFile: join(directory, "babel.tokenizer.json") });
    expect(await readFile(event.tokenizerFile, "utf8")).toBe(TOKENIZER);
    expect(event.sharedParameters).toBe(event.bodyParameters + rows * config.model.width);
    const last = layout.at(-1);
    expect(last?.shape).toEqual(rows === 0 ? [config.model.width] : [rows, config.model.width]);
  },
);

test("what is shared is said in words", async () => {
  const { stdout: invite, stderr } = await init("--variant", "trim", "--tokenizer", tokenizer);
  expect(stderr).toContain(
    "the body, and of 259 embedding rows those that a peer's text uses (variant trim)",
  );
  expect(stderr).toContain("The first peer needs --manifest and --tokenizer");
  expect(invite).toMatch(/^glossa1\w+\n$/);
});

test("a tokenizer that is missing, out of place, unreadable or none is refused in a sentence", async () => {
  expect(await init("--variant", "glob")).toMatchObject({
    exitCode: 2,
    stderr: expect.stringContaining("give it with --tokenizer; glossa tokenizer makes one"),
  });
  expect(await init("--tokenizer", tokenizer)).toMatchObject({
    exitCode: 2,
    stderr: expect.stringContaining("leave --tokenizer out"),
  });
  const nowhere = join(directory, "nowhere.json");
  expect(await init("--variant", "glob", "--tokenizer", nowhere)).toMatchObject({ exitCode: 2 });
  await writeFile(tokenizer, "{}");
  expect(await init("--variant", "glob", "--tokenizer", tokenizer)).toMatchObject({ exitCode: 14 });
  expect(await readdir(directory)).toEqual(["given.json"]);
});

test("a run that could not be uploaded leaves no file, and takes none away", async () => {
  const nobody = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDCrwCPKeqffbZqfrfgnyHyBLQZ9zfZ49hFQxnPvhinZF";
  const flags = ["--variant", "glob", "--tokenizer", tokenizer];
  expect(await init(...flags, "--bootstrap", nobody)).toMatchObject({ exitCode: 21 });
  expect(await readdir(directory)).toEqual(["given.json"]);
  const { event } = await made(...flags);
  const again = [
    "--seed",
    String(parseManifest(await readFile(event.file), event.runId, sha256).config.seed),
  ];
  expect(await init(...flags, ...again, "--bootstrap", nobody)).toMatchObject({ exitCode: 21 });
  expect(await readdir(directory)).toEqual(["babel.run.json", "babel.tokenizer.json", "given.json"]);
});

test("another run's tokenizer is never written over", async () => {
  await made("--variant", "glob", "--tokenizer", tokenizer);
  await rm(join(directory, "babel.run.json"));
  await writeFile(tokenizer, OTHER);
  expect(await init("--variant", "glob", "--tokenizer", tokenizer)).toMatchObject({
    exitCode: 2,
    stderr: expect.stringContaining("holds another tokenizer"),
  });
});

test("a run that starts from a model and shares its embedding has the model's tokenizer", async () => {
  const model = { blocks: 1, width: 16, heads: 2, sequenceLength: 16, vocabularySize: 259 };
  const folder = join(directory, "model");
  await writeModelFolder(folder, {
    ...{
      config: model,
      body: genesisBody(model, 1),
      embedding: initialEmbedding(model, 1),
      tokenizer: OTHER,
    },
  });
  const flags = ["--body", folder, "--variant", "glob", "--tokenizer", tokenizer];
  expect(await init(...flags)).toMatchObject({
    exitCode: 26,
    stderr: expect.stringContaining("belongs to another tokenizer"),
  });
  await writeFile(tokenizer, OTHER);
  const { config } = await made(...flags);
  expect(config).toMatchObject({ model: { blocks: 1, width: 16, heads: 2, sequenceLength: 128 } });
  expect(config.initialBody).toMatch(/^[0-9a-f]{64}$/);
});
