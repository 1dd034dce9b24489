// `glossa sim` as people run it: the same bytes for the same flags, a picture, and a sentence for what makes no sense.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestBed } from "./processes.ts";

let bed: TestBed;
beforeAll(async () => {
  bed = await TestBed.create();
});
afterAll(() => bed.close());

const FAULTS = [
  ...["--peers", "6", "--rounds", "12", "--bandwidth", "20", "--loss", "0.01", "--round-seconds", "8"],
  ...["--churn", "0.05", "--partition", "0.5:3:3", "--byzantine", "0.17:equivocate", "--joiners", "1"],
];

async function sim(...flags: string[]) {
  const process = bed.run("sim", ...flags);
  const code = await process.finished();
  // Progress goes to stderr now and then, as slow as the machine is.
  const lines = process.output.split("\n").filter((line) => !/^round \d+ of /.test(line));
  return { code, output: lines.join("\n") };
}

describe("glossa sim", () => {
  it("prints the same bytes for the same flags, and others for another seed", async () => {
    const [first, again, other] = [
      await sim(...FAULTS),
      await sim(...FAULTS),
      await sim(...FAULTS, "--seed", "2"),
    ];
    expect(first.code).toBe(0);
    expect(again.output).toBe(first.output);
    expect(other.output).not.toBe(first.output);
    expect(first.output).toMatch(/agreement +yes/);
    expect(first.output).toMatch(/0 bits differ/);
    expect(first.output).toMatch(/utilisation +[█▇▆▅▄▃▂▁]{12}/);
  });

  it("gives programs the plan and the report, and draws a picture", async () => {
    const plot = join(bed.directory, "swarm.svg");
    const { code, output } = await sim(
      ...["--json", "--plot", plot, "--preset", "12-block", "--codec", "topk"],
      ...["--round-seconds", "60", "--rounds", "4"],
    );
    expect(code).toBe(0);
    const { plan, report } = JSON.parse(output);
    expect(plan).toMatchObject({ peers: 8, averaging: { codec: "topk" } });
    expect(plan.payloadBytes).toBeGreaterThan(1_500_000);
    expect(report).toMatchObject({ atRest: true, agreement: { roots: 1, differingBits: 0 } });
    expect(report.rounds.length).toBe(4);
    expect(await readFile(plot, "utf8")).toContain("<polyline");
  });

  it("takes the codec of a long run, but not an outer step that its stand-in cannot bear", async () => {
    const flags = ["--json", "--preset", "small", "--rounds", "6", "--round-seconds", "60"];
    const losses = [];
    for (const more of [[], ["--outer-learning-rate", "12"]]) {
      const { plan, report } = JSON.parse((await sim(...flags, ...more)).output);
      expect(plan.averaging).toMatchObject({ codec: "topk", outerLearningRate: Number(more[1] ?? 1) });
      losses.push(report.loss.last / report.loss.first);
    }
    expect(losses[0]).toBeLessThan(1);
    expect(losses[1]).toBeGreaterThan(1);
  });

  it("says what is wrong with a partition that never ends", async () => {
    const { code, output } = await sim("--partition", "0.5:3:20");
    expect(code).toBe(2);
    expect(output).toContain("--rounds");
  });
});
