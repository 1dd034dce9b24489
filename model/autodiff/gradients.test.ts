import { describe, expect, it } from "vitest";
import { GradientNotDefinedError, GraphError } from "../errors.ts";
import { GraphBuilder } from "../graph/builder.ts";
import { elementCount, type Op, type Value } from "../graph/ops.ts";
import { countOps } from "../graph/print.ts";
import { validateGraph } from "../graph/validate.ts";
import { interpret } from "../runtime/interpreter.ts";
import { allOpSamples, normal, type OpSample, opSamples } from "../testing/op-samples.ts";
import { backpropagate, gradients } from "./gradients.ts";
import { isDifferentiable } from "./rules.ts";

/** Central differences in float64: truncation ~STEP^2 and rounding ~1e-16 / STEP both stay well below the tolerance. */
const STEP = 1e-5;
const TOLERANCE = 1e-6;

/** A scalar that depends on every element of `values`, on each with a weight of its own. */
function project(b: GraphBuilder, values: readonly Value[]): Value {
  const sums = values.map((value, index) => {
    const weighted = b.mul(
      value.type === "half" ? b.cast(value, "float") : value,
      b.constant(normal(`projection ${index}`, value.shape).data as Float64Array, value.shape),
    );
    return b.reduceSum(
      weighted,
      value.shape.map((_, axis) => axis),
    );
  });
  return sums.reduce((sum, next) => b.add(sum, next));
}

/** Outputs that models may build on: the rest are saved for the backward pass only. */
function differentiableOutputs(op: Op, outputs: readonly Value[]): readonly Value[] {
  return op === "split" ? outputs : outputs.slice(0, 1);
}

/** `after` only waits for its other inputs; the biases of attention are constants. */
function differentiableInputs(op: Op, inputs: readonly Value[]): readonly Value[] {
  if (op === "attention") return inputs.slice(0, 3);
  return op === "after" ? inputs.slice(0, 1) : inputs.filter((value) => value.type === "float");
}

function declare(b: GraphBuilder, sample: OpSample): Value[] {
  return sample.inputs.map(({ type, shape }, index) => b.input(`x${index}`, shape, type));
}

