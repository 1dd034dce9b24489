import { describe, expect, it } from "vitest";
import { GraphBuilder } from "./builder.ts";
import { byteLength, peakLiveBytes } from "./liveness.ts";

/** Bytes of a [4, 8] tensor. */
const UNIT = 4 * 4 * 8;

describe("the memory of a graph", () => {
  it("is that of the values alive at once, inputs and outputs left to the caller", () => {
    const b = new GraphBuilder();
    const x = b.input("x", [4, 8]);
    const w = b.input("w", [8, 8]);
    const one = b.matMul(x, w);
    const two = b.matMul(one, w);
    const three = b.matMul(two, w);
    // one and two are alive together; three is written where the caller says.
    expect(peakLiveBytes(b.build({ y: three }))).toBe(2 * UNIT);
    expect(peakLiveBytes(b.build({ y: three }), () => false)).toBe(2 * UNIT);
    const four = b.matMul(three, w);
    expect(peakLiveBytes(b.build({ y: b.matMul(b.add(one, four), w) }))).toBe(3 * UNIT);
  });

  it("keeps an output that is not the caller's to the end", () => {
    const b = new GraphBuilder();
    const x = b.input("x", [4, 8]);
    const w = b.input("w", [8, 8]);
    const kept = b.matMul(x, w);
    const graph = b.build({ kept, y: b.matMul(b.matMul(b.matMul(x, w), w), w) });
    expect(peakLiveBytes(graph, (name) => name !== "kept")).toBe(3 * UNIT);
    expect(peakLiveBytes(graph)).toBe(2 * UNIT);
  });

  it("counts no second value where an operation may write over its first input", () => {
    const b = new GraphBuilder();
    const x = b.input("x", [4, 8]);
    const w = b.input("w", [8, 8]);
    const y = b.exp(b.neg(b.matMul(x, w)));
    expect(peakLiveBytes(b.build({ z: b.matMul(y, w) }))).toBe(UNIT);
    // The product is needed again: neg may not write over it.
    const product = b.matMul(x, w);
    expect(peakLiveBytes(b.build({ z: b.matMul(b.add(product, b.neg(product)), w) }))).toBe(2 * UNIT);
  });

  it("counts a reshape as the memory that it views, for as long as either is used", () => {
    const b = new GraphBuilder();
    const w = b.input("w", [8, 8]);
    const product = b.matMul(b.input("x", [4, 8]), w);
    const view = b.reshape(product, [8, 4]);
    const other = b.matMul(b.matMul(w, w), view);
    expect(peakLiveBytes(b.build({ z: b.sumSquares(other) }))).toBe(UNIT + 2 * UNIT + UNIT);
  });

  it("counts constants, and the logits beside the probabilities", () => {
    const b = new GraphBuilder();
    const hidden = b.input("hidden", [4, 2]);
    const { nats } = b.linearCrossEntropy(hidden, b.input("head", [8, 2]), b.input("ids", [4], "int32"));
    const graph = b.build({ nats: b.mul(nats, b.constant(new Float64Array(4), [4])) });
    expect(peakLiveBytes(graph)).toBe(16 + byteLength(nats) + 2 * UNIT);
  });
});
