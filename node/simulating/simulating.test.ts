import { describe, expect, it } from "vitest";
import { codecFor } from "#protocol/core/codec/registry.ts";
import { parameterLayout } from "#protocol/core/layout.ts";
import { presets } from "#protocol/core/presets.ts";
import { parseRunConfig, type RunConfigInput } from "#protocol/core/run-config.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { planRun } from "../planning/run-plan.ts";
import { sharedTensorsOf } from "../variants.ts";
import { sparkline, svgCharts } from "./charts.ts";
import { progressOf } from "./describe.ts";
import { planSwarm, type SwarmWishes } from "./plan-swarm.ts";

const WISHES: SwarmWishes = {
  peers: 8,
  rounds: 10,
  tflops: 0.05,
  speedSpread: 1,
  diskRate: 500,
  bandwidth: 100,
  latency: 50,
  loss: 0.01,
  congestion: "cubic",
  duplicates: 0,
  connections: 16,
  churn: 0,
  churnKind: "crash",
  away: 3,
  joiners: 0,
  joinRound: 3,
};

function planned(config: RunConfigInput, wishes: Partial<SwarmWishes> = {}, heldRows?: number) {
  const run = parseRunConfig(config);
  const vocabularySize = 8192;
  const runPlan = planRun(run, {
    vocabularySize,
    heldRows,
    microBatch: undefined,
    recompute: false,
    machineBytes: Number.POSITIVE_INFINITY,
  });
  return { run, runPlan, ...planSwarm(run, runPlan, { ...WISHES, ...wishes }) };
}

const shared = (variant: "trim" | "glob"): RunConfigInput => ({
  variant,
  vocabulary: { tokenizer: "0".repeat(64), size: 8192 },
});

describe("what is charged for the stand-in", () => {
  it.each(["float32", "int8", "int4", "sign"] as const)("is a payload's exact length as %s", (codec) => {
    const { run, plan } = planned({ averaging: { codec } });
    const layout = parameterLayout(sharedTensorsOf(run), sha256);
    const payload = codecFor(run.averaging).encode(new Float32Array(layout.total).fill(0.001), layout);
    expect(plan.payloadBytes).toBe(payload.length);
    expect(plan.bodyBytes).toBe(4 * layout.total);
  });

  it("is for topk what a million normal values come to, not the bound", () => {
    const { run, runPlan, plan } = planned(
      { ...presets.small.config, averaging: { codec: "topk" } },
      { roundSeconds: 60 },
    );
    expect(plan.payloadBytes).toBeLessThan(runPlan.updateBytesPerRound);
    const ratio = (4 * parameterLayout(sharedTensorsOf(run), sha256).total) / plan.payloadBytes;
    expect(ratio).toBeGreaterThan(200);
    expect(ratio).toBeLessThan(220);
  });

  it("grows with the embedding in glob, and with the held part of it in trim", () => {
    const body = planned({}).plan;
    const glob = planned(shared("glob")).plan;
    const trim = planned(shared("trim"), {}, 1024).plan;
    const row = (glob.payloadBytes - body.payloadBytes) / 8192;
    expect(row).toBeCloseTo(128 * (1 + 4 / 256), 1);
    expect((trim.payloadBytes - body.payloadBytes) / 1024).toBeCloseTo(row, -1);
    expect([glob.bodyBytes, trim.bodyBytes]).toEqual(Array(2).fill(body.bodyBytes + 4 * 128 * 8192));
  });

  it("grows with the defence, whose comparisons grow with the peers", () => {
    const costsOf = (defence: "none" | "clip" | "majority", peers = 8) =>
      planned({ averaging: { codec: "int8", defence } }, { peers }).plan.costs;
    const [none, clip, majority] = [costsOf("none"), costsOf("clip"), costsOf("majority")];
    expect(majority.applyMs / none.applyMs).toBeGreaterThan(3);
    expect(clip.openMs).toBe(none.openMs);
    // 28 pairs, and 496 of the 32 that a cohort has.
    const pairs = (peers: number) => costsOf("majority", peers).openMs - none.openMs;
    expect(pairs(8)).toBeGreaterThan(0);
    expect(pairs(100) / pairs(8)).toBeCloseTo(496 / 28, 6);
  });

  it("charges sparse updates for what they keep", () => {
    const costsOf = (topK: number) =>
      planned({ averaging: { codec: "topk", topK } }, { peers: 8 }).plan.costs;
    const [sparse, denser, dense] = [costsOf(64), costsOf(352), costsOf(640)];
    for (const part of ["encodeMs", "applyMs"] as const) {
      expect(dense[part]).toBeGreaterThan(2 * sparse[part]);
      expect(denser[part]).toBeCloseTo((sparse[part] + dense[part]) / 2, 6);
    }
    expect(dense.openMs).toBe(sparse.openMs);
  });

  it("takes the round's time from steps, seconds or arithmetic", () => {
    const { runPlan, roundMs, plan } = planned({});
    expect(roundMs).toBeCloseTo((runPlan.flopsPerToken * runPlan.tokensPerRound) / 0.05e9, 6);
    expect(plan.segmentMs * plan.config.training.localSteps).toBeCloseTo(roundMs, 6);
    expect(planned({}, { roundSeconds: 600 }).roundMs).toBe(600_000);
    expect(planned({}, { stepMs: 80 }).roundMs).toBe(25 * 80);
    expect(() => planned({}, { stepMs: 80, roundSeconds: 600 })).toThrow("--step-ms");
    expect(() => planned(presets["12-block"].config)).toThrow(/^A round takes .* d .*--tflops/);
  });
});

