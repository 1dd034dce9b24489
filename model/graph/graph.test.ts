import { describe, expect, it } from "vitest";
import { GraphError } from "../errors.ts";
import { allOpSamples } from "../testing/op-samples.ts";
import { GraphBuilder } from "./builder.ts";
import type { Graph, Value } from "./ops.ts";
import { countOps, printGraph } from "./print.ts";
import { broadcastShapes } from "./shapes.ts";
import { validateGraph } from "./validate.ts";

describe("the graph builder", () => {
  it("prints what was written, with scopes in the names", () => {
    const b = new GraphBuilder();
    const x = b.input("x", [2, 3]);
    const weight = b.input("weight", [4, 3]);
    const y = b.scope("layer", () =>
      b.scope("up", () => b.matMul(x, weight, { transposeB: true, alpha: 0.5 })),
    );
    const graph = b.build({ y: b.mul(y, b.scalar(2)) });
    expect(printGraph(graph)).toBe(
      [
        "input x: float[2,3]",
        "input weight: float[4,3]",
        "constant constant.3: float[] = 2",
        "layer/up/matMul.2: float[2,4] = matMul(x, weight, transposeA=false, transposeB=true, alpha=0.5)",
        "mul.4: float[2,4] = mul(layer/up/matMul.2, constant.3)",
        "output y = mul.4",
        "",
      ].join("\n"),
    );
  });

  it("leaves out what no output needs", () => {
    const b = new GraphBuilder();
    const x = b.input("x", [3]);
    const unused = b.input("unused", [3]);
    b.exp(b.add(unused, b.scalar(7)));
    const graph = b.build({ y: b.neg(x) });
    expect(graph.inputs).toEqual([x]);
    expect(graph.constants).toEqual([]);
    expect([...countOps(graph)]).toEqual([["neg", 1]]);
  });

  it("keeps one constant per number", () => {
    const b = new GraphBuilder();
    expect(b.scalar(0.1)).toBe(b.scalar(0.1));
    expect(b.scalar(0.1)).not.toBe(b.scalar(0.2));
  });

  it("writes nothing for a reshape or broadcast to the shape that is there", () => {
    const b = new GraphBuilder();
    const x = b.input("x", [2, 3]);
    expect(b.reshape(x, [2, 3])).toBe(x);
    expect(b.broadcast(x, [2, 3])).toBe(x);
    expect(b.reduceSum(x, [])).toBe(x);
    expect(b.split(x, 0, [2])).toEqual([x]);
    expect(b.concat([x], 1)).toBe(x);
    expect(b.after(x, [])).toBe(x);
  });

  it("refuses two inputs of one name", () => {
    const b = new GraphBuilder();
    b.input("x", [1]);
    expect(() => b.input("x", [2])).toThrow(GraphError);
  });

  // Only `split` cuts ids as it cuts numbers.
  it.each(allOpSamples.filter(({ op }) => op !== "split"))(
    "refuses $title with an input of another type, or none",
    ({ op, sample }) => {
      const b = new GraphBuilder();
      const inputs = sample.inputs.map(({ type, shape }, index) => b.input(`x${index}`, shape, type));
      const turned = inputs.map((value, index) =>
        index === 0 ? b.input("turned", value.shape, value.type === "float" ? "int32" : "float") : value,
      );
      expect(() => b.apply(op, turned, sample.attributes)).toThrow(GraphError);
      expect(() => b.apply(op, [], sample.attributes)).toThrow(GraphError);
    },
  );

  it("splits ids into ids", () => {
    const b = new GraphBuilder();
    const parts = b.split(b.input("ids", [5], "int32"), 0, [2, 3]);
    expect(parts.map(({ type, shape }) => ({ type, shape }))).toEqual([
      { type: "int32", shape: [2] },
      { type: "int32", shape: [3] },
    ]);
  });

  const misfits: [string, (b: GraphBuilder, of: (...shape: number[]) => Value) => unknown][] = [
    ["shapes that do not broadcast", (b, of) => b.add(of(2, 3), of(2, 4))],
    ["inner sizes that differ", (b, of) => b.matMul(of(2, 3), of(4, 5))],
    ["batch sizes that differ", (b, of) => b.matMul(of(2, 3, 4), of(3, 4, 5))],
    ["ranks that differ", (b, of) => b.matMul(of(2, 3, 4), of(4, 5))],
    ["a reshape to another size", (b, of) => b.reshape(of(2, 3), [7])],
    ["an axis twice in a permutation", (b, of) => b.transpose(of(2, 3), [0, 0])],
    ["a broadcast that would shrink", (b, of) => b.broadcast(of(2, 3), [1, 3])],
    ["a value that waits for nothing", (b, of) => b.apply("after", [of(2)], {})],
    ["parts that do not add up", (b, of) => b.split(of(2, 6), 1, [2, 3])],
    ["a concat of different sizes", (b, of) => b.concat([of(2, 3), of(4, 5)], 0)],
    ["an axis beyond the rank", (b, of) => b.reduceSum(of(2, 3), [2])],
    ["an axis twice in a sum", (b, of) => b.reduceSum(of(2, 3), [1, 1])],
    ["a norm's weight of another size", (b, of) => b.layerNorm(of(2, 3), of(2), 1e-5)],
    ["a gather from a vector", (b, of) => b.gather(of(3), b.input("ids", [2], "int32"))],
    ["rows of another width", (b, of) => b.scatterAdd(of(5, 3), b.input("ids", [2], "int32"), of(2, 4))],
    [
      "as many targets as classes",
      (b, of) => b.linearCrossEntropy(of(2, 3), of(5, 3), b.input("targets", [5], "int32")),
    ],
    ["data that do not fill a constant", (b) => b.constant(Float64Array.of(1, 2), [3])],
  ];
  it.each(misfits)("refuses %s", (_, write) => {
    const b = new GraphBuilder();
    let inputs = 0;
    expect(() => write(b, (...shape) => b.input(`x${inputs++}`, shape))).toThrow(GraphError);
  });
});

describe("the validator", () => {
  const b = new GraphBuilder();
  const x = b.input("x", [2]);
  const y = b.exp(x);
  const z = b.neg(y);
  const good = b.build({ z });
  const [exp, neg] = good.nodes as [Graph["nodes"][0], Graph["nodes"][0]];

  it("accepts a graph that was built", () => {
    expect(() => validateGraph(good)).not.toThrow();
  });

  const broken: [string, Graph][] = [
    ["is used before it is made", { ...good, nodes: [neg, exp] }],
    ["is made twice", { ...good, nodes: [exp, exp, neg] }],
    [
      "has another's name",
      { ...good, nodes: [exp, { ...neg, outputs: [{ ...z, name: y.name }] }] as Graph["nodes"] },
    ],
    [
      "has another shape",
      { ...good, nodes: [exp, { ...neg, outputs: [{ ...z, shape: [3] }] }] as Graph["nodes"] },
    ],
    ["is an output under the name of another value", { ...good, outputs: new Map([["x", z]]) }],
    ["is an output that nothing makes", { ...good, outputs: new Map([["other", b.sqrt(x)]]) }],
  ];
  it.each(broken)("refuses a value that %s", (_, graph) => {
    expect(() => validateGraph(graph)).toThrow(GraphError);
  });
});

describe("broadcasting", () => {
  it("follows NumPy", () => {
    expect(broadcastShapes([2, 1, 5], [3, 1])).toEqual([2, 3, 5]);
    expect(broadcastShapes([], [4])).toEqual([4]);
    expect(broadcastShapes([2, 3], [2])).toBeUndefined();
  });
});
