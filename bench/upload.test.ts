import { describe, expect, it, vi } from "vitest";
import { bodyLength } from "#model/architecture.ts";
import { presets } from "#protocol/core/presets.ts";
import { parseRunConfig } from "#protocol/core/run-config.ts";
import { benchUpload } from "./upload.ts";

async function run(...args: string[]) {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  try {
    await benchUpload(["--json", "--preset", "tiny", "--vocabulary", "1000", ...args]);
    return JSON.parse(log.mock.calls[0]![0] as string);
  } finally {
    log.mockRestore();
  }
}

describe("the benchmark of uploads", () => {
  it("sets payloads, their copies and the swarm's talk against a ring all-reduce of the whole model", async () => {
    const { payloads, uploads } = await run(
      "--codecs",
      "topk-64",
      "--peers",
      "4",
      "--rounds",
      "1",
      "--steps",
      "1",
    );
    const { model } = parseRunConfig(presets.tiny.config);
    const parameters = bodyLength(model) + 1000 * model.width;
    const payload = Math.max(...payloads.map(({ bytes }: { bytes: number }) => bytes));
    expect(payloads).toHaveLength(2);
    expect(uploads.map(({ localSteps }: { localSteps: number }) => localSteps)).toEqual([30, 500]);
    const [short, long] = uploads;
    expect(short.ringBytesPerStep).toBe(1.5 * 4 * parameters);
    expect(short.onceBytesPerStep).toBeCloseTo(payload / 30, 9);
    expect(short.holdersBytesPerStep).toBeGreaterThan((2 * payload) / 30);
    // With four peers each payload is fetched by three: one copy more than the two holders'.
    const passedOn = 30 * (short.allBytesPerStep - short.holdersBytesPerStep);
    expect(passedOn).toBeGreaterThan(0.9 * payload);
    expect(passedOn).toBeLessThan(1.6 * payload);
    expect(long.allBytesPerStep).toBeLessThan(short.allBytesPerStep / 10);
  }, 120_000);

  it("refuses a preset and a codec that there are not, before it trains", async () => {
    await expect(run("--preset", "huge")).rejects.toThrow(/huge is not one of tiny/);
    await expect(run("--codecs", "zip")).rejects.toThrow(/averaging\.codec/);
  });
});
