import { PassThrough } from "node:stream";
import { describe, expect, it } from "vitest";
import { ModelConfigError } from "#model/errors.ts";
import { planMemory } from "#model/plan.ts";
import { presets } from "#protocol/core/presets.ts";
import { parseRunConfig, type Variant } from "#protocol/core/run-config.ts";
import { withChosenCodec } from "../planning/automatic-codec.ts";
import { smallModelOf } from "../planning/calibrate.ts";
import { machineMemoryBytes } from "../planning/machine-memory.ts";
import { planRun } from "../planning/run-plan.ts";
import { runCli } from "./main.ts";

async function glossa(...argv: string[]) {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const signal = new AbortController().signal;
  const exitCode = await runCli(argv, { signal, stdout, stderr, environment: {} });
  return { exitCode, stdout: String(stdout.read() ?? ""), stderr: String(stderr.read() ?? "") };
}

/** A batch small enough to plan at once in no time. */
const run = parseRunConfig({
  ...presets["12-block"].config,
  training: { ...presets["12-block"].config.training, batchSize: 16 },
});
const options = { vocabularySize: 50_257, microBatch: 1, recompute: false, machineBytes: 2 ** 40 };

describe("the plan of a run", () => {
  it("adds to the model's plan what averaging and checkpoints hold", () => {
    const { memory, config, step, fits, instead } = planRun(run, options);
    const { total } = planMemory(config, step);
    expect(memory.sharing).toBeGreaterThan(4 * 9 * 85e6);
    expect(memory.total).toBe(total + memory.sharing + memory.rounds);
    expect({ fits, instead }).toEqual({ fits: true, instead: undefined });
  });

  it("adds the sums of the open rounds, and what the defence keeps of their updates", () => {
    const withDefence = (defence: "none" | "clip" | "majority", peers?: number) => {
      const { memory, bodyParameters, updateBytesPerRound } = planRun(
        parseRunConfig({ ...run, averaging: { ...run.averaging, codec: "int8", defence, cohort: 16 } }),
        { ...options, peers },
      );
      return { rounds: memory.rounds, values: bodyParameters, payload: updateBytesPerRound };
    };
    const { rounds: sums, values, payload } = withDefence("none");
    expect(sums).toBe(3 * 8 * values);
    expect(withDefence("clip", 5).rounds - sums).toBe(2 * 5 * payload);
    expect(withDefence("majority", 5).rounds - sums).toBe(2 * 5 * (payload + values / 4));
    // No round holds more than its cohort; where nobody says how many, eight.
    expect(withDefence("majority", 300)).toEqual(withDefence("majority", 16));
    expect(withDefence("majority")).toEqual(withDefence("majority", 8));
  });

  it("bounds the update of a round by its codec", () => {
    const { bodyParameters, updateBytesPerRound } = planRun(run, options);
    expect(updateBytesPerRound / bodyParameters).toBeGreaterThan(1);
    expect(updateBytesPerRound / bodyParameters).toBeLessThan(1.02);
    const exact = parseRunConfig({ ...presets["12-block"].config, averaging: { codec: "float32" } });
    expect(planRun(exact, options).updateBytesPerRound / bodyParameters).toBeCloseTo(4, 2);
  });

  it("counts the rows that a peer holds, and all rows where it keeps them for others", () => {
    const ofVariant = (variant: Variant, heldRows?: number) =>
      planRun(
        parseRunConfig({
          ...run,
          variant,
          ...(variant !== "spec-opt" && { vocabulary: { tokenizer: "0".repeat(64), size: 50_257 } }),
        }),
        { ...options, heldRows },
      );
    const [glob, trim, spec] = [ofVariant("glob"), ofVariant("trim", 11_090), ofVariant("spec", 11_090)];
    expect(glob.costs.factor).toBe(run.training.localSteps);
    expect(trim.config).toEqual(spec.config);
    expect(trim.costs.embeddingParameters).toBe(11_090 * 768);
    expect(trim.updateBytesPerRound - spec.updateBytesPerRound).toBeGreaterThan(11_090 * 768);
    expect(trim.updateBytesPerRound).toBeLessThan(0.8 * glob.updateBytesPerRound);
    expect(trim.memory.moments).toBeLessThan(glob.memory.moments);
    // In trim every peer keeps the rows of all, so that none is lost with its last holder.
    expect(trim.memory.sharing - spec.memory.sharing).toBe(6 * 4 * 50_257 * 768);
    expect(() => ofVariant("glob", 11_090)).toThrow(ModelConfigError);
    expect(() => ofVariant("trim", 50_258)).toThrow(ModelConfigError);
    expect(ofVariant("spec-opt", 60_000).config.vocabularySize).toBe(60_000);
  });

  it("that does not fit names what does", () => {
    const machineBytes = 24 * 2 ** 30;
    const plan = planRun(run, { ...options, microBatch: undefined, machineBytes });
    expect(plan.fits).toBe(false);
    const { microBatchSize, recompute } = plan.instead!;
    expect(microBatchSize).toBeLessThan(16);
    expect(planRun(run, { ...options, microBatch: microBatchSize, recompute, machineBytes }).fits).toBe(true);
    expect(planRun(run, { ...options, microBatch: 2 * microBatchSize, machineBytes }).fits).toBe(false);
    expect(planRun(run, { ...options, machineBytes: 2 ** 30 }).instead).toBeUndefined();
  });

  it("is refused for a micro-batch that is no part of the batch", () => {
    expect(() => planRun(run, { ...options, microBatch: 3 })).toThrow(ModelConfigError);
  });
});

