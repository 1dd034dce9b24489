import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { bodyLength } from "#model/architecture.ts";
import { costsOf } from "#node/planning/costs.ts";
import { HEADER_BYTES } from "#protocol/core/codec/header.ts";
import { encodeRows } from "#protocol/core/rows.ts";
import { type Cell, cellOf, type Experiment, type Pretraining } from "./cells.ts";
import { CorporaError, corporaIn, embeddedCorpora } from "./corpora.ts";
import { reproduce } from "./main.ts";
import { type CellContext, CellMissingError, runCell } from "./run-cell.ts";
import { SCALES } from "./settings.ts";
import { CellStore } from "./store.ts";
import { writeSmallCorpora } from "./testing/small-corpora.ts";
import { Vocabularies } from "./vocabularies.ts";

const RATE = 4e-3;
const trim: Pretraining = { method: "trim", codec: "int8", learningRate: RATE };
const spec: Pretraining = { method: "spec-opt", codec: "topk", learningRate: RATE };
const std: Pretraining = { method: "std", temperature: 0.3, matched: "tokens", learningRate: RATE };
const act: Pretraining = { method: "act", temperature: 0, matched: "tokens", learningRate: RATE };
const idle = new AbortController().signal;

let directory: string;
let texts: string;
let experiment: Experiment;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-reproduction-"));
  texts = join(directory, "texts");
  await writeSmallCorpora(texts);
  experiment = { scale: SCALES.tiny, corpora: await corporaIn(texts) };
});
afterAll(() => rm(directory, { recursive: true }));

async function contextIn(name: string): Promise<Omit<CellContext, "onSteps">> {
  return {
    experiment,
    vocabularies: new Vocabularies(join(directory, "cache"), experiment.corpora, experiment.scale),
    store: await CellStore.open(join(directory, name)),
    // After every step or round.
    checkpointIntervalMs: 0,
    nowMs: () => performance.now(),
  };
}

async function resultOf(cell: Cell, context: Omit<CellContext, "onSteps">) {
  await runCell(cell, { ...context, onSteps: () => {} }, idle);
  const finished = await context.store.finished(cell.id);
  return { result: finished!.result, model: await context.store.model(cell.id) };
}

