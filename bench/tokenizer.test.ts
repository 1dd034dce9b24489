import { describe, expect, it, vi } from "vitest";
import { benchTokenizer } from "./tokenizer.ts";

describe("the tokenizer benchmark", () => {
  it("measures both sides and prints one JSON object", async () => {
    const data = new URL("../node/demo/corpora/es-scripture.txt.gz", import.meta.url).pathname;
    const log = vi.spyOn(console, "log").mockImplementation(() => {});
    await benchTokenizer(["--json", "--data", data, "--bytes", "60000", "--repetitions", "1"]);
    const lines = log.mock.calls.map(([line]) => line as string);
    log.mockRestore();
    expect(lines).toHaveLength(1);
    const [corpus] = JSON.parse(lines[0]!).corpora;
    expect(corpus.bytes).toBeGreaterThanOrEqual(60_000);
    expect(corpus.merges).toBeGreaterThan(1000);
    for (const { oursMBps, nativeMBps, ratio } of [corpus.train, corpus.encode, corpus.encodeBatch]) {
      expect(ratio).toBeCloseTo(oursMBps / nativeMBps, 9);
    }
  });

  it("refuses numbers that are none", async () => {
    await expect(benchTokenizer(["--bytes", "many"])).rejects.toThrow(/--bytes is many/);
  });
});
