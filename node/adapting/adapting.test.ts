// Adapting with the real model on the CPU. Killing is tested with real processes, in node/e2e.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readModelFolder, writeModelFolder } from "#model/checkpoint/model-folder.ts";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { learningRateAt } from "#model/optim/schedule.ts";
import type { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import { loadModel } from "../models/load-model.ts";
import { type AdaptModules, type AdaptOptions, adaptModel } from "./adapt-model.ts";
import { optimizerFor, usualLearningRate } from "./phase-two.ts";
import { matchingRows, startEmbedding } from "./start-embedding.ts";

const never = new AbortController().signal;
const BODY = { blocks: 1, width: 16, heads: 2, sequenceLength: 16 };

async function corpus(name: string, bytes: number): Promise<string> {
  const path = fileURLToPath(new URL(`../demo/corpora/${name}.txt.gz`, import.meta.url));
  return gunzipSync(await readFile(path))
    .toString("utf8")
    .slice(0, bytes);
}
const english = await corpus("en-novels", 60_000);
const spanish = await corpus("es-scripture", 60_000);
const tokenizer = await trainTokenizer([english], { vocabularySize: 300 });
const config = { ...BODY, vocabularySize: 300 };

let directory: string;
let options: AdaptOptions;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-adapt-"));
  await writeFile(join(directory, "es.txt"), spanish);
  const model = join(directory, "model");
  await writeModelFolder(model, {
    config,
    body: genesisBody(BODY, 1),
    embedding: initialEmbedding(config, 2),
    tokenizer: tokenizer.toJson(),
    provenance: { learningRate: 0.02 },
  });
  options = {
    model,
    data: [join(directory, "es.txt")],
    textField: "text",
    vocabulary: { kind: "trained", size: 320 },
    embedding: "random",
    freezeBody: false,
    steps: 24,
    batchSize: 4,
    schedule: "cosine",
    warmupSteps: 0,
    sampling: "proportional",
    seed: 7,
    evaluateEverySteps: 8,
    evaluationTokens: 1024,
    output: join(directory, "out"),
    checkpointIntervalMs: 1e9,
    device: "cpu",
    threads: 1,
  };
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const adapt = (changes: Partial<AdaptOptions> = {}, modules: Partial<AdaptModules> = {}) =>
  adaptModel({ ...options, ...changes }, { signal: never, ...modules });

/** Everything in the folder that a user has of it, by name. */
async function filesOf(output: string): Promise<Record<string, string>> {
  const names = (await readdir(output)).filter((name) => name !== ".adapt");
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(output, name), "hex")])),
  );
}