describe("the progress of a simulation", () => {
  const at = { round: 1, rounds: 3, roundMs: 60_000, virtualMs: 104_000, realMs: 104_000 };

  it("says how long the rest takes, were it like what has passed", () => {
    expect(progressOf(at)).toBe("round 1 of 3, 1 m 44 s of the swarm's time, about 1 m 44 s left");
    expect(progressOf({ ...at, realMs: 208_000 })).toContain("about 3 m 28 s left");
  });

  it("guesses neither from the first seconds nor beyond the planned end", () => {
    expect(progressOf({ ...at, realMs: 4_000 })).toBe("round 1 of 3, 1 m 44 s of the swarm's time");
    expect(progressOf({ ...at, virtualMs: 300_000 })).toBe("round 1 of 3, 5 m 00 s of the swarm's time");
  });
});

describe("faults in words", () => {
  it("are read as shares, rounds and behaviours", () => {
    const { plan } = planned({}, { partition: "0.25:2:3", byzantine: "0.2:copy,sign-flip" });
    expect(plan.partition).toEqual({ share: 0.25, round: 2, rounds: 3 });
    expect(plan.byzantine).toEqual({ share: 0.2, behaviours: ["copy", "sign-flip"] });
    expect(planned({}, { byzantine: "0.3" }).plan.byzantine.behaviours.length).toBe(6);
  });

  it.each([
    { partition: "1.5:2:3" },
    { partition: "0.5:0:3" },
    { partition: "half" },
    { partition: "0.5:3:7" },
    { partition: "0.5:3:2:1" },
    { byzantine: "0.2:lying" },
    { byzantine: "1" },
    { byzantine: ":copy" },
    { joiners: 1, joinRound: 10 },
  ])("that make no sense are refused by their flag: %o", (wishes) => {
    expect(() => planned({}, wishes)).toThrow(/^--(partition|byzantine|join-round)/);
  });
});

describe("a sparkline", () => {
  it("has a block for each value, from the least to the largest", () => {
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7])).toBe("▁▂▃▄▅▆▇█");
    expect(sparkline([3, 3, 3])).toBe("▁▁▁");
    expect(sparkline([5, 10], { from: 0 })).toBe("▅█");
    expect(sparkline([])).toBe("");
  });

  it("of many values has the means of equal parts", () => {
    const values = Array.from({ length: 400 }, (_, at) => at);
    expect(sparkline(values, { width: 8 })).toBe("▁▂▃▄▅▆▇█");
  });
});

describe("the SVG", () => {
  it("has a line for each chart and no text that could break it", () => {
    const svg = svgCharts("a < b & c", [
      { title: "one", values: [1, 2, 3], format: String },
      { title: "two", values: [0], format: String },
      { title: "none", values: [], format: String },
    ]);
    expect(svg.match(/<polyline/g)?.length).toBe(3);
    expect(svg).toContain("a &lt; b &amp; c");
    expect(svg).not.toContain("NaN");
    expect(svg.startsWith("<svg ") && svg.endsWith("</svg>\n")).toBe(true);
  });
});
