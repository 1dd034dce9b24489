import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { genesisBody, initialEmbedding } from "../genesis.ts";
import { ANY_OPTIMIZER } from "../optim/any-optimizer.ts";
import { RandomStream } from "../random.ts";
import { interpret } from "../runtime/interpreter.ts";
import { roundToHalf } from "../runtime/kernels.ts";
import { hostData } from "../runtime/session.ts";
import { runOnCpu } from "../testing/run-on-cpu.ts";
import { buildGradientStep, buildTrainStep, groupTensors, stepInputs } from "../train-step.ts";
import type { ModelConfig } from "../types.ts";
import { withHalfProducts } from "./half-products.ts";
import { elementCount, type Graph } from "./ops.ts";
import { validateGraph } from "./validate.ts";

const config: ModelConfig = { blocks: 2, width: 32, heads: 2, sequenceLength: 16, vocabularySize: 40 };
const groups = ["body", "embedding"] as const;
/** Half of float16's last place is 2^-11; a gradient is the sum of many such errors, of either sign. */
const HALF_TOLERANCE = 2 ** -8;
const LOSS_SCALE = 1024;

function feedsFor(graph: Graph): Record<string, Float64Array | Int32Array> {
  const stream = RandomStream.fromSeed("half");
  const flats = { body: genesisBody(config, "half"), embedding: initialEmbedding(config, "half") };
  const weights = new Map<string, Float64Array>();
  for (const group of groups) {
    let offset = 0;
    for (const { name, shape } of groupTensors(config, group)) {
      const end = offset + elementCount(shape);
      weights.set(name, Float64Array.from(flats[group].subarray(offset, end)));
      offset = end;
    }
  }
  return Object.fromEntries(
    graph.inputs.map(({ name, type, shape }) => {
      const length = elementCount(shape);
      if (type === "int32") return [name, Int32Array.from({ length }, () => stream.nextUint32() % 40)];
      if (name === stepInputs.lossScale) return [name, Float64Array.of(LOSS_SCALE)];
      return [name, weights.get(name) ?? new Float64Array(length).fill(shape.length === 0 ? 0.1 : 0)];
    }),
  );
}

/** |a - b| / |b| */
function relativeDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const norm = (values: number[]) => Math.hypot(...values);
  return norm(Array.from(a, (value, at) => value - b[at]!)) / norm(Array.from(b));
}