describe("a cell", () => {
  it.each([
    ["trim with int8", trim, 8],
    ["spec-opt with topk", spec, 11],
    ["std", std, 5],
    ["act", act, 7],
  ] as const)("of %s that is cut off half-way ends with equal results", async (_, pretraining, stopAt) => {
    const cell = cellOf(experiment, 1, "pretrain", pretraining);
    const whole = await resultOf(cell, await contextIn("whole"));

    const context = await contextIn("cut");
    const stop = new AbortController();
    let stepsDone = 0;
    const onSteps = (done: number) => {
      stepsDone = done;
      if (done >= stopAt) stop.abort();
    };
    await expect(runCell(cell, { ...context, onSteps }, stop.signal)).rejects.toThrow(/abort/i);
    expect([cell.steps, stepsDone]).toEqual([12, stopAt]);
    expect(await context.store.finished(cell.id)).toBeUndefined();
    // A new start goes on from what was saved, not from the beginning.
    const seen: number[] = [];
    await runCell(cell, { ...context, onSteps: (done) => seen.push(done) }, idle);
    expect(seen[0]).toBeGreaterThan(1);
    const resumed = (await context.store.finished(cell.id))!.result;
    expect(resumed).toEqual(whole.result);
    expect(await context.store.model(cell.id)).toEqual(whole.model);
    expect((await readdir(join(directory, "cut"))).filter((name) => name.endsWith(".partial"))).toEqual([]);
  });

  it("says what each worker held and sent", async () => {
    const { result } = await resultOf(cellOf(experiment, 1, "pretrain", trim), await contextIn("held"));
    const { width } = experiment.scale.model;
    expect(Object.keys(result.peers)).toEqual(["en-novels", "zh-poetry"]);
    for (const peer of Object.values(result.peers)) {
      expect(peer.vocabularySize).toBeLessThanOrEqual(experiment.scale.globalVocabulary);
      expect(peer.embeddingParameters).toBe(peer.vocabularySize * width);
      expect(peer.sentParameters).toBe(peer.bodyParameters + peer.embeddingParameters);
      expect(peer.payloadBytes).toHaveLength(experiment.scale.rounds);
      for (const bytes of peer.payloadBytes) expect(bytes / peer.sentParameters).toBeCloseTo(1, 0);
    }
    // Chinese verse has no use for what English is made of.
    expect(result.peers["zh-poetry"]!.vocabularySize).toBeLessThan(experiment.scale.globalVocabulary);
    expect(Object.keys(result.bitsPerByte)).toEqual(["en-novels", "zh-poetry"]);
  });

  it.each(["glob", "trim", "spec"] as const)(
    "of %s sends what the paper's formula says, to the byte",
    async (method) => {
      const context = await contextIn("sent");
      const pretraining: Pretraining = { method, codec: "float32", learningRate: RATE };
      const { result } = await resultOf(cellOf(experiment, 1, "pretrain", pretraining), context);
      const { scale } = experiment;
      for (const [source, peer] of Object.entries(result.peers)) {
        const { sentParameters, modelParameters } = costsOf({
          variant: method,
          bodyParameters: bodyLength(scale.model),
          width: scale.model.width,
          vocabularySize: scale.globalVocabulary,
          heldRows: peer.vocabularySize,
          localSteps: scale.localSteps,
        });
        expect(peer.bodyParameters + peer.embeddingParameters).toBe(modelParameters);
        const { rows } = await context.vocabularies.restricted(source, "es-scripture", idle);
        const hasSome = method === "trim" && rows.length < scale.globalVocabulary;
        // A set of rows and its length, where not all are held.
        const setBytes = hasSome ? encodeRows(rows, scale.globalVocabulary).length + 4 : 0;
        expect(peer.payloadBytes).toEqual([1, 2].map(() => 4 * sentParameters + HEADER_BYTES + setBytes));
      }
    },
  );

  it("of glob with one peer is std: rounds and averages alone change nothing", async () => {
    const context = await contextIn("alone");
    const alone = { ...experiment, corpora: experiment.corpora.slice(0, 2) };
    const trained = (pretraining: Pretraining) =>
      resultOf(cellOf(alone, 1, "pretrain", pretraining), { ...context, experiment: alone });
    const [glob, pooled] = [
      await trained({ method: "glob", codec: "float32", learningRate: RATE }),
      await trained({ ...std, temperature: 0, matched: "steps" }),
    ];
    // But for the grid that updates are rounded to, once a round.
    for (const group of ["body", "embedding"] as const) {
      const values = pooled.model![group]!;
      const apart = Math.max(...glob.model![group]!.map((value, at) => Math.abs(value - values[at]!)));
      expect(apart).toBeLessThan(1e-5);
    }
    expect(glob.result.bitsPerByte["en-novels"]).toBeCloseTo(pooled.result.bitsPerByte["en-novels"]!, 4);
  });

  it("continues from the body that another one made, with the same text for every method", async () => {
    const context = await contextIn("continued");
    const phase2 = cellOf(experiment, 1, "phase2", trim);
    await expect(resultOf(phase2, context)).rejects.toThrow(CellMissingError);
    await resultOf(cellOf(experiment, 1, "pretrain", trim), context);
    const after = await resultOf(phase2, context);
    const untrained = await resultOf(cellOf(experiment, 1, "phase2", undefined), context);
    for (const { result } of [after, untrained]) {
      expect(Object.keys(result.bitsPerByte)).toEqual(["en-novels", "es-scripture", "zh-poetry"]);
      expect(result.curve.map(({ step }) => step)).toEqual([0, 2, 4]);
    }
    // One new embedding for all, another than the one that trim began with; the bodies differ.
    const [a, b] = [after.result.curve[0]!, untrained.result.curve[0]!];
    expect(a.embeddingRowNorm).toBe(b.embeddingRowNorm);
    expect(a.bodyNorm).not.toBe(b.bodyNorm);
  });
});

