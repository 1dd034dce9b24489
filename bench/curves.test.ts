import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { demoCorpora } from "../node/demo/corpora.ts";
import { benchCurves, type CurvesReport } from "./curves.ts";
import type { Curve } from "./curves-contest.ts";
import { differencesOf, distinct, pairLabel, plotsOf } from "./curves-report.ts";

const MICRO = ["--blocks", "2", "--width", "12", "--heads", "3", "--vocabulary", "300", "--batch", "2"];
const STEPS = [
  "--sequence",
  "10",
  "--steps",
  "5",
  "--warm-up",
  "2",
  "--evaluate-every",
  "2",
  "--threads",
  "1",
];
const FLOAT64 = "node bench/curves-float64.ts";
const PYTORCH = "python3 bench/curves-pytorch.py";
const hasPyTorch = spawnSync("python3", ["-c", "import torch"]).status === 0;
if (!hasPyTorch) console.log("python3 has no torch: the curves are held against the interpreter alone");

describe("the comparison of two trainings", () => {
  let folder: string;
  let output: string;
  let report: CurvesReport;
  let args: string[];
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "glossa-curves-test-"));
    output = join(folder, "output");
    const corpora: string[] = [];
    for (const { name, path } of (await demoCorpora()).slice(0, 2)) {
      const text = (await promisify(gunzip)(await readFile(path))).subarray(0, 120_000);
      const part = join(folder, `${name}.txt`);
      await writeFile(part, text);
      corpora.push("--corpus", `${name}=${part}`);
    }
    args = [...MICRO, ...STEPS, ...corpora, "--held-out-tokens", "100", "--learning-rate", "0.01"];
    const extra = [
      "--against",
      FLOAT64,
      "--against",
      "nobody-at-all",
      "--twin-threads",
      "2",
      "--output",
      output,
    ];
    report = await printed([...args, ...extra]);
  }, 60_000);
  afterAll(() => rm(folder, { recursive: true }));

  it("has the curves of exact arithmetic, from the same weights on the same batches with the same schedule", () => {
    const [ours, twin, exact] = report.curves as [Curve, Curve, Curve];
    expect(twin).toMatchObject({ label: "glossa (2)", name: "glossa, 2 threads" });
    expect(exact.name).toBe("the interpreter in float64");
    expect(ours.losses).toHaveLength(5);
    expect(ours.evaluations.map(({ step }) => step)).toEqual([0, 2, 4, 5]);
    // A warm-up of two steps, then the cosine.
    for (const [step, rate] of [0.005, 0.01, 0.01].entries()) {
      expect(exact.learningRates[step]!).toBeCloseTo(rate, 12);
    }
    const difference = report.differences.find(({ between }) => between.join() === `glossa,${exact.label}`);
    expect(difference!.largestLoss).toBeLessThan(1e-5);
    expect(difference!.earlyGradientNorm).toBeLessThan(1e-4);
    expect(difference!.largestLearningRate).toBe(0);
    for (const value of Object.values(difference!.largestBitsPerByte)) expect(value).toBeLessThan(1e-5);
    // They move: an evaluation that saw the first weights each time would agree as well.
    const [first, last] = [ours.evaluations[0]!, ours.evaluations.at(-1)!];
    for (const corpus of ["en-novels", "es-scripture"]) {
      expect(first.bitsPerByte[corpus]! - last.bitsPerByte[corpus]!).toBeGreaterThan(0.001);
    }
  });

  it("goes on without a program that is not there, and says so", () => {
    expect(report.curves).toHaveLength(3);
    expect(report.skipped).toEqual([{ command: "nobody-at-all", reason: expect.stringMatching(/ENOENT/) }]);
  });

  it("says what was trained on and evaluated", () => {
    expect(report.tokens).toBe(100);
    expect(report.bodyParameters).toBe(2 * (12 * 144 + 24) + 12);
    for (const { trainingTokens, heldOutTokens, heldOutBytes } of report.corpora) {
      expect(trainingTokens).toBeGreaterThan(10_000);
      expect(heldOutTokens).toBe(100);
      expect(heldOutBytes).toBeGreaterThan(100);
    }
  });

  it("leaves its numbers and plots in a folder, and nothing else anywhere", async () => {
    expect((await readdir(output)).sort()).toEqual([
      "bits-per-byte.svg",
      "curves.json",
      "differences.svg",
      "loss.svg",
    ]);
    const kept = JSON.parse(await readFile(join(output, "curves.json"), "utf8"));
    expect(kept.curves[0].losses[4]).toBeCloseTo(report.curves[0]!.losses[4]!, 7);
    expect((await stat(join(output, "curves.json"))).size).toBeLessThan(10_000);
  });

  it.skipIf(!hasPyTorch)(
    "has PyTorch's curves",
    async () => {
      const against = ["--against", PYTORCH, "--against", `${PYTORCH} --exact-norm --attention explicit`];
      const { curves, differences } = await printed([...args, "--only", "3", ...against]);
      expect(curves.map(({ losses }) => losses.length)).toEqual([3, 3, 3]);
      expect(curves.map(({ label }) => label.replace(/[\d.]+/, "…"))).toEqual([
        "glossa",
        "PyTorch …",
        "PyTorch … (2)",
      ]);
      for (const difference of differences) {
        expect(difference.largestLoss).toBeLessThan(2e-5);
        expect(difference.earlyGradientNorm).toBeLessThan(1e-4);
        expect(difference.largestLearningRate).toBeLessThan(1e-12);
        for (const value of Object.values(difference.largestBitsPerByte)) expect(value).toBeLessThan(2e-5);
      }
    },
    120_000,
  );

  it("refuses what it cannot use, by name", async () => {
    await expect(benchCurves(["--corpus", "novels"])).rejects.toThrow(/--corpus is "novels"; give NAME=PATH/);
    await expect(benchCurves(["--steps", "0"])).rejects.toThrow(/--steps is "0"/);
    await expect(benchCurves([...MICRO, ...STEPS, "--learning-rate", "fast"])).rejects.toThrow(
      /learningRate/,
    );
  });
});