describe("an adaptation", () => {
  test("learns the text in a vocabulary of its own and leaves a model that can be loaded and adapted again", async () => {
    const { curve, plan, wasDone } = await adapt();
    expect(wasDone).toBe(false);
    expect(curve.map(({ step }) => step)).toEqual([0, 8, 16, 24]);
    expect(curve.at(-1)!.bitsPerByte).toBeLessThan(curve[0]!.bitsPerByte - 0.3);
    expect(plan).toMatchObject({ learningRate: 0.02, keptRows: 0, config: { ...BODY, vocabularySize: 320 } });
    const lines = (await readFile(join(options.output, "curve.jsonl"), "utf8")).trim().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toEqual(curve);

    const model = await loadModel(options.output, { signal: never });
    expect(model.config).toEqual(plan.config);
    expect(model.source.learningRate).toBe(0.02);
    const again = await adapt({
      model: options.output,
      vocabulary: { kind: "kept" },
      embedding: "kept",
      output: join(directory, "again"),
    });
    // It goes on from where the first one ended.
    expect(again.curve[0]!.bitsPerByte).toBeCloseTo(curve.at(-1)!.bitsPerByte, 6);
  });

  test("gives the same bytes however often it is interrupted, also where its model has gone", async () => {
    await adapt();
    const expected = await filesOf(options.output);
    await rm(options.output, { recursive: true });

    const loads: string[] = [];
    for (const stopAt of [1, 8, 13, 23]) {
      const stop = new AbortController();
      const stopped = adapt(
        {},
        {
          signal: stop.signal,
          load: (signal) => {
            loads.push("loaded");
            return loadModel(options.model, { signal });
          },
          onProgress: (progress) => {
            if (progress.stage === "step" && progress.step === stopAt) stop.abort();
          },
        },
      );
      await expect(stopped).rejects.toMatchObject({ name: "AbortError" });
      expect(await readdir(options.output)).not.toContain("config.json");
    }
    await rm(options.model, { recursive: true });
    // What a kill leaves half-written is nobody's.
    for (const folder of [".", ".adapt"]) {
      await writeFile(join(options.output, folder, "curve.jsonl.0123456789ab.partial"), "{");
    }
    await adapt();
    expect(loads).toEqual(["loaded"]);
    expect(await filesOf(options.output)).toEqual(expected);
  });

  test("that is done stays as it is, and another one is not mixed into it", async () => {
    const { curve } = await adapt();
    const files = await filesOf(options.output);
    expect(await readdir(join(options.output, ".adapt"))).toEqual(["plan.json", "tokenizer.json"]);
    expect(await adapt()).toMatchObject({ wasDone: true, curve });
    const other = adapt({ steps: 25 });
    await expect(other).rejects.toMatchObject({ code: "STATE_OF_ANOTHER_ADAPTATION" });
    await expect(other).rejects.toThrow("a different --steps");
    expect(await filesOf(options.output)).toEqual(files);
    await adapt({ steps: 8, force: true });
    expect((await filesOf(options.output))["model.safetensors"]).not.toBe(files["model.safetensors"]);
  });

  test("leaves the body to the last bit where it is frozen", async () => {
    const { curve } = await adapt({ freezeBody: true });
    const { body, embedding } = await readModelFolder(options.output);
    expect(body).toEqual(genesisBody(BODY, 1));
    expect(embedding).not.toEqual(initialEmbedding({ ...BODY, vocabularySize: 320 }, "adapt/7"));
    expect(curve.at(-1)!.bitsPerByte).toBeLessThan(curve[0]!.bitsPerByte);
    await rm(options.output, { recursive: true });
    await adapt();
    expect((await readModelFolder(options.output)).body).not.toEqual(body);
  });

  test("evaluates each of several sources, and mixes them as it is told", async () => {
    const small = join(directory, "small.txt");
    await writeFile(small, english.slice(0, 20_000));
    const data = [small, join(directory, "es.txt")];
    const uniform = await adapt({ data, sampling: "uniform" });
    const proportional = await adapt({ data, sampling: "proportional", output: join(directory, "other") });
    const { small: en, es } = uniform.curve[0]!.sources;
    expect(uniform.curve[0]!.bitsPerByte).toBeCloseTo((en!.bitsPerByte + es!.bitsPerByte) / 2, 12);
    expect(uniform.curve[0]).toEqual(proportional.curve[0]);
    expect(uniform.curve.at(-1)).not.toEqual(proportional.curve.at(-1));
  });

  test("does not write among files of others, nor at the same time as another one", async () => {
    await expect(adapt({ output: options.model })).rejects.toMatchObject({ code: "MODEL_FOLDER_NOT_EMPTY" });
    let second: Promise<unknown> | undefined;
    await adapt(
      {},
      {
        onProgress: ({ stage }) => {
          if (stage === "training") second = adapt().catch((error: unknown) => error);
        },
      },
    );
    expect(await second).toMatchObject({ code: "OUTPUT_IN_USE", pid: process.pid });
  });

  test("that cannot begin leaves nothing behind, and one that was stopped leaves what it goes on with", async () => {
    const output = join(directory, "deep", "out");
    const before = await readdir(directory);
    const tooFew = join(directory, "few.txt");
    await writeFile(tooFew, "too few words");
    const bad: [Partial<AdaptOptions>, string][] = [
      [{ data: [join(directory, "none.txt")] }, "DATA_PATH_MISSING"],
      [{ data: [tooFew] }, "CORPUS_TOO_SMALL_FOR_VOCABULARY"],
      [{ data: [tooFew], vocabulary: { kind: "kept" } }, "CORPUS_TOO_SMALL_FOR_SEQUENCE"],
      [{ vocabulary: { kind: "file", path: join(directory, "none.json") } }, "TOKENIZER_UNREADABLE"],
      [{ model: tooFew }, "MODEL_NOT_FOUND"],
    ];
    for (const [changes, code] of bad) {
      await expect(adapt({ output, ...changes })).rejects.toMatchObject({ code });
      expect(await readdir(directory)).toEqual([...before, "few.txt"].sort());
    }
    // A folder that was there stays, and so does what was begun with other settings.
    await mkdir(output, { recursive: true });
    await expect(adapt({ output, model: tooFew })).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    expect(await readdir(output)).toEqual([]);
    const stop = new AbortController();
    const stopped = adapt({ output }, { signal: stop.signal, onProgress: () => stop.abort() });
    await expect(stopped).rejects.toThrow();
    expect(await readdir(output)).toContain(".adapt");
    await adapt({ output });
    await expect(adapt({ output, steps: 25 })).rejects.toMatchObject({ code: "STATE_OF_ANOTHER_ADAPTATION" });
    expect(await adapt({ output })).toMatchObject({ wasDone: true });
  });

  test("cannot keep an embedding under another vocabulary", async () => {
    await expect(adapt({ embedding: "kept" })).rejects.toMatchObject({ code: "EMBEDDING_NOT_KEPT" });
    const other = join(directory, "tokenizer.json");
    await writeFile(other, (await trainTokenizer([spanish], { vocabularySize: 300 })).toJson());
    const foreign = adapt({ embedding: "kept", vocabulary: { kind: "file", path: other } });
    await expect(foreign).rejects.toMatchObject({ code: "EMBEDDING_NOT_KEPT" });
  });
});

