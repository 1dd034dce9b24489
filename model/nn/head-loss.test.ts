import { describe, expect, it } from "vitest";
import { gradients } from "../autodiff/gradients.ts";
import { GraphBuilder } from "../graph/builder.ts";
import type { Graph } from "../graph/ops.ts";
import { elementCount } from "../graph/ops.ts";
import { validateGraph } from "../graph/validate.ts";
import { interpret } from "../runtime/interpreter.ts";
import { hostData } from "../runtime/session.ts";
import { normal } from "../testing/op-samples.ts";
import { runOnCpu } from "../testing/run-on-cpu.ts";
import { blockedShape, CHUNK_LOGITS_BYTES, chunkSizes, headGradients, headNats } from "./head-loss.ts";

const tokens = 7;
const vocabulary = 11;
const width = 5;
const feeds = {
  hidden: normal("hidden", [tokens, width], 1.2).data,
  head: normal("head", [vocabulary, width], 0.9).data,
  soFar: normal("so far", [vocabulary, width]).data,
  targets: Int32Array.of(3, 10, 3, 0, 7, 3, 9),
};
const dNats = 0.3;

/** Loss and gradients with logits of at most `rows` tokens at once; all of them at once as the plain operation. */
function build(rows: number | "plain", { withSum = false, trainsHead = true } = {}): Graph {
  const b = new GraphBuilder();
  const hidden = b.input("hidden", [tokens, width]);
  const head = b.input("head", [vocabulary, width]);
  const targets = b.input("targets", [tokens], "int32");
  if (rows === "plain") {
    const nats = b.reduceSum(b.linearCrossEntropy(hidden, head, targets).nats, [0]);
    const [dHidden, dHead] = gradients(b, b.mul(nats, b.scalar(dNats)), [hidden, head]);
    return b.build({ nats, dHidden: dHidden!, dHead: dHead! });
  }
  const { nats, dHidden, dHead } = headGradients(
    b,
    { hidden, head, targets, chunkLogitsBytes: 4 * vocabulary * rows },
    {
      dNats: b.scalar(dNats),
      trainsHead,
      dHead: withSum ? b.input("soFar", [vocabulary, width]) : undefined,
    },
  );
  return b.build({ nats, dHidden, ...(dHead && { dHead }) });
}

describe("the chunks of a head", () => {
  it("are one where all logits fit the bound", () => {
    expect(chunkSizes(1024, 8192, 256)).toEqual([1024]);
    expect(chunkSizes(7, 11, 5, 4 * 11 * 7)).toEqual([7]);
  });

  it("are as few as fit the bound, and of almost one size", () => {
    expect(chunkSizes(7, 11, 5, 4 * 11 * 3)).toEqual([2, 2, 3]);
    const sizes = chunkSizes(2048, 50_257, 64);
    expect(sizes.reduce((sum, size) => sum + size)).toBe(2048);
    expect(Math.max(...sizes) * 4 * 50_257).toBeLessThanOrEqual(CHUNK_LOGITS_BYTES);
    expect((2048 / (sizes.length - 1)) * 4 * 50_257).toBeGreaterThan(CHUNK_LOGITS_BYTES);
    expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
  });

  it("are a token each where not even two fit, and a quarter of a large embedding where that is more", () => {
    expect(chunkSizes(3, 1000, 8, 100)).toEqual([1, 1, 1]);
    expect(Math.max(...chunkSizes(2048, 250_112, 2048))).toBe(512);
  });
});

