import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { benchAveragingQuality } from "./averaging-quality.ts";

async function run(...args: string[]) {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  try {
    await benchAveragingQuality(["--json", "--rounds", "1", "--steps", "1", "--batch", "1", ...args]);
    return JSON.parse(log.mock.calls[0]![0] as string);
  } finally {
    log.mockRestore();
  }
}

describe("the benchmark of averaging's quality", () => {
  it("trains three vocabularies with each codec on the same tokens and compares with the first", async () => {
    const { codecs } = await run("--codecs", "float32,topk-16");
    expect(codecs).toMatchObject([
      { codec: "float32", relativeLoss: 0, residualNorm: expect.closeTo(0, 5) },
      { codec: "topk-16" },
    ]);
    const [dense, sparse] = codecs;
    expect(dense.ratio).toBeCloseTo(1, 2);
    expect(sparse.ratio).toBeGreaterThan(300);
    expect(Object.keys(dense.bitsPerByte)).toHaveLength(3);
    expect(sparse.relativeLoss).toBeCloseTo(sparse.meanBitsPerByte / dense.meanBitsPerByte - 1, 12);
    expect(sparse.relativeSquaredError).toBeGreaterThan(0.5);
  }, 120_000);

  it("goes on from its log, with what the outer learning rate of a choice makes of it", async () => {
    const directory = await mkdtemp(join(tmpdir(), "glossa-quality-"));
    try {
      const like = ["--log", join(directory, "log.jsonl"), "--blocks", "1", "--width", "16", "--heads", "2"];
      const [{ codecs: first }, { codecs: both }] = [
        await run(...like, "--codecs", "float32", "--vocabulary", "0.3"),
        await run(...like, "--codecs", "float32,float32x3", "--vocabulary", "0.3"),
      ];
      // Seconds too: the first one was not trained again.
      expect(both[0]).toEqual(first[0]);
      expect(both[1].relativeLoss).not.toBe(0);
    } finally {
      await rm(directory, { recursive: true });
    }
  }, 120_000);

  it("deals the languages out to more peers, and looks at the body on the way without changing what is trained", async () => {
    const like = [
      "--blocks",
      "1",
      "--width",
      "16",
      "--heads",
      "2",
      "--vocabulary",
      "0.3",
      "--codecs",
      "float32",
    ];
    const five = [...like, "--peers", "5", "--rounds", "2"];
    const { codecs: unwatched } = await run(...five);
    const { codecs: watched } = await run(...five, "--evaluate-after", "1,2");
    const [{ onTheWay, bitsPerByte, meanBitsPerByte }] = watched;
    expect(Object.keys(bitsPerByte)).toEqual([
      "en-novels-1",
      "es-scripture-1",
      "zh-poetry",
      "en-novels-2",
      "es-scripture-2",
    ]);
    expect(bitsPerByte["en-novels-1"]).not.toBe(bitsPerByte["en-novels-2"]);
    expect(onTheWay["1"]).toBeGreaterThan(onTheWay["2"]);
    expect(onTheWay["2"]).toBe(meanBitsPerByte);
    expect(unwatched[0]).toMatchObject({ bitsPerByte, onTheWay: {} });
  }, 120_000);

  it("refuses a codec or k that no run could have, before it trains", async () => {
    await expect(run("--codecs", "float32,zip")).rejects.toThrow(/averaging\.codec/);
    await expect(run("--codecs", "topk-5000")).rejects.toThrow(/averaging\.topK/);
    await expect(run("--codecs", "int8-64")).rejects.toThrow(/averaging\.codec/);
    await expect(run("--codecs", "topk-64x1.01")).rejects.toThrow(/averaging\.outerLearningRate/);
    await expect(run("--defence", "trust")).rejects.toThrow(/averaging\.defence/);
    await expect(run("--peers", "0")).rejects.toThrow(/--peers is 0/);
    await expect(run("--evaluate-after", "5,half")).rejects.toThrow(/--evaluate-after is half/);
  });
});
