import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { CODEC_NAMES } from "#protocol/core/codec/registry.ts";
import { floatBytes } from "#protocol/core/float-bytes.ts";
import { benchCodec } from "./codec.ts";

describe("the codec benchmark", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "glossa-bench-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("measures a given update and prints one JSON object", async () => {
    const file = join(folder, "delta.f32");
    await writeFile(file, floatBytes(Float32Array.from({ length: 3000 }, (_, at) => Math.sin(at) / 100)));
    const log = vi.spyOn(console, "log").mockImplementation(() => {});
    await benchCodec(["--json", "--small", "--delta", file]);
    const lines = log.mock.calls.map(([line]) => line as string);
    log.mockRestore();
    expect(lines).toHaveLength(1);
    const report = JSON.parse(lines[0]!);
    expect(report.delta.values).toBe(3000);
    const [float32, int8] = report.codecs;
    expect(float32).toMatchObject({ codec: "float32", bytes: 24 + 4 * 3000 });
    expect(int8).toMatchObject({ codec: "int8", bytes: 24 + 4 * 12 + 3000 });
    expect(float32.relativeSquaredError).toBeLessThan(1e-12);
    expect(int8.relativeSquaredError).toBeGreaterThan(1e-6);
    expect(int8.relativeSquaredError).toBeLessThan(1e-4);
    expect(report.quantisers.map(({ k }: { k: number }) => k)).toEqual([64, 256]);
    for (const row of report.codecs) expect(row.encodeMBps).toBeGreaterThan(0);
  });

  it("measures what an update of many values costs, and a round here and in a thread of its own", async () => {
    const log = vi.spyOn(console, "log").mockImplementation(() => {});
    await benchCodec(["--json", "--values", "1000000", "--top-k", "640"]);
    const [line] = log.mock.calls.map(([printed]) => printed as string);
    log.mockRestore();
    const { codecs, rounds } = JSON.parse(line!);
    expect(codecs.map(({ codec }: { codec: string }) => codec)).toEqual([...CODEC_NAMES]);
    for (const { encode, decode, count, compress } of codecs) {
      for (const { bestMs } of [encode, decode, count, compress]) expect(bestMs).toBeGreaterThan(0);
      for (const { peakBytes } of [encode, compress]) expect(peakBytes).toBeGreaterThan(0);
      expect(decode.peakBytes).toBeGreaterThanOrEqual(0);
    }
    expect(rounds.map(({ where }: { where: string }) => where)).toEqual(["this thread", "its own"]);
  });

  it("refuses a number of steps that is none", async () => {
    await expect(benchCodec(["--steps", "many"])).rejects.toThrow(/--steps is many/);
  });
});
