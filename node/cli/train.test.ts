import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { PassThrough } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readModelFolder } from "#model/checkpoint/model-folder.ts";
import { readDocuments } from "#model/data/read-documents.ts";
import { demoCorpora } from "../demo/corpora.ts";
import { runCli } from "./main.ts";

const SMALL = ["--blocks", "1", "--width", "16", "--heads", "2", "--sequence-length", "16"];
const SHORT = ["--batch-size", "2", "--local-steps", "4", "--rounds", "2", "--warmup-steps", "2"];
const COMMON = [...SMALL, ...SHORT, "--vocabulary-size", "300", "--device", "cpu", "--threads", "1"];

let directory: string;
let texts: string[];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-train-"));
  texts = [];
  for (const { name, path } of await demoCorpora()) {
    const documents: string[] = [];
    for await (const document of readDocuments([path])) if (documents.push(document) === 6) break;
    texts.push(join(directory, `${name}.txt`));
    await writeFile(texts.at(-1)!, documents.join("\n\n"));
  }
});
afterAll(() => rm(directory, { recursive: true }));

async function glossa(...argv: string[]) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const signal = new AbortController().signal;
  const exitCode = await runCli(argv, { signal, stdout, stderr, environment: {} });
  return { exitCode, stdout: String(stdout.read() ?? ""), stderr: String(stderr.read() ?? "") };
}

describe("glossa train", () => {
  it("writes a model of all sources in one vocabulary and says what it is worth on each", async () => {
    const output = join(directory, "std.model");
    const { exitCode, stdout, stderr } = await glossa(
      "train",
      ...COMMON,
      "--output",
      output,
      ...texts,
      "--json",
    );
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    const trained = JSON.parse(stdout.trim().split("\n").at(-1)!);
    expect(trained).toMatchObject({
      event: "trained",
      method: "std",
      steps: 8,
      tokens: 8 * 2 * 16,
      wasDone: false,
    });
    expect(trained.vocabularySize).toBe(300);
    expect(Object.keys(trained.bitsPerByte)).toEqual(["en-novels", "es-scripture", "zh-poetry"]);
    const { config, embedding, provenance } = await readModelFolder(output);
    expect(config).toEqual({ blocks: 1, width: 16, heads: 2, sequenceLength: 16, vocabularySize: 300 });
    expect(embedding).toHaveLength(300 * 16);
    expect(provenance).toMatchObject({ method: "std", steps: 8, learningRate: 2e-3 });
    expect(JSON.stringify(provenance)).not.toContain(directory);
    expect(await readdir(join(output, ".train"))).toEqual(["plan.json"]);
    // What is there is not trained again, and not trained over.
    const again = await glossa("train", ...COMMON, "--output", output, ...texts, "--json");
    expect(JSON.parse(again.stdout)).toEqual({ ...trained, wasDone: true });
    const other = ["train", ...COMMON, "--seed", "7", "--output", output, ...texts];
    expect(await glossa(...other)).toMatchObject({
      exitCode: 72,
      stderr: expect.stringMatching(/different --seed/),
    });
    expect(await glossa(...other, "--force")).toMatchObject({ exitCode: 0 });
    expect((await readModelFolder(output)).embedding).not.toEqual(embedding);
  });

  it("trains each source alone, with a vocabulary of its own", async () => {
    const output = join(directory, "local");
    const { exitCode, stdout } = await glossa(
      "train",
      ...COMMON,
      "--method",
      "local",
      "--output",
      output,
      ...texts,
    );
    expect(exitCode).toBe(0);
    expect(stdout).toContain("zh-poetry");
    const models = await Promise.all(
      ["en-novels", "es-scripture", "zh-poetry"].map((name) => readModelFolder(join(output, name))),
    );
    expect(new Set(models.map(({ tokenizer }) => tokenizer)).size).toBe(3);
  });

  it("refuses what makes no sense, and another text in the middle of a training", async () => {
    const output = join(directory, "other.model");
    expect((await glossa("train", ...texts, "--output", output, "--temperature", "2")).exitCode).toBe(2);
    expect((await glossa("train", ...texts, "--output", output, "--variant", "glob")).exitCode).toBe(2);
    const stop = new AbortController();
    const stderr = new PassThrough();
    const slow = [
      ...COMMON.map((word) => (word === "4" ? "4000" : word)),
      "--checkpoint-interval-seconds",
      "1",
    ];
    const running = runCli(["train", ...slow, "--output", output, ...texts], {
      ...{ signal: stop.signal, stdout: new PassThrough(), stderr, environment: {} },
    });
    await untilThere(join(output, ".train", "state.checkpoint"));
    const meanwhile = await glossa("train", ...slow, "--output", output, ...texts);
    expect(meanwhile.stderr).toMatch(/process/);
    stop.abort();
    expect(await running).toBe(130);
    const changed = await glossa("train", ...slow, "--output", output, ...texts.slice(0, 2));
    expect(changed.exitCode).toBe(72);
    expect(changed.stderr).toMatch(/different --data/);
  }, 60_000);

  it("leaves nothing behind where it cannot begin, so that the next try is not another training", async () => {
    const output = join(directory, "none", "yet");
    const before = await readdir(directory);
    const missing = [...texts, join(directory, "missing.txt")];
    for (const method of ["std", "local"]) {
      const flags = ["--method", method, "--output", output];
      expect((await glossa("train", ...COMMON, ...flags, ...missing)).exitCode).toBe(10);
      const tooMany = ["train", ...COMMON, "--vocabulary-size", "90000", ...flags, ...texts];
      expect((await glossa(...tooMany)).exitCode).toBe(13);
      expect(await readdir(directory)).toEqual(before);
    }
    expect((await glossa("train", ...COMMON, "--output", output, ...texts)).exitCode).toBe(0);
    // What an earlier start has made is not this one's to take away.
    const other = ["train", ...COMMON, "--vocabulary-size", "90000", "--output", output, ...texts];
    expect((await glossa(...other)).exitCode).toBe(72);
    expect(await readdir(output)).toContain("model.safetensors");
  });

  it("goes on to the same bits after a kill", async () => {
    const long = [...COMMON.map((word) => (word === "4" ? "400" : word)), "--method", "act"];
    const training = [...long, "--checkpoint-interval-seconds", "0.1"];
    const [whole, killed] = [join(directory, "whole.model"), join(directory, "killed.model")];
    const entry = fileURLToPath(new URL("../bin/glossa.js", import.meta.url));
    const child = spawn(
      process.execPath,
      [entry, "train", ...training, "--output", killed, ...texts, "--json"],
      {
        stdio: ["ignore", "pipe", "ignore"],
      },
    );
    let first = "null";
    for await (const line of createInterface({ input: child.stdout })) {
      first = line;
      break;
    }
    expect(JSON.parse(first)).toMatchObject({ event: "saved" });
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(existsSync(join(killed, "config.json"))).toBe(false);
    const resumed = await glossa("train", ...training, "--output", killed, ...texts);
    expect(resumed).toMatchObject({ exitCode: 0, stderr: expect.stringMatching(/goes on at step \d/) });
    expect((await glossa("train", ...training, "--output", whole, ...texts)).exitCode).toBe(0);
    const weights = (output: string) => readFile(join(output, "model.safetensors"));
    expect((await weights(killed)).equals(await weights(whole))).toBe(true);
  }, 120_000);
});

async function untilThere(path: string): Promise<void> {
  const deadlineMs = Date.now() + 50_000;
  while (!existsSync(path)) {
    if (Date.now() > deadlineMs) throw new Error(`${path} did not come`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
