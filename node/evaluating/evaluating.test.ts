// What `glossa eval` looks at and how it shows it; the arithmetic is tested beside it, in model/eval.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { writeModelFolder } from "#model/checkpoint/model-folder.ts";
import { isHeldOut } from "#model/data/hold-out.ts";
import { genesisBody } from "#model/genesis.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import { runCli } from "../cli/main.ts";
import { averageOf, type SourceEvaluation, sourcesOf } from "./evaluate-model.ts";
import { evaluationText } from "./report.ts";
import { type SelectDocumentsOptions, selectDocuments } from "./select-documents.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-eval-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const numbered = (name: string, count: number) =>
  Array.from({ length: count }, (_, at) => `${name} document ${at}`);

async function folderOfTexts(): Promise<string> {
  const path = join(directory, "texts");
  await mkdir(path);
  await writeFile(join(path, "a.txt"), numbered("first", 400).join("\n\n"));
  await writeFile(
    join(path, "b.jsonl.gz"),
    gzipSync(
      numbered("other", 400)
        .map((text) => `{"text":"${text}"}`)
        .join("\n"),
    ),
  );
  await writeFile(join(path, "0.txt"), "");
  return path;
}

async function selected(path: string, options: Partial<SelectDocumentsOptions> = {}): Promise<string[]> {
  const { signal } = new AbortController();
  const documents: string[] = [];
  const selecting = selectDocuments(path, { textField: "text", split: "all", signal, ...options });
  for await (const document of selecting) documents.push(document);
  return documents;
}

describe("the documents of a source", () => {
  test("are all of its files, or those that training leaves out", async () => {
    const path = await folderOfTexts();
    const all = [...numbered("first", 400), ...numbered("other", 400)];
    expect(await selected(path)).toEqual(all);
    const heldOut = await selected(path, { split: "held-out" });
    expect(heldOut).toEqual(all.filter((text) => isHeldOut(text, 0.05)));
    expect(heldOut.length).toBeGreaterThan(10);
  });

  test("up to a number of bytes come from each file in equal share", async () => {
    const documents = await selected(await folderOfTexts(), { maxBytes: 4000 });
    const bytes = documents.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
    expect(bytes).toBeGreaterThanOrEqual(4000);
    expect(bytes).toBeLessThan(4060);
    const first = documents.filter((text) => text.startsWith("first"));
    expect(first.length / documents.length).toBeCloseTo(1 / 2, 1);
  });

  test("that are not there are an error that says why", async () => {
    const path = join(directory, "few.txt");
    await writeFile(path, "to be or not to be");
    await expect(selected(path, { split: "held-out" })).rejects.toMatchObject({ code: "NOTHING_HELD_OUT" });
    await writeFile(path, "\n");
    await expect(selected(path)).rejects.toMatchObject({ code: "DATA_EMPTY" });
  });

  test("belong to sources with names that tell them apart", () => {
    const names = (...paths: string[]) => sourcesOf(paths).map(({ name }) => name);
    expect(names("en.txt", "data/es.jsonl.zst", "zh/")).toEqual(["en", "es", "zh"]);
    expect(names("a/text.txt", "b/text.jsonl", "c.d.txt")).toEqual(["a/text.txt", "b/text.jsonl", "c.d"]);
  });
});

const evaluation = (source: string, bitsPerByte: number, perplexity: number): SourceEvaluation => ({
  source,
  bitsPerByte,
  perplexity,
  natsPerToken: Math.log(perplexity),
  unigramNatsPerToken: 1,
  normalizedNatsPerToken: Math.log(perplexity) - 1,
  normalizedPerplexity: perplexity / Math.E,
  tokens: 1000,
  bytes: 3000,
  documents: 10,
  tokensPerSecond: 5000,
});