describe("gradients", () => {
  it.each(allOpSamples.filter(({ op }) => isDifferentiable(op)))(
    "agree with finite differences for $title",
    ({ op, sample }) => {
      const b = new GraphBuilder();
      const inputs = declare(b, sample);
      const loss = project(b, differentiableOutputs(op, b.apply(op, inputs, sample.attributes)));
      const floats = differentiableInputs(op, inputs);
      const named = gradients(b, loss, floats).map((value, index) => [floats[index]!.name, value] as const);
      const graph = b.build({
        loss,
        ...Object.fromEntries(named.map(([name, value]) => [`d${name}`, value])),
      });
      validateGraph(graph);

      const feeds = Object.fromEntries(sample.inputs.map(({ data }, index) => [`x${index}`, data]));
      const lossGraph = { ...graph, outputs: new Map([["loss", loss]]) };
      const lossAt = (name: string, at: number, shift: number) => {
        const shifted = Float64Array.from(feeds[name]!);
        shifted[at]! += shift;
        return interpret(lossGraph, { ...feeds, [name]: shifted }).loss![0]!;
      };
      const analytic = interpret(graph, feeds);
      for (const { name, shape } of floats) {
        const numeric = Array.from(
          { length: elementCount(shape) },
          (_, at) => (lossAt(name, at, STEP) - lossAt(name, at, -STEP)) / (2 * STEP),
        );
        const scale = Math.max(...numeric.map(Math.abs));
        expect(scale, `${name} matters`).toBeGreaterThan(1e-3);
        numeric.forEach((value, at) => {
          expect(Math.abs(analytic[`d${name}`]![at]! - value), `${name}[${at}]`).toBeLessThan(
            TOLERANCE * scale,
          );
        });
      }
    },
  );

  it.each(allOpSamples.filter(({ op }) => !isDifferentiable(op)))(
    "must not be asked of $title",
    ({ op, sample }) => {
      const b = new GraphBuilder();
      const inputs = declare(b, sample);
      const loss = project(b, b.apply(op, inputs, sample.attributes));
      expect(() => gradients(b, loss, inputs)).toThrow(GradientNotDefinedError);
    },
  );

  it("are refused through outputs that are saved for the backward pass", () => {
    for (const op of ["attention", "layerNorm", "linearCrossEntropy"] as const) {
      const b = new GraphBuilder();
      const sample = opSamples[op][0]!;
      const inputs = declare(b, sample);
      const loss = project(b, b.apply(op, inputs, sample.attributes).slice(1));
      expect(() => gradients(b, loss, inputs)).toThrow(GradientNotDefinedError);
    }
  });

  it("has at least one sample for every operation", () => {
    for (const [op, samples] of Object.entries(opSamples)) expect(samples.length, op).toBeGreaterThan(0);
  });

  it("add up over every use of a value", () => {
    const b = new GraphBuilder();
    const x = b.input("x", []);
    // y = x^3 + x^2 -> 3 x^2 + 2 x
    const square = b.mul(x, x);
    const loss = b.add(b.mul(square, x), square);
    const [dx] = gradients(b, loss, [x]);
    expect(interpret(b.build({ dx: dx! }), { x: [1.7] }).dx![0]).toBeCloseTo(3 * 1.7 ** 2 + 2 * 1.7, 12);
  });

  it("add a table's gathered rows onto the gradient it has from elsewhere", () => {
    const b = new GraphBuilder();
    const table = b.input("table", [3, 2]);
    const ids = b.input("ids", [2], "int32");
    const loss = b.add(b.sumSquares(b.gather(table, ids)), b.sumSquares(table));
    const [dTable] = gradients(b, loss, [table]);
    const values = [0.3, -1.2, 2.1, 0.7, -0.4, 1.9];
    const result = interpret(b.build({ dTable: dTable! }), { table: values, ids: [2, 2] }).dTable!;
    // 2x from the table itself, and 2x again for each of the two times row 2 was gathered.
    const times = [2, 2, 2, 2, 6, 6];
    values.forEach((value, at) => {
      expect(result[at]).toBeCloseTo(times[at]! * value, 12);
    });
  });

  it("make no nodes for what is not asked for", () => {
    const b = new GraphBuilder();
    const x = b.input("x", [4, 3]);
    const weight = b.input("weight", [5, 3]);
    const loss = b.sumSquares(b.matMul(x, weight, { transposeB: true }));
    const [dWeight] = gradients(b, loss, [weight]);
    // Forward, and one product backward: none for dx.
    expect(countOps(b.build({ loss, dWeight: dWeight! })).get("matMul")).toBe(2);
    expect(b.nodes.filter(({ op }) => op === "matMul").length).toBe(2);
  });

  it("are zero for a weight that the loss does not depend on", () => {
    const b = new GraphBuilder();
    const x = b.input("x", [2]);
    const other = b.input("other", [3]);
    const [dOther] = gradients(b, b.sumSquares(x), [other]);
    expect([...interpret(b.build({ dOther: dOther! }), {}).dOther!]).toEqual([0, 0, 0]);
  });

  describe("through segments", () => {
    /** Three layers x -> x + gelu(x @ w^T), each a segment, and the loss behind them. */
    function build(recompute: boolean) {
      const b = new GraphBuilder();
      const ws = [0, 1, 2].map((at) => b.input(`w${at}`, [3, 3]));
      let x = b.input("x", [2, 3]);
      for (const w of ws) {
        const entering = x;
        x = b.segment(() => b.add(entering, b.gelu(b.matMul(entering, w, { transposeB: true }))));
      }
      const loss = project(b, [x]);
      const found = gradients(b, loss, ws, { recompute });
      return b.build({ loss, ...Object.fromEntries(found.map((value, at) => [`dw${at}`, value])) });
    }
    const feeds = Object.fromEntries([
      ["x", normal("segments x", [2, 3]).data],
      ...[0, 1, 2].map((at) => [`w${at}`, normal(`segments w${at}`, [3, 3]).data] as const),
    ]);

    it("are the same bits whether the segments' values are kept or computed again", () => {
      validateGraph(build(true));
      expect(interpret(build(true), feeds)).toEqual(interpret(build(false), feeds));
    });

    it("are those of finite differences", () => {
      const graph = build(true);
      const analytic = interpret(graph, feeds);
      const lossAt = (name: string, at: number, shift: number) => {
        const shifted = Float64Array.from(feeds[name]!);
        shifted[at]! += shift;
        return interpret(graph, { ...feeds, [name]: shifted }).loss![0]!;
      };
      for (const at of [0, 1, 2]) {
        analytic[`dw${at}`]!.forEach((value, element) => {
          const numeric = (lossAt(`w${at}`, element, STEP) - lossAt(`w${at}`, element, -STEP)) / (2 * STEP);
          expect(Math.abs(value - numeric)).toBeLessThan(TOLERANCE * Math.max(0.1, Math.abs(numeric)));
        });
      }
    });

    it("read nothing from within a segment but from its repetition", () => {
      const graph = build(true);
      const isAgain = (name: string) => name.startsWith("again/");
      // Forward: one product and one gelu a segment; again: the product alone, whose gelu nothing asks for.
      const made = graph.nodes.flatMap(({ op, outputs }) => outputs.map(({ name }) => ({ op, name })));
      expect(made.filter(({ op, name }) => op === "matMul" && isAgain(name)).length).toBe(3);
      expect(made.filter(({ op, name }) => op === "gelu" && isAgain(name)).length).toBe(0);
      const inner = new Set(
        graph.nodes.slice(0, 9).flatMap(({ op, outputs }) => (op === "add" ? [] : outputs)),
      );
      const readers = graph.nodes.slice(9).filter(({ inputs }) => inputs.some((value) => inner.has(value)));
      expect(readers).toEqual([]);
    });

    it("of a segment's weights come before what flows on from it", () => {
      const { nodes } = build(false);
      const waiting = nodes.filter(({ op, inputs }) => op === "after" && inputs[0]!.shape.length === 2);
      // The first segment's input is no weight's offspring: nothing flows on from there.
      expect(waiting.map(({ inputs }) => inputs[1]!.shape)).toEqual([
        [3, 3],
        [3, 3],
      ]);
    });
  });

  it("start from gradients that are known, and stop at values that are asked for", () => {
    const b = new GraphBuilder();
    const x = b.input("x", []);
    const y = b.mul(x, x);
    const z = b.exp(y);
    // dz is 2: dy = 2 exp(y), on top of the 5 that is there; x counts as independent of y.
    const [dy, dx] = backpropagate(
      b,
      new Map([
        [z, b.scalar(2)],
        [y, b.scalar(5)],
      ]),
      [y, x],
    );
    const result = interpret(b.build({ dy: dy!, dx: dx! }), { x: [0.7] });
    expect(result.dy![0]).toBeCloseTo(5 + 2 * Math.exp(0.49), 12);
    expect(result.dx![0]).toBe(0);
  });

  it("refuse a loss that is not a scalar", () => {
    const b = new GraphBuilder();
    const x = b.input("x", [2]);
    expect(() => gradients(b, b.exp(x), [x])).toThrow(GraphError);
  });
});