describe("differences of curves", () => {
  const curve = (label: string, losses: number[], bits: number[]): Curve => ({
    ...{ label, name: label, losses },
    gradientNorms: losses.map((loss) => 2 * loss),
    learningRates: losses.map(() => 0.1),
    evaluations: bits.map((each, step) => ({ step, bitsPerByte: { a: each, b: 1 } })),
  });
  const losses = Array.from({ length: 12 }, (_, step) => 8 - step / 2);
  const apart = losses.map((loss, step) => loss + (step === 11 ? 0.5 : step === 0 ? 0 : 0.25));

  it("are of every pair; early ones of ten steps, final ones with their sign", () => {
    const curves = [curve("x", losses, [4, 3]), curve("y", apart, [4.5, 2.75]), curve("z", losses, [4, 3])];
    const [xy, xz, yz] = differencesOf(curves);
    expect(xy).toMatchObject({
      between: ["x", "y"],
      firstLoss: 0,
      earlyLoss: 0.25,
      largestLoss: 0.5,
      meanLoss: (10 * 0.25 + 0.5) / 12,
      firstGradientNorm: 0,
      largestBitsPerByte: { a: 0.5, b: 0 },
      finalBitsPerByte: { a: -0.25, b: 0 },
    });
    expect(xz).toMatchObject({ between: ["x", "z"], largestLoss: 0, finalBitsPerByte: { a: 0 } });
    expect(yz!.finalBitsPerByte.a).toBe(0.25);
  });

  it("are drawn for every pair, curves for ours and the first other", () => {
    const curves = [
      curve("glossa", losses, [4, 3]),
      curve("P 1", apart, [4, 3]),
      curve("P 2", losses, [4, 3]),
    ];
    const plots = plotsOf(curves, { parameters: 10_200_000 });
    const lines = (name: string) => plots.get(name)!.match(/class="series"/g)!.length / 2;
    expect(lines("differences.svg")).toBe(3);
    expect(plots.get("differences.svg")).toContain(">P 1 – P 2<");
    expect(lines("bits-per-byte.svg")).toBe(4);
    expect(lines("loss.svg")).toBe(2);
    expect(plots.get("loss.svg")).toContain("10.2 million parameters");
  });

  it("bear labels that differ", () => {
    expect(distinct(["a", "b", "a", "a"])).toEqual(["a", "b", "a (2)", "a (3)"]);
    expect(pairLabel("a", "b (2)")).toBe("a – b (2)");
    expect(pairLabel("a", "a (3)")).toBe("a – (3)");
  });
});

async function printed(args: string[]): Promise<CurvesReport> {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  const error = vi.spyOn(console, "error").mockImplementation(() => {});
  try {
    await benchCurves(["--json", ...args]);
    expect(log.mock.calls).toHaveLength(1);
    return JSON.parse(log.mock.calls[0]![0]);
  } finally {
    log.mockRestore();
    error.mockRestore();
  }
}