describe("the embedding to start from", () => {
  const source = { config, embedding: initialEmbedding(config, 2), tokenizer };
  const rowsOf = (embedding: Float32Array) => (id: number) => embedding.subarray(id * 16, (id + 1) * 16);
  const wordOf = (of: Tokenizer, id: number) => Buffer.from(of.decodeBytes([id])).toString("latin1");

  test("matching takes the rows of tokens that spell the same bytes, and no other", async () => {
    const target = await trainTokenizer([spanish], { vocabularySize: 330 });
    const { embedding, keptRows } = startEmbedding(
      "matching",
      source,
      { tokenizer: target, vocabularySize: 330 },
      7,
    );
    const random = startEmbedding("random", source, { tokenizer: target, vocabularySize: 330 }, 7).embedding;
    let matches = 0;
    for (let id = 0; id < 330; id++) {
      const word = wordOf(target, id);
      const from =
        id === target.endOfText
          ? tokenizer.endOfText
          : Array.from({ length: 300 }, (_, other) => other).find(
              (other) => word !== "" && wordOf(tokenizer, other) === word,
            );
      const expected = from === undefined ? rowsOf(random)(id) : rowsOf(source.embedding)(from);
      expect(rowsOf(embedding)(id)).toEqual(expected);
      if (from !== undefined) matches += 1;
    }
    // All bytes and the end of a text; some of the merges, not all.
    expect(matches).toBeGreaterThan(257);
    expect(matches).toBeLessThan(330);
    expect(keptRows).toBe(matches);
  });

  test("is random by its seed, and kept as it is", () => {
    const target = { tokenizer, vocabularySize: 300 };
    const random = (seed: number) => startEmbedding("random", source, target, seed).embedding;
    expect(random(1)).toEqual(random(1));
    expect(random(1)).not.toEqual(random(2));
    expect(startEmbedding("kept", source, target, 1)).toEqual({ embedding: source.embedding, keptRows: 300 });
  });

  test("matches a vocabulary with itself row by row", () => {
    const rows = matchingRows(tokenizer, tokenizer);
    expect([...rows].every(([to, from]) => to === from)).toBe(true);
    expect(rows.size).toBe(300);
  });
});

describe("the optimizer of phase 2", () => {
  const phase = { steps: 1200, warmupSteps: 0, schedule: "cosine", learningRate: 6e-4 } as const;

  test("starts at the peak with a random embedding, at half of it otherwise, and ends at a tenth", () => {
    const rates = (embedding: "random" | "matching" | "kept") => {
      const optimizer = optimizerFor({ ...phase, embedding });
      return [0, 1200].map((step) => learningRateAt(optimizer, step));
    };
    expect(rates("random")[0]).toBeCloseTo(6e-4, 12);
    expect(rates("random")[1]).toBeCloseTo(6e-5, 12);
    for (const embedding of ["matching", "kept"] as const) {
      expect(rates(embedding)[0]).toBeCloseTo(3e-4, 12);
      expect(rates(embedding)[1]).toBeCloseTo(3e-5, 12);
    }
  });

  test("stays where it is when it is constant, and rises first when it is told to", () => {
    const optimizer = optimizerFor({ ...phase, embedding: "random", schedule: "constant", warmupSteps: 4 });
    expect([0, 3, 500, 1200].map((step) => learningRateAt(optimizer, step))).toEqual([
      1.5e-4, 6e-4, 6e-4, 6e-4,
    ]);
  });

  test("knows the usual rates by width", () => {
    expect([16, 128, 700, 1024, 2048, 4096].map(usualLearningRate)).toEqual([
      2e-3, 2e-3, 6e-4, 3e-4, 2e-4, 2e-4,
    ]);
  });
});