describe("the report", () => {
  const sources = [evaluation("en", 1, 40), evaluation("sw", 2, 60)];

  test("averages sources, not tokens", () => {
    expect(averageOf(sources)).toMatchObject({ bitsPerByte: 1.5, perplexity: 50 });
  });

  test("of one model has a row a source", () => {
    const lines = evaluationText([{ model: "ada", description: "ada's", sources }]).split("\n");
    expect(lines[2]).toMatch(/^source +bits\/byte +perplexity/);
    expect(lines.slice(3, 6).map((line) => line.split(/ +/).slice(0, 3))).toEqual([
      ["en", "1.0000", "40.00"],
      ["sw", "2.0000", "60.00"],
      ["average", "1.5000", "50.00"],
    ]);
  });

  test("of several models has a column a model", () => {
    const other = sources.map((source) => ({ ...source, bitsPerByte: source.bitsPerByte / 2 }));
    const text = evaluationText([
      { model: "ada", description: "ada's", sources },
      { model: "bob", description: "bob's", sources: other },
    ]);
    expect(text).toMatch(
      /source +ada +bob\nen +1\.0000 +0\.5000\nsw +2\.0000 +1\.0000\naverage +1\.5000 +0\.7500\n/,
    );
  });
});

describe("glossa eval", () => {
  const tokenizer = trainTokenizer(numbered("first", 50), { vocabularySize: 260 });

  /** A model that finds all tokens equally likely, so that its numbers are known. */
  async function uniformModel(vocabularySize = 260): Promise<string> {
    const config = { blocks: 1, width: 8, heads: 1, sequenceLength: 8, vocabularySize };
    const path = join(directory, "uniform.model");
    await writeModelFolder(path, {
      config,
      body: genesisBody(config, 1),
      embedding: new Float32Array(8 * vocabularySize),
      tokenizer: (await tokenizer).toJson(),
    });
    return path;
  }

  async function glossa(...argv: string[]) {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const { signal } = new AbortController();
    const exitCode = await runCli(["eval", ...argv], { signal, stdout, stderr, environment: {} });
    return { exitCode, stdout: String(stdout.read() ?? ""), stderr: String(stderr.read() ?? "") };
  }

  test("gives the numbers of a model whose numbers are known, for people and for programs", async () => {
    const [model, text] = [await uniformModel(), await folderOfTexts()];
    const flags = ["--model", model, text, "--device", "cpu", "--threads", "1"];
    const { exitCode, stdout } = await glossa(...flags, "--json");
    expect(exitCode).toBe(0);
    const [source, average] = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const bytes = [...numbered("first", 400), ...numbered("other", 400)].join("").length;
    expect(source).toMatchObject({ event: "evaluation", model, source: "texts", documents: 800, bytes });
    expect(source.perplexity).toBeCloseTo(260, 2);
    expect(source.bitsPerByte).toBeCloseTo((source.tokens * Math.log2(260)) / bytes, 5);
    expect(average).toMatchObject({ event: "average", model, sources: 1, perplexity: source.perplexity });
    const table = await glossa(...flags, "--stride", "3", "--max-bytes", "2000");
    expect(table.stdout).toMatch(/texts +\d\.\d{4} +260\.0 /);
  });

  test("counts rows of the embedding that no token has: they take probability too", async () => {
    const [model, text] = [await uniformModel(512), await folderOfTexts()];
    const { stdout } = await glossa("--model", model, text, "--device", "cpu", "--json");
    expect(JSON.parse(stdout.split("\n")[0]!).perplexity).toBeCloseTo(512, 2);
  });

  test("refuses what would lose tokens or mistake them", async () => {
    const [model, text] = [await uniformModel(), await folderOfTexts()];
    const large = await trainTokenizer(numbered("first", 90), { vocabularySize: 265 });
    await writeFile(join(directory, "large.json"), large.toJson());
    const other = ["--tokenizer", join(directory, "large.json")];
    const wrong = [
      ["--model", model, text, "--stride", "9"],
      ["--model", model, text, ...other],
      ["--model", model, "--model", model, text, ...other],
      ["--model", model],
    ];
    for (const flags of wrong) expect((await glossa(...flags)).exitCode).toBe(2);
    expect((await glossa("--model", "nobody", text)).exitCode).toBe(70);
  });
});
