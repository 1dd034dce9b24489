import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { flopsPerToken } from "#model/plan.ts";
import { median } from "./median.ts";
import { benchStep, type StepReport } from "./step.ts";
import { compareWith } from "./step-baseline.ts";
import type { Product } from "./step-products.ts";
import { nodeCosts, partOf, sharesBy, type TraceEvent } from "./step-profile.ts";

const MICRO = ["--blocks", "1", "--width", "16", "--heads", "2", "--vocabulary", "30", "--batch", "2"];
const ARGS = [...MICRO, "--sequence", "8", "--steps", "3", "--threads", "1"];

/** Runs the benchmark and gives what it prints. */
async function printed(args: string[]): Promise<string> {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  try {
    await benchStep(args);
    expect(log.mock.calls).toHaveLength(1);
    return log.mock.calls[0]![0];
  } finally {
    log.mockRestore();
  }
}

const sum = (shares: Readonly<Record<string, number>>) => Object.values(shares).reduce((a, b) => a + b, 0);

describe("the step benchmark", () => {
  let folder: string;
  let baseline: string;
  let report: StepReport;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "glossa-bench-"));
    baseline = join(folder, "baseline.json");
    report = JSON.parse(await printed([...ARGS, "--json", "--nodes", "4", "--save", baseline]));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it("prints one JSON object whose numbers fit together", () => {
    expect(report.millisecondsPerStep).toBeGreaterThanOrEqual(report.bestMillisecondsPerStep);
    expect(report.bestMillisecondsPerStep).toBeGreaterThan(0);
    expect(report.tokensPerSecond * report.millisecondsPerStep).toBeCloseTo(1000 * 16, 6);
    expect(report).toMatchObject({ bodyParameters: 12 * 16 * 16 + 3 * 16, embeddingParameters: 30 * 16 });
    expect(report.machine.onnxruntime).toMatch(/^\d+\.\d+\.\d+/);
  });

  it("shares out the node time by operator and by part of the step", () => {
    expect(sum(report.shares)).toBeCloseTo(1, 9);
    expect(sum(report.parts)).toBeCloseTo(1, 9);
    expect(Object.keys(report.shares)).toEqual(
      expect.arrayContaining(["Gemm", "LayerNormalization", "Softmax"]),
    );
    expect(Object.keys(report.parts)).toEqual(expect.arrayContaining(["attn", "ffn", "backward"]));
    expect(report.nodes).toHaveLength(4);
  });

  it("times the matrix products alone, by their shapes", async () => {
    const { products, shareOfProducts } = JSON.parse(await printed([...ARGS, "--json", "--products"]));
    expect(shareOfProducts).toBeGreaterThan(0);
    const counts = new Map(products.map((product: Product) => [product.shape, product.count]));
    // The head's logits; attention's scores, forward, and dP, backward; the two gradients of the down projection.
    expect(counts.get("[16,16] @ [30,16]^T")).toBe(1);
    expect(counts.get("[2,2,8,8] @ [2,2,8,8]^T")).toBe(2);
    expect(counts.get("[16,16] @ [16,64]")).toBe(1);
    expect(counts.get("[16,16]^T @ [16,64]")).toBe(1);
    for (const { milliseconds, gigaflopsPerSecond } of products) {
      expect(milliseconds).toBeGreaterThan(0);
      expect(gigaflopsPerSecond).toBeGreaterThan(0);
    }
  });

  it("times steps in runs of several, and float16 in turns with float32", async () => {
    const looped = JSON.parse(await printed([...ARGS, "--json", "--steps-per-run", "2"]));
    expect(looped).toMatchObject({ stepsPerRun: 2, setting: { stepsPerRun: 2 } });
    const half = JSON.parse(await printed([...ARGS, "--json", "--precision", "float16", "--interleave"]));
    expect(half.setting.precision).toBe("float16");
    expect(half.speedOfFloat16).toBeGreaterThan(0);
    expect(Object.keys(half.shares)).toContain("Cast");
    expect(report.transfers).toEqual({
      toDeviceBytesPerStep: 0,
      fromDeviceBytesPerStep: 0,
      stateBytes: 12 * (report.bodyParameters + report.embeddingParameters),
    });
  });

  it("leaves no trace file behind", async () => {
    const temporary = await mkdtemp(join(folder, "temporary-"));
    vi.stubEnv("TMPDIR", temporary);
    try {
      await printed([...ARGS, "--json"]);
    } finally {
      vi.unstubAllEnvs();
    }
    expect(await readdir(temporary)).toEqual([]);
  });

  it("puts a new measurement beside a saved one", async () => {
    const compared = JSON.parse(await printed([...ARGS, "--json", "--compare", baseline]));
    expect(compared.comparison.tokensPerSecondRatio).toBeCloseTo(
      compared.tokensPerSecond / report.tokensPerSecond,
      9,
    );
    expect(compared.comparison.sameMachine).toBe(true);
    expect(await printed([...ARGS, "--compare", baseline])).toContain("against the baseline");
  });

  it("refuses a baseline of another setting, one that is none and one that is not there", async () => {
    await expect(benchStep([...ARGS, "--batch", "3", "--compare", baseline])).rejects.toThrow(
      /another model/,
    );
    const other = join(folder, "other.json");
    await writeFile(other, "null");
    await expect(benchStep([...ARGS, "--compare", other])).rejects.toThrow(/is not a report/);
    await expect(benchStep([...ARGS, "--compare", join(folder, "none.json")])).rejects.toThrow(
      /cannot be read/,
    );
  });

  it("refuses flags that it cannot use, by name", async () => {
    await expect(benchStep(["--width", "0"])).rejects.toThrow(/--width is "0"/);
    await expect(benchStep(["--steps", "2.5"])).rejects.toThrow(/--steps is "2.5"/);
    await expect(benchStep(["--device", "abacus"])).rejects.toThrow(/--device is "abacus"/);
    await expect(benchStep(["--precision", "int8"])).rejects.toThrow(/--precision is "int8"/);
    await expect(benchStep(["--heads", "3"])).rejects.toThrow(/3 heads do not divide/);
    await expect(benchStep(["--colour"])).rejects.toThrow(/--colour/);
  });
});