describe("products in half", () => {
  const options = { rowsApart: true };
  const whole = buildGradientStep(config, 2, 2, groups, options);
  const half = buildGradientStep(config, 2, 2, groups, { ...options, precision: "float16" });

  it("are all large ones, attention's and the head's; all else keeps its type", () => {
    validateGraph(half);
    for (const { op, inputs, outputs } of half.nodes) {
      const types = new Set([...inputs, ...outputs].map(({ type }) => type));
      if (op === "matMul") {
        const isLarge = inputs.every(({ shape }) => Math.min(...shape.slice(-2)) >= 8);
        expect([...types], outputs[0]!.name).toEqual([isLarge ? "half" : "float"]);
      } else if (op === "attention" || op === "linearCrossEntropy") {
        expect(inputs.slice(0, 2).map(({ type }) => type)).toEqual(["half", "half"]);
        expect(outputs.at(-1)!.type).toBe("float");
      } else if (["layerNorm", "softmax", "gelu", "exp", "add", "mul", "sumSquares", "gather"].includes(op)) {
        expect([...types].filter((type) => type === "half")).toEqual([]);
      }
    }
    const types = (graph: Graph) =>
      [...graph.outputs].map(([name, { type, shape }]) => ({ name, type, shape }));
    expect(types(half)).toEqual(types(whole));
    expect(half.inputs.map(({ name }) => name).filter((name) => name !== stepInputs.lossScale)).toEqual(
      whole.inputs.map(({ name }) => name),
    );
  });

  it("round a weight once, however many products read it, and turn heads as halves", () => {
    const rounded = half.nodes.filter(
      ({ op, attributes }) => op === "cast" && "to" in attributes && attributes.to === "half",
    );
    const sources = rounded.map(({ inputs }) => inputs[0]!.name);
    expect(new Set(sources).size).toBe(sources.length);
    expect(sources).toContain("transformer.wte.weight");
    const turned = half.nodes.filter(({ op }) => op === "transpose");
    // Queries, keys, values and what they mix, forward; of the way back, all but what comes with an addition.
    expect(turned.filter(({ inputs }) => inputs[0]!.type === "half").length).toBeGreaterThanOrEqual(
      4 * config.blocks,
    );
  });

  it("give the gradients of float32 to half precision, multiplied by the scale of the loss", async () => {
    const [inFloat, inHalf] = [await runOnCpu(whole, feedsFor(whole)), await runOnCpu(half, feedsFor(half))];
    const [expected, actual] = [inFloat, inHalf].map((outputs) => (name: string) => [
      ...hostData(outputs[name]!),
    ]) as [(name: string) => number[], (name: string) => number[]];
    expect(relativeDistance(actual("nats"), expected("nats"))).toBeLessThan(2 ** -11);
    for (const name of whole.outputs.keys()) {
      if (name === "nats") continue;
      const scale = name === "hidden" ? 1 : LOSS_SCALE;
      const unscaled = actual(name).map((value) => value / scale);
      expect(relativeDistance(unscaled, expected(name)), name).toBeLessThan(HALF_TOLERANCE);
      // Nothing was rounded at all if it were the same.
      expect(unscaled, name).not.toEqual(expected(name));
    }
  });

  it.each([true, false])(
    "are the interpreter's, who rounds what products read and give (for webgpu: %s)",
    async (forWebgpu) => {
      const feeds = feedsFor(half);
      const [expected, actual] = [interpret(half, feeds), await runOnCpu(half, feeds, { forWebgpu })];
      for (const name of half.outputs.keys()) {
        const error = relativeDistance(hostData(actual[name]!), expected[name]!);
        expect(error, name).toBeLessThan(HALF_TOLERANCE / 2);
      }
    },
  );

  it("leave a step's norm and update free of the scale", async () => {
    const step = (precision: "float32" | "float16") =>
      buildTrainStep(config, ANY_OPTIMIZER, 2, groups, { precision });
    const [inFloat, inHalf] = [step("float32"), step("float16")];
    const [expected, actual] = [
      await runOnCpu(inFloat, feedsFor(inFloat)),
      await runOnCpu(inHalf, feedsFor(inHalf)),
    ];
    for (const name of ["loss", "gradientNorm", `next:${stepInputs.moment1("transformer.wte.weight")}`]) {
      const error = relativeDistance(hostData(actual[name]!), hostData(expected[name]!));
      expect(error, name).toBeLessThan(HALF_TOLERANCE);
    }
  });

  it("are nothing to a graph without any", () => {
    const b = buildTrainStep(
      { ...config, width: 4, vocabularySize: 6, sequenceLength: 4 },
      ANY_OPTIMIZER,
      1,
      groups,
    );
    const small = { ...b, nodes: b.nodes.filter(({ op }) => op === "gather") };
    expect(withHalfProducts({ ...small, outputs: new Map() }).nodes).toEqual(small.nodes);
  });
});

it("rounding to half is to the nearest, ties to even, with steps of 2^-24 at the bottom and infinity at the top", () => {
  const half = 2 ** -24;
  expect([1 + 2 ** -11, 1 + 3 * 2 ** -11, 2049, 2051, -65519, 65520].map(roundToHalf)).toEqual([
    1,
    1 + 2 ** -9,
    2048,
    2052,
    -65504,
    Number.POSITIVE_INFINITY,
  ]);
  expect([half / 2, 0.75 * half, 1.5 * half, -0].map(roundToHalf)).toEqual([0, half, 2 * half, -0]);
  fc.assert(
    fc.property(fc.double({ min: -70000, max: 70000, noNaN: true }), (x) => {
      const rounded = roundToHalf(x);
      expect(roundToHalf(rounded)).toBe(rounded);
      if (Number.isFinite(rounded)) {
        expect(Math.abs(rounded - x)).toBeLessThanOrEqual(Math.max(half / 2, Math.abs(x) * 2 ** -11));
      }
    }),
  );
});
