import { describe, expect, it } from "vitest";
import { parseRunConfig } from "#protocol/core/run-config.ts";
import { Measurements } from "./measurements.ts";

const run = parseRunConfig({ training: { localSteps: 4 } });

function stepping() {
  const measurements = new Measurements(run);
  const step = (round: number, at: number) =>
    measurements.record({ type: "step", round, step: at, steps: 4, bitsPerByte: 3 });
  const published = (round: number) =>
    measurements.record({
      ...{ type: "published", round, payload: "", payloadBytes: 1, residualNorm: 0, updateNorm: 1 },
      ...{ lossNatsPerToken: 1, bitsPerByte: 3, tokens: 1, computeMs: 1 },
    });
  return { measurements, step, published };
}

describe("steps", () => {
  it("are counted once each, also those that are taken before the last round's update is made", () => {
    const { measurements, step, published } = stepping();
    for (const at of [1, 2, 3, 4]) step(0, at);
    step(1, 1);
    step(1, 2);
    published(0);
    step(1, 3);
    expect(measurements.facts().steps).toBe(7);
  });

  it("that nobody heard of one by one count all the same, and those that are told twice once", () => {
    const { measurements, step } = stepping();
    step(0, 3);
    step(0, 3);
    step(1, 2);
    expect(measurements.facts().steps).toBe(5);
  });
});