describe("reading a profile", () => {
  const run = (ts: number): TraceEvent => ({ cat: "Session", name: "model_run", ts, dur: 90 });
  const node = (name: string, op_name: string, ts: number, dur: number): TraceEvent => ({
    cat: "Node",
    name,
    ts,
    dur,
    args: { op_name, output_type_shape: [{ float: [2, 3] }, { float: [9] }] },
  });
  const trace: TraceEvent[] = [
    node("blocks.0/attn/matMul.1_kernel_time", "Gemm", 10, 70_000),
    run(0),
    node("blocks.0/attn/matMul.1_kernel_time", "Gemm", 110, 1_000),
    node("blocks.0/attn/matMul.1_fence_before", "Gemm", 111, 500),
    node("Transpose_token_1_kernel_time", "Transpose", 112, 4_000),
    run(100),
    node("blocks.0/attn/matMul.1_kernel_time", "Gemm", 210, 3_000),
    node("Transpose_token_1_kernel_time", "Transpose", 212, 8_000),
    run(200),
  ];

  it("takes each node's median over the runs after the warm-up, dearest first, and kernels alone", () => {
    expect(nodeCosts(trace, 1)).toEqual([
      { name: "Transpose_token_1", op: "Transpose", shape: "[2,3]", milliseconds: 6 },
      { name: "blocks.0/attn/matMul.1", op: "Gemm", shape: "[2,3]", milliseconds: 2 },
    ]);
    expect(nodeCosts(trace, 3)).toEqual([]);
  });

  it("sums shares by any key, largest first", () => {
    expect(Object.entries(sharesBy(nodeCosts(trace, 1), ({ op }) => op))).toEqual([
      ["Transpose", 0.75],
      ["Gemm", 0.25],
    ]);
  });

  it("tells the part of the step from a node's scope", () => {
    const part = (name: string) => partOf({ name, op: "", shape: "", milliseconds: 0 });
    expect(part("blocks.11/ffn/gelu.4")).toBe("ffn");
    expect(part("blocks.11/add.5")).toBe("residual");
    expect(part("head/backward/mul.6")).toBe("head");
    expect(part("Transpose_token_1")).toBe("added by onnxruntime");
  });
});

it("compares operators by their time, not by their share", () => {
  const at = (tokensPerSecond: number, nodeMillisecondsPerStep: number, shares: Record<string, number>) =>
    ({
      tokensPerSecond,
      bestTokensPerSecond: 2 * tokensPerSecond,
      nodeMillisecondsPerStep,
      shares,
    }) as StepReport;
  const comparison = compareWith(at(100, 10, { Gemm: 0.6, Mul: 0.4 }), at(150, 5, { Gemm: 0.9, Erf: 0.1 }));
  expect(comparison).toMatchObject({ tokensPerSecondRatio: 1.5, bestTokensPerSecondRatio: 1.5 });
  expect(Object.keys(comparison.operatorTimeRatios)).toEqual(["Gemm"]);
  expect(comparison.operatorTimeRatios.Gemm).toBeCloseTo((0.9 * 5) / (0.6 * 10), 12);
});

it("counts the arithmetic of a token by hand for a small model", () => {
  // Per block 12 * 4 weights, 3 tokens of vocabulary by 2: 6 * (48 + 6); attention: 12 * 5 * 2.
  expect(flopsPerToken({ blocks: 1, width: 2, heads: 1, sequenceLength: 5, vocabularySize: 3 })).toBe(444);
});

it("takes the middle value, or the mean of the middle two", () => {
  expect(median([9, 1, 4])).toBe(4);
  expect(median([9, 1, 4, 2])).toBe(3);
});