describe("corpora", () => {
  it("in a folder are filed by what their text is", async () => {
    const [first] = experiment.corpora;
    expect(first).toMatchObject({ name: "en-novels", identity: expect.stringMatching(/^[0-9a-f]{64}$/) });
    const manifest = join(directory, "manifest.json");
    const content = JSON.parse(await readFile(join(texts, "manifest.json"), "utf8"));
    content.sources[0].files.valid.sha256OfText = "0".repeat(64);
    await writeFile(manifest, JSON.stringify(content));
    expect((await corporaIn(directory))[0]!.identity).not.toBe(first!.identity);
    await writeFile(manifest, JSON.stringify({ sources: [{ name: "Not A Name" }] }));
    await expect(corporaIn(directory)).rejects.toThrow(CorporaError);
    await expect(corporaIn(join(directory, "nowhere"))).rejects.toThrow(/--corpora/);
  });

  it("that come with glossa hold out some documents, and train on no other", async () => {
    const [english] = await embeddedCorpora();
    const read = async (split: "train" | "valid") => {
      const found = new Set<string>();
      for await (const document of english!.documents(split)) found.add(document);
      return found;
    };
    const [train, valid] = [await read("train"), await read("valid")];
    expect(valid.size).toBeGreaterThan(0);
    expect(train.size).toBeGreaterThan(5 * valid.size);
    expect([...valid].filter((document) => train.has(document))).toEqual([]);
  });
});

describe("npm run reproduce", () => {
  it("runs what is not finished, writes the report and runs nothing twice", async () => {
    const log = vi.spyOn(console, "log").mockImplementation(() => {});
    const write = vi.spyOn(process.stdout, "write").mockImplementation(() => true);
    const output = join(directory, "output");
    const args = [
      "--corpora",
      texts,
      "--scale",
      "tiny",
      "--seeds",
      "1",
      "--only",
      "glob,act",
      "--output",
      output,
    ];
    try {
      expect(await reproduce(args, idle)).toBe(0);
      const before = await readdir(join(output, "cells"));
      const said = write.mock.calls.map(([text]) => String(text)).join("");
      expect(said).toMatch(/seed 1, glob int8, phase2/);
      write.mockClear();
      expect(await reproduce(args, idle)).toBe(0);
      expect(await readdir(join(output, "cells"))).toEqual(before);
      expect(write.mock.calls.map(([text]) => String(text)).join("")).toMatch(/(\d+) of \1 cells are there/);
      const everything = args.filter((word) => word !== "--only" && word !== "glob,act");
      expect(await reproduce([...everything, "--report"], idle)).toBe(0);
    } finally {
      log.mockRestore();
      write.mockRestore();
    }
    const report = await readFile(join(output, "reproduction.md"), "utf8");
    expect(report).toContain("### Not yet run");
    expect(report).toContain("- spec-opt: pretrain, phase2, adapt (seed 1)");
    expect(report).not.toContain("- glob:");
    expect(report).toMatch(/\| glob \| 1 \| 768 \| \d\.\d{3} \|/);
    expect(report).not.toContain(directory);
    expect(await readFile(join(output, "reproduction", "plasticity.svg"), "utf8")).toContain("</svg>");
    const cells = (await readFile(join(output, "reproduction", "cells.jsonl"), "utf8")).trim().split("\n");
    expect(cells.length).toBeGreaterThan(5);
    expect(JSON.parse(cells[0]!)).toMatchObject({ cell: { seed: 1 }, result: { curve: expect.any(Array) } });
  }, 60_000);

  it("refuses flags that make no sense", async () => {
    await expect(reproduce(["--scale", "huge"], idle)).rejects.toThrow(/full, quick, tiny/);
    await expect(reproduce(["--seeds", "1,x"], idle)).rejects.toThrow(/whole numbers/);
  });
});