describe("cross-entropy in chunks", () => {
  it.each([1, 2, 3, 7])("of %i tokens gives the loss and gradients of all at once", (rows) => {
    const graph = build(rows);
    validateGraph(graph);
    const [expected, actual] = [interpret(build("plain"), feeds), interpret(graph, feeds)];
    for (const name of ["nats", "dHidden", "dHead"]) {
      expected[name]!.forEach((value, at) => {
        expect(actual[name]![at], `${name}[${at}]`).toBeCloseTo(value, 12);
      });
    }
  });

  it("has the gradients of finite differences", () => {
    const graph = build(3);
    const analytic = interpret(graph, feeds);
    const lossGraph = { ...graph, outputs: new Map([["nats", graph.outputs.get("nats")!]]) };
    const lossAt = (name: "hidden" | "head", at: number, shift: number) => {
      const shifted = Float64Array.from(feeds[name]);
      shifted[at]! += shift;
      return dNats * interpret(lossGraph, { ...feeds, [name]: shifted }).nats![0]!;
    };
    const h = 1e-5;
    for (const [name, gradient] of [
      ["hidden", "dHidden"],
      ["head", "dHead"],
    ] as const) {
      analytic[gradient]!.forEach((value, at) => {
        const numeric = (lossAt(name, at, h) - lossAt(name, at, -h)) / (2 * h);
        expect(Math.abs(value - numeric), `${gradient}[${at}]`).toBeLessThan(
          1e-6 * Math.max(0.1, Math.abs(numeric)),
        );
      });
    }
  });

  it("adds the head's gradient onto the part that is there", () => {
    const [alone, onto] = [interpret(build(2), feeds), interpret(build(2, { withSum: true }), feeds)];
    onto.dHead!.forEach((value, at) => {
      expect(value).toBeCloseTo(alone.dHead![at]! + feeds.soFar[at]!, 12);
    });
  });

  it("gives the head none where it is not trained", () => {
    const graph = build(2, { trainsHead: false });
    expect([...graph.outputs.keys()]).toEqual(["nats", "dHidden"]);
    expect(interpret(graph, feeds).dHidden).toEqual(interpret(build(2), feeds).dHidden);
  });

  it("holds no value of more logits than a chunk has", () => {
    const graph = build(2);
    const logits = graph.nodes
      .flatMap(({ outputs }) => outputs)
      .filter(({ shape }) => shape.at(-1) === vocabulary);
    expect(logits.length).toBeGreaterThan(0);
    for (const { shape } of logits) expect(elementCount(shape)).toBeLessThanOrEqual(2 * vocabulary);
  });

  it("gives on onnxruntime what it gives in float64", async () => {
    const graph = build(2, { withSum: true });
    const [expected, actual] = [interpret(graph, feeds), await runOnCpu(graph, feeds)];
    for (const name of graph.outputs.keys()) {
      hostData(actual[name]!).forEach((value, at) => {
        expect(value, `${name}[${at}]`).toBeCloseTo(expected[name]![at]!, 5);
      });
    }
  });

  it("sums the same nats without gradients", () => {
    const b = new GraphBuilder();
    const hidden = b.input("hidden", [tokens, width]);
    const head = b.input("head", [vocabulary, width]);
    const targets = b.input("targets", [tokens], "int32");
    const nats = headNats(b, { hidden, head, targets, chunkLogitsBytes: 4 * vocabulary * 2 });
    expect(interpret(b.build({ nats }), feeds).nats![0]).toBeCloseTo(
      interpret(build("plain"), feeds).nats![0]!,
      12,
    );
  });
});

describe("the blocks of the head's gradient", () => {
  it.each([
    { vocabularySize: 8192, blocks: 16, rows: 512 },
    { vocabularySize: 50_257, blocks: 29, rows: 1733 },
    { vocabularySize: 7919, blocks: 1, rows: 7919 },
    { vocabularySize: 37, blocks: 1, rows: 37 },
    // 2 * 5 * 379 and 2 * 3 * 5 * 379: the nearer of 379 and 758, of 379, 758 and 1137.
    { vocabularySize: 3790, blocks: 10, rows: 379 },
    { vocabularySize: 11_370, blocks: 30, rows: 379 },
  ])("of $vocabularySize rows are $blocks of $rows", ({ vocabularySize, blocks, rows }) => {
    expect(blockedShape([vocabularySize, 7])).toEqual([blocks, rows, 7]);
  });
});
