import { describe, expect, test } from "vitest";
import type { Variant } from "#protocol/core/run-config.ts";
import { plain } from "../terminal/paint.ts";
import { composeStatus, dataParallelBytes } from "./status.ts";
import { statusText } from "./status-text.ts";
import { exampleInputs, exampleProtocol, member, quiet } from "./testing/example-status.ts";

const withProtocol = (facts: Parameters<typeof exampleProtocol>[0]) =>
  composeStatus(exampleInputs({ protocol: exampleProtocol(facts) }));

describe("a peer's status", () => {
  test("sums traffic over channels, and since the round began", () => {
    const { traffic } = composeStatus(exampleInputs());
    expect(traffic.total).toMatchObject({ bytesSent: 1_000_000, bytesReceived: 6_000_000 });
    expect(traffic.thisRound).toMatchObject({ bytesSent: 100_000, bytesReceived: 4_100_000 });
    expect(traffic.thisRound.byChannel.payload).toEqual({ bytesSent: 90_000, bytesReceived: 80_000 });
  });

  test("compares itself with fp32 data parallelism over body and embeddings", () => {
    expect(dataParallelBytes({ steps: 10, bodyParameters: 100, embeddingParameters: 25 })).toBe(10 * 8 * 125);
    const { traffic } = composeStatus(exampleInputs());
    expect(traffic.reductionAgainstDataParallel).toBeCloseTo((187 * 8 * 931_072) / 1_000_000, 9);
  });

  test("knows no ratio before there is something to divide by", () => {
    const inputs = exampleInputs();
    const status = composeStatus({
      ...inputs,
      network: { ...inputs.network, traffic: { channels: quiet, links: [] }, atRoundStart: quiet },
      training: { ...inputs.training, stepsThisProcess: 0 },
      protocol: exampleProtocol({ computeMs: 0, wallMs: 0 }),
    });
    expect(status.traffic.reductionAgainstDataParallel).toBeUndefined();
    expect(status.training.computeUtilisation).toBeUndefined();
  });

  test("says how much of the time went into training steps", () => {
    expect(composeStatus(exampleInputs()).training.computeUtilisation).toBe(0.9);
  });

  test("joins what a peer says with the connection to it", () => {
    const [grace, stranger] = withProtocol({ members: [member("grace"), member("stranger")] }).peers;
    expect(grace).toMatchObject({ name: "grace", connected: true, direction: "outbound", latencyMs: 3.25 });
    expect(stranger).toMatchObject({ name: "stranger", connected: false });
    expect(stranger?.latencyMs).toBeUndefined();
  });

  test("lags behind the foremost peer, never behind a slower one", () => {
    expect(withProtocol({ members: [member("a", { lag: 2 }), member("b", { lag: -4 })] }).lagRounds).toBe(2);
    expect(withProtocol({ members: [member("b", { lag: -4 })] }).lagRounds).toBe(0);
    expect(withProtocol({ members: [] }).lagRounds).toBe(0);
  });

  test("survives JSON unchanged", () => {
    const status = composeStatus(exampleInputs());
    expect(JSON.parse(JSON.stringify(status))).toEqual(status);
  });
});

describe("the text of a status", () => {
  test("is what a person reads", () => {
    expect(statusText(composeStatus(exampleInputs()), plain)).toMatchInlineSnapshot(`
      [
        "ada …eerOfada  run demo cdcdcdcdcdcd  up 50 s",
        "  round     7  training 12/25",
        "  body      abababab  ✓ same as the other peer",
        "  learning  2.250 bits/byte from 4.000  loss 3.500 nats/token",
        "  compute   cpu  3.46k tokens/s  90% of the time  819k tokens in 400 steps, 3 of them skipped in float16",
        "  model     spec-opt  800k shared + 131k private (vocabulary 1024)",
        "  traffic   ↑ 1.00 MB ↓ 6.00 MB  this round ↑ 100 kB ↓ 4.10 MB",
        "  savings   1,393× less than fp32 data parallel  updates 4.0× smaller",
        "  trainer   restarted 2 times, last because memory ran out (SIGABRT: std::bad_alloc)",
        "  refused   malformed-message 2×",
        "",
        "  peer                phase           round  body         bits/byte  latency  seen",
        "  grace …rOfgrace  →  training 10/25      7  abababab  ✓      2.125   3.3 ms   1 s",
      ]
    `);
  });

  test("says of each variant what is shared and what is private", () => {
    const modelLine = (variant: Variant, commonVocabularySize?: number, heldRows?: number) => {
      const { training, ...inputs } = exampleInputs();
      const of = { ...training, variant, commonVocabularySize, heldRows };
      return statusText(composeStatus({ ...inputs, training: of }), plain).find((line) =>
        line.includes("model"),
      );
    };
    expect(modelLine("spec", 2048)).toMatch(
      / spec {2}800k shared \+ 131k private \(vocabulary 1024 of 2048\)/,
    );
    expect(modelLine("trim", 2048, 1024)).toMatch(/ trim {2}931k shared \(vocabulary 1024 of 2048\)/);
    expect(modelLine("glob", 1024, 1024)).toMatch(/ glob {2}931k shared \(vocabulary 1024\)/);
  });

  test("says plainly that bodies differ and how far behind this peer is", () => {
    const members = [member("a", { agrees: false, lag: 1 }), member("b")];
    const text = statusText(
      withProtocol({ members, agreement: { agree: 1, differ: 1, unknown: 0 } }),
      plain,
    ).join("\n");
    expect(text).toContain("✗ differs from 1 of 2 others");
    expect(text).toContain("1 round behind");
  });

  test("has a line for being alone", () => {
    const agreement = { agree: 0, differ: 0, unknown: 0 };
    const text = statusText(withProtocol({ members: [], agreement }), plain).join("\n");
    expect(text).toContain("nobody to compare with");
    expect(text).toContain("no other peers");
  });

  test("claims nothing before there is something to claim", () => {
    const { training, ...inputs } = exampleInputs();
    const unknown = { tokensPerSecond: undefined, lossNatsPerToken: undefined, bitsPerByte: undefined };
    const protocol = exampleProtocol({ payloadRatio: undefined });
    const text = statusText(
      composeStatus({ ...inputs, protocol, training: { ...training, ...unknown } }),
      plain,
    ).join("\n");
    expect(text).toContain("learning  not evaluated yet");
    expect(text).toContain("savings   no update sent yet");
    expect(text).toContain("compute   cpu  819k tokens in 400 steps");
  });

  test("tells of a group, and where nobody else is in it", () => {
    const line = (facts: Parameters<typeof exampleProtocol>[0]) => {
      const group = { name: "readers", runId: "ef".repeat(32), protocol: exampleProtocol(facts) };
      const lines = statusText(composeStatus(exampleInputs({ group })), plain);
      return lines.find((text) => text.trimStart().startsWith("group"));
    };
    expect(line({ round: 4 })).toBe("  group     readers  round 4  abababab  ✓ same as the other peer");
    expect(line({ phase: "waiting", members: [] })).toContain("nobody else with the same tokenizer yet");
  });

  test("has colours only where the paint gives them", () => {
    const marked = statusText(composeStatus(exampleInputs()), (style, text) => `<${style}>${text}`).join(
      "\n",
    );
    expect(marked).toContain("<green>✓");
    expect(statusText(composeStatus(exampleInputs()), plain).join("\n")).not.toContain("\x1b");
  });
});