describe("the model that is timed", () => {
  it("has one block of the model's heads, no wider and longer than a step of a second allows", () => {
    const small = { blocks: 4, width: 128, heads: 4, sequenceLength: 128, vocabularySize: 500 };
    expect(smallModelOf(small)).toEqual({ ...small, blocks: 1 });
    expect(
      smallModelOf({ blocks: 24, width: 2048, heads: 16, sequenceLength: 2048, vocabularySize: 250_112 }),
    ).toEqual({ blocks: 1, width: 1024, heads: 8, sequenceLength: 512, vocabularySize: 4096 });
  });
});

describe("the machine's memory", () => {
  it("is what is installed, or what a container allows of it", () => {
    expect(machineMemoryBytes(100, 60)).toBe(60);
    expect(machineMemoryBytes(100, 0)).toBe(100);
    expect(machineMemoryBytes(100, 2 ** 63)).toBe(100);
  });
});

describe("glossa plan", () => {
  it("prints what a run takes, with the speed that real steps on the device let expect", async () => {
    const tiny = ["--width", "16", "--heads", "2", "--sequence-length", "16", "--vocabulary-size", "300"];
    const { exitCode, stdout } = await glossa("plan", ...tiny, "--device", "cpu", "--threads", "1");
    expect(exitCode).toBe(0);
    for (const word of ["parameters", "memory", "activations", "FLOP", "update", "tokens/s expected on cpu"])
      expect(stdout).toContain(word);
  });

  it("says what a variant sends and saves, as the paper's table 2 has it", async () => {
    const mC4 = ["--preset", "12-block", "--vocabulary-size", "250112", "--held-rows", "216135"];
    const { stdout } = await glossa(
      "plan",
      ...mC4,
      "--variant",
      "trim",
      "--micro-batch",
      "1",
      "--no-calibration",
    );
    expect(stdout).toMatch(/trim +251M +parameters of a worker, 91% of std's; embedding 166M/);
    expect(stdout).toMatch(/sent +502k +parameters a step, 2\.01 MB as float32: 552× less than std/);
    expect(stdout).toMatch(/as int4 .* a step at most: 3,\d{3}× less than std in float32/);
  });

  it("gives programs the same numbers", async () => {
    const { stdout } = await glossa("plan", "--no-calibration", "--json");
    const { plan, calibration } = JSON.parse(stdout);
    expect(calibration).toBeUndefined();
    expect(plan.memory.total).toBe(
      planRun(parseRunConfig(withChosenCodec({}).config), {
        vocabularySize: 8192,
        microBatch: undefined,
        recompute: false,
        machineBytes: machineMemoryBytes(),
      }).memory.total,
    );
  });

  it("shows a run that does not fit, and refuses it with what would", async () => {
    const { exitCode, stdout, stderr } = await glossa("plan", "--preset", "12-block", "--batch-size", "64");
    expect(exitCode).toBe(43);
    expect(stdout).toContain("memory");
    expect(stdout).not.toContain("tokens/s");
    expect(stderr).toMatch(
      /needs .* of memory where this machine has .*: (it fits with --micro-batch \d|take a)/,
    );
  });
});
