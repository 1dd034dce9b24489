import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import type { PeerSummary } from "../observability/events.ts";
import { plain } from "../terminal/paint.ts";
import { demoCorpora } from "./corpora.ts";
import { advance, agreementOf, beginning, eventLine, type Progress, progressLines } from "./progress.ts";
import { requireSuccess, resultLines, resultOf } from "./report.ts";

const ROOT_A = "aa".repeat(32);
const ROOT_B = "bb".repeat(32);

function summary(name: string, facts: Partial<PeerSummary> = {}): PeerSummary {
  return {
    name,
    vocabularySize: 1024,
    embeddingParameters: 131_072,
    bodyParameters: 800_000,
    variant: "spec-opt",
    commonVocabularySize: undefined,
    heldRows: undefined,
    bitsPerByteStart: 4.5,
    bitsPerByteEnd: 2.25,
    bytesSent: 10_000_000,
    bytesReceived: 20_000_000,
    bodyRoot: ROOT_A,
    tokens: 614_400,
    steps: 300,
    rounds: 12,
    ...facts,
  };
}

describe("the demo's progress", () => {
  const applied = (progress: Progress, name: string, round: number, bodyRoot: string) =>
    advance(progress, name, { event: "round-applied", round, updates: 2, bodyRoot });

  test("follows each peer by its own events", () => {
    let progress = beginning(["ada", "grace"]);
    progress = advance(progress, "ada", { event: "tokenizer-progress", fraction: 0.43 });
    progress = advance(progress, "grace", { event: "step", round: 2, step: 5, steps: 25, bitsPerByte: 3 });
    expect(progress.map(({ doing }) => doing)).toEqual(["vocabulary 43%", "training"]);
  });

  test("keeps the first and the newest held-out bits per byte", () => {
    let progress = beginning(["ada"]);
    for (const [round, bitsPerByte] of [
      [0, 4.5],
      [1, 3.5],
      [2, 3],
    ] as const) {
      progress = advance(progress, "ada", { event: "evaluated", round, bitsPerByte });
    }
    expect(progress[0]).toMatchObject({ bitsPerByteStart: 4.5, bitsPerByte: 3 });
  });

  test("calls bodies the same only once everybody has applied the round", () => {
    let progress = applied(beginning(["ada", "grace"]), "ada", 0, ROOT_A);
    expect(agreementOf(progress[0]!, progress)).toBe("pending");
    progress = applied(progress, "grace", 0, ROOT_A);
    expect(agreementOf(progress[0]!, progress)).toBe("agrees");
    progress = applied(progress, "ada", 1, ROOT_B);
    expect(agreementOf(progress[0]!, progress)).toBe("pending");
    expect(agreementOf(progress[1]!, progress)).toBe("agrees");
    progress = applied(progress, "grace", 1, ROOT_A);
    expect(agreementOf(progress[1]!, progress)).toBe("differs");
  });

  test("is drawn as one line a peer", () => {
    let progress = beginning(["ada", "grace"]);
    progress = advance(progress, "ada", { event: "evaluated", round: 0, bitsPerByte: 4.5 });
    progress = advance(progress, "ada", { event: "step", round: 1, step: 10, steps: 20, bitsPerByte: 3 });
    progress = applied(applied(progress, "ada", 0, ROOT_A), "grace", 0, ROOT_A);
    progress = advance(progress, "ada", {
      event: "traffic",
      bytesSent: 1_500_000,
      bytesReceived: 2_000,
      peers: 1,
    });
    progress = advance(progress, "grace", { event: "finished", ...summary("grace") });
    expect(progressLines(progress, 12, plain)).toMatchInlineSnapshot(`
      [
        "peer   doing               round  steps             bits per byte  body        traffic",
        "ada    training            2/12   ━━━━━━━━╌╌╌╌╌╌╌╌  4.500          aaaaaaaa ✓  ↑ 1.50 MB ↓ 2.00 kB",
        "grace  done                12/12  ━━━━━━━━━━━━━━━━  4.500 → 2.250  aaaaaaaa ✓  ↑ 10.0 MB ↓ 20.0 MB",
      ]
    `);
  });

  test("has a line for what matters where nothing can be drawn over, and none for every step", () => {
    expect(eventLine("ada", { event: "round-applied", round: 3, updates: 2, bodyRoot: ROOT_A })).toBe(
      "ada: round 3 averaged over 2 updates, body aaaaaaaa",
    );
    expect(eventLine("ada", { event: "step", round: 1, step: 1, steps: 2, bitsPerByte: 3 })).toBeUndefined();
  });
});

describe("the demo's result", () => {
  const peers = [summary("ada"), summary("grace", { embeddingParameters: 262_144 })];

  test("compares what was sent with fp32 data parallelism of the whole models", () => {
    const { savings } = resultOf(12, 170.04, peers);
    expect(savings.bytesSent).toBe(20_000_000);
    expect(savings.dataParallelBytes).toBe(300 * 8 * (931_072 + 1_062_144));
    expect(savings.reduction).toBeCloseTo(savings.dataParallelBytes / 20_000_000, 12);
  });

  test("is a table a person reads", () => {
    expect(resultLines(resultOf(12, 170.04, peers), plain)).toMatchInlineSnapshot(`
      [
        "peer   vocabulary  private  shared  bits per byte  tokens     sent  received  body",
        "ada         1,024     131k    800k  4.500 → 2.250    614k  10.0 MB   20.0 MB  aaaaaaaa ✓",
        "grace       1,024     262k    800k  4.500 → 2.250    614k  10.0 MB   20.0 MB  aaaaaaaa ✓",
        "",
        "2 vocabularies, one body: bit-identical after 12 rounds in 170 s.",
        "20.0 MB sent by all peers; fp32 data parallel would have sent 4.78 GB: 239× less.",
      ]
    `);
  });

  test("succeeds when all have learned the same body", () => {
    expect(() => requireSuccess(resultOf(12, 1, peers))).not.toThrow();
  });

  test.each([
    ["bodies differ", { bodyRoot: ROOT_B }, "different bodies (ada aaaaaaaa, x bbbbbbbb)"],
    ["someone did not learn", { bitsPerByteEnd: 4.5 }, "x did not learn (4.500 bits per byte at first"],
    ["someone's loss is no number", { bitsPerByteEnd: Number.NaN }, "x did not learn"],
    ["someone stopped early", { rounds: 11 }, "x trained 11 of 12 rounds"],
  ])("fails when %s", (_what, facts, reason) => {
    const check = () => requireSuccess(resultOf(12, 1, [summary("ada"), summary("x", facts)]));
    expect(check).toThrow(
      expect.objectContaining({ code: "DEMO_FAILED", message: expect.stringContaining(reason) }),
    );
  });
});

test("the corpora are there, each with a vocabulary of another size", async () => {
  const corpora = await demoCorpora();
  expect(corpora.length).toBeGreaterThanOrEqual(3);
  expect(new Set(corpora.map(({ vocabularySize }) => vocabularySize)).size).toBe(corpora.length);
  for (const { path } of corpora)
    expect(gunzipSync(await readFile(path)).byteLength).toBeGreaterThan(100_000);
});
