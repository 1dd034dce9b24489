import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bodyLength, embeddingLength } from "#model/architecture.ts";
import { type Contest, compare, compete, describeOpponents } from "./step-against.ts";

/** A program that speaks the protocol: it writes down what it was given, and takes the losses of its data. */
const PROGRAM = `
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
const flag = (name) => process.argv[process.argv.indexOf("--" + name) + 1];
const bytes = readFileSync(flag("data"));
writeFileSync(process.argv[2], JSON.stringify({ bytes: bytes.length, first: bytes.readFloatLE(0), flags: process.argv.slice(3) }));
console.log(JSON.stringify({ name: "Echo" }));
let loss = 7;
for await (const line of createInterface({ input: process.stdin })) {
  const steps = Array.from({ length: Number(line) }, () => ({ milliseconds: 40, loss: loss-- }));
  console.log(JSON.stringify({ steps, peakBytes: 2 ** 20 }));
}`;

const config = { blocks: 1, width: 4, heads: 2, sequenceLength: 3, vocabularySize: 5 };

describe("a contest of steps", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "glossa-contest-"));
    await writeFile(join(folder, "echo.mjs"), PROGRAM);
  });
  afterAll(() => rm(folder, { recursive: true }));

  const contest = (commands: string[]): Contest => {
    let loss = 7;
    return {
      config,
      batchSize: 2,
      threads: 1,
      body: new Float32Array(bodyLength(config)).fill(0.25),
      embedding: new Float32Array(embeddingLength(config)),
      batch: { inputs: new Int32Array(6), targets: new Int32Array(6), batchSize: 2, sequenceLength: 3 },
      turns: 2,
      stepsPerTurn: 2,
      ourStep: async () => loss-- + (loss === 3 ? 0.5 : 0),
      commands,
    };
  };

  it("gives everyone the same start and puts their steps beside ours", async () => {
    const seen = join(folder, "seen.json");
    const [echo] = await compete(contest([`${process.execPath} ${join(folder, "echo.mjs")} ${seen}`]));
    const { bytes, first, flags } = JSON.parse(await readFile(seen, "utf8"));
    expect(bytes).toBe(4 * (bodyLength(config) + embeddingLength(config) + 12));
    expect(first).toBe(0.25);
    expect(flags.slice(0, 14).join(" ")).toBe(
      "--blocks 1 --width 4 --heads 2 --vocabulary 5 --batch 2 --sequence 3 --threads 1",
    );
    expect(echo).toMatchObject({ name: "Echo", medianMilliseconds: 40, peakBytes: 2 ** 20 });
    expect(echo!.largestLossDifference).toBe(0.5);
    expect(echo!.medianRatio).toBeGreaterThan(1);
    expect(describeOpponents([echo!], 6)[0]).toMatch(/^against Echo: \d+\.\d{3} times as fast/);
  });

  it("goes on without a program that is not there or fails, and says why", async () => {
    await writeFile(
      join(folder, "dying.mjs"),
      "process.stderr.write('warning\\nno torch here\\n'); process.exit(1);",
    );
    const dying = `${process.execPath} ${join(folder, "dying.mjs")}`;
    const opponents = await compete(contest([join(folder, "nobody"), dying]));
    expect(opponents.map(({ skipped }) => skipped)).toEqual([
      expect.stringMatching(/ENOENT/),
      "no torch here",
    ]);
    expect(describeOpponents(opponents, 6)[1]).toMatch(/dying.mjs: skipped \(no torch here\)$/);
  });

  it("leaves the turn that warms up out of the times, not out of the losses", () => {
    const turn = (...milliseconds: number[]) => milliseconds.map((each) => ({ milliseconds: each, loss: 1 }));
    const ours = [turn(500), turn(10, 12), turn(20, 24)];
    const theirs = [[{ milliseconds: 900, loss: 1.25 }], turn(22, 22), turn(66, 22)];
    expect(compare(ours, theirs)).toEqual({
      medianMilliseconds: 22,
      bestMilliseconds: 22,
      medianRatio: 2,
      bestRatio: 2.2,
      largestLossDifference: 0.25,
    });
  });
});
