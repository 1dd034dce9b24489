import { describe, expect, it } from "vitest";
import { bodyTensors, EMBEDDING_NAME, embeddingTensors } from "./architecture.ts";
import { gradients } from "./autodiff/gradients.ts";
import { GraphBuilder } from "./graph/builder.ts";
import { elementCount, type Graph } from "./graph/ops.ts";
import { countOps, printGraph } from "./graph/print.ts";
import { validateGraph } from "./graph/validate.ts";
import { finerTensors, mptHidden } from "./nn/mpt.ts";
import { RandomStream } from "./random.ts";
import { interpret } from "./runtime/interpreter.ts";
import { hostData } from "./runtime/session.ts";
import { normal } from "./testing/op-samples.ts";
import { runOnCpu } from "./testing/run-on-cpu.ts";
import {
  buildEvaluation,
  buildGradientStep,
  buildTrainStep,
  buildUpdateStep,
  rowScale,
  stepInputs,
  stepOutputs,
} from "./train-step.ts";
import type { ModelConfig, OptimizerConfig } from "./types.ts";

/** Three heads: ALiBi's slopes for a number that is not a power of two. Every size is a different number. */
const config: ModelConfig = { blocks: 2, width: 12, heads: 3, sequenceLength: 5, vocabularySize: 11 };
const batchSize = 2;
const tokens = batchSize * config.sequenceLength;
const optimizer: OptimizerConfig = {
  learningRate: 1e-2,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  gradientClip: 0.5,
  warmupSteps: 0,
  totalSteps: 10,
  finalLearningRateRatio: 0.1,
};

const weightSpecs = [...bodyTensors(config), ...embeddingTensors(config)];
/** As the steps' graphs take them. */
const stepSpecs = finerTensors(weightSpecs);

function randomIds(seed: string): Int32Array {
  const stream = RandomStream.fromSeed(seed);
  return Int32Array.from({ length: tokens }, () => stream.nextUint32() % config.vocabularySize);
}

/** Weights far from their initial values, so that every path matters; moments and scalars as in the middle of a run. */
function feedsFor(graph: Graph): Record<string, Float64Array | Int32Array> {
  const feeds: Record<string, Float64Array | Int32Array> = {
    [stepInputs.inputs]: randomIds("inputs"),
    [stepInputs.targets]: randomIds("targets"),
  };
  for (const { name, shape } of graph.inputs) {
    if (name in feeds) continue;
    if (shape.length === 0) feeds[name] = normal(name, shape, 0.02, 0.2).data;
    else if (name.endsWith(":moment2")) feeds[name] = normal(name, shape, 1e-3).data.map(Math.abs);
    else feeds[name] = normal(name, shape, 0.4, shape.length === 1 ? 1 : 0).data;
  }
  return feeds;
}

describe("the model's gradient", () => {
  const b = new GraphBuilder();
  const ids = b.input("inputs", [tokens], "int32");
  const targets = b.input("targets", [tokens], "int32");
  const weights = new Map(weightSpecs.map(({ name, shape }) => [name, b.input(name, shape)]));
  const hidden = mptHidden(b, config, batchSize, weights, ids);
  const { nats } = b.linearCrossEntropy(hidden, weights.get(EMBEDDING_NAME)!, targets);
  const loss = b.mul(b.reduceSum(nats, [0]), b.scalar(1 / tokens));
  const gradientOf = gradients(b, loss, [...weights.values()]);
  const lossGraph = b.build({ loss });
  const feeds = feedsFor(lossGraph);
  const analytic = interpret(
    b.build(Object.fromEntries(weightSpecs.map(({ name }, i) => [name, gradientOf[i]!]))),
    feeds,
  );

  it.each(weightSpecs)(
    "agrees with finite differences along random directions of $name",
    ({ name, shape }) => {
      const h = 1e-5;
      for (const seed of ["one", "two", "three"]) {
        const direction = normal(`${name} ${seed}`, shape).data;
        const lossAt = (step: number) => {
          const moved = Float64Array.from(feeds[name]!, (value, at) => value + step * direction[at]!);
          return interpret(lossGraph, { ...feeds, [name]: moved }).loss![0]!;
        };
        const numeric = (lossAt(h) - lossAt(-h)) / (2 * h);
        const slope = (analytic[name] as Float64Array).reduce(
          (sum, value, at) => sum + value * direction[at]!,
          0,
        );
        const scale = Math.hypot(...analytic[name]!);
        expect(scale).toBeGreaterThan(1e-3);
        expect(Math.abs(slope - numeric)).toBeLessThan(1e-6 * scale);
      }
    },
  );
});

describe("the training step", () => {
  const graph = buildTrainStep(config, optimizer, batchSize, ["body", "embedding"]);

  it("is a valid graph with every tensor's next value among its outputs", () => {
    validateGraph(graph);
    const expected = stepSpecs.flatMap(({ name }) =>
      [name, stepInputs.moment1(name), stepInputs.moment2(name)].map(stepOutputs.next),
    );
    expect([...graph.outputs.keys()].sort()).toEqual(["gradientNorm", "loss", ...expected].sort());
    for (const { name, shape } of stepSpecs)
      expect(graph.outputs.get(stepOutputs.next(name))!.shape).toEqual(shape);
  });

  it("gives in float32 on onnxruntime what the interpreter gives in float64", async () => {
    const feeds = feedsFor(graph);
    const expected = interpret(graph, feeds);
    expect(expected.gradientNorm![0], "the clip is at work").toBeGreaterThan(optimizer.gradientClip);
    const actual = await runOnCpu(graph, feeds);
    for (const name of graph.outputs.keys()) {
      const scale = Math.max(...Array.from(expected[name]!, Math.abs));
      hostData(actual[name]!).forEach((value, at) => {
        expect(Math.abs(value - expected[name]![at]!), `${name}[${at}]`).toBeLessThan(1e-5 * scale);
      });
    }
  });

  it("writes one matrix product per use and direction, and never the one-hot targets", () => {
    const counts = countOps(graph);
    // Per block 6 linear layers with two gradients each, and the four gradients of attention's two products; the forward of
    // attention and head is within their operations. Three products with a vector on the way back through each norm.
    const norms = 2 * config.blocks + 1;
    expect(counts.get("matMul")).toBe(config.blocks * (6 * 3 + 4) + 2 + 3 * norms);
    expect(counts.get("scatterAdd")).toBe(2);
    expect(counts.get("linearCrossEntropy")).toBe(1);
  });

  it("with a frozen body takes and gives only the embedding's moments", () => {
    const frozen = buildTrainStep(config, optimizer, batchSize, ["embedding"]);
    validateGraph(frozen);
    const moments = frozen.inputs.map(({ name }) => name).filter((name) => name.includes(":moment"));
    expect(moments).toEqual([stepInputs.moment1(EMBEDDING_NAME), stepInputs.moment2(EMBEDDING_NAME)]);
    const next = [...frozen.outputs.keys()].filter((name) => name.startsWith("next:"));
    expect(next.length).toBe(3);
    // The embedding's gradient passes through the body, but no body weight gets one of its own.
    expect(countOps(frozen).get("matMul")).toBe(
      config.blocks * (6 * 2 + 4) + 2 + 2 * (2 * config.blocks + 1),
    );
  });

  it("in two micro-batches is the same step: gradients are summed, clipping sees their sum", () => {
    const groups = ["body", "embedding"] as const;
    const part = buildGradientStep(config, batchSize, 1, groups);
    const update = buildUpdateStep(config, optimizer, groups);
    for (const built of [part, update]) validateGraph(built);
    const feeds = feedsFor(graph);
    let sums = Object.fromEntries(
      stepSpecs.map(({ name, shape }) => [stepInputs.gradient(name), new Float64Array(elementCount(shape))]),
    );
    let nats = 0;
    for (const start of [0, 5]) {
      const ids = (name: string) => (feeds[name] as Int32Array).subarray(start, start + 5);
      const outputs = interpret(part, { ...feeds, ...sums, inputs: ids("inputs"), targets: ids("targets") });
      nats += outputs[stepOutputs.nats]![0]!;
      sums = Object.fromEntries(
        Object.keys(sums).map((name) => [name, outputs[stepOutputs.next(name)] as Float64Array<ArrayBuffer>]),
      );
    }
    const expected = interpret(graph, feeds);
    expect(nats / tokens).toBeCloseTo(expected.loss![0]!, 12);
    const actual = interpret(update, { ...feeds, ...sums });
    expect(Object.keys(actual).sort()).toEqual(
      Object.keys(expected)
        .filter((name) => name !== "loss")
        .sort(),
    );
    for (const [name, values] of Object.entries(actual)) {
      values.forEach((value, at) => {
        expect(Math.abs(value - expected[name]![at]!), `${name}[${at}]`).toBeLessThan(1e-12);
      });
    }
  });

  it("is the same in chunks of the head and with values that are computed again", () => {
    const groups = ["body", "embedding"] as const;
    const options = { recompute: true, chunkLogitsBytes: 3 * 4 * config.vocabularySize };
    const other = buildTrainStep(config, optimizer, batchSize, groups, options);
    expect(countOps(other).get("linearCrossEntropy")).toBe(4);
    const feeds = feedsFor(graph);
    const [expected, actual] = [interpret(graph, feeds), interpret(other, feeds)];
    for (const [name, values] of Object.entries(actual)) {
      values.forEach((value, at) => {
        expect(Math.abs(value - expected[name]![at]!), `${name}[${at}]`).toBeLessThan(1e-12);
      });
    }
  });

  it("gives the same gradients where the embedding's single rows are left to the caller", () => {
    const groups = ["body", "embedding"] as const;
    for (const microBatchSize of [1, batchSize]) {
      const whole = buildGradientStep(config, batchSize, microBatchSize, groups);
      const apart = buildGradientStep(config, batchSize, microBatchSize, groups, { rowsApart: true });
      validateGraph(apart);
      expect(countOps(apart).get("scatterAdd")).toBeUndefined();
      const count = microBatchSize * config.sequenceLength;
      const { inputs, targets, ...rest } = feedsFor(whole);
      const feeds = { ...rest, inputs: inputs!.slice(0, count), targets: targets!.slice(0, count) };
      const [expected, actual] = [interpret(whole, feeds), interpret(apart, feeds)];
      const table = actual[stepOutputs.next(stepInputs.gradient(EMBEDDING_NAME))]!;
      for (let at = 0; at < count * config.width; at++) {
        const [token, column] = [Math.floor(at / config.width), at % config.width];
        table[feeds.inputs[token]! * config.width + column]! += actual[stepOutputs.inputRows]![at]!;
        table[feeds.targets[token]! * config.width + column]! -=
          rowScale(config, batchSize) * actual[stepOutputs.hidden]![at]!;
      }
      for (const [name, values] of Object.entries(expected)) {
        values.forEach((value, at) => {
          expect(Math.abs(value - actual[name]![at]!), `${name}[${at}]`).toBeLessThan(1e-12);
        });
      }
    }
  });

  it("shares its loss with the evaluation graph", () => {
    const evaluation = buildEvaluation(config, batchSize);
    validateGraph(evaluation);
    const feeds = feedsFor(graph);
    const { nats } = interpret(evaluation, feeds);
    expect(nats![0]! / tokens).toBeCloseTo(interpret(graph, feeds).loss![0]!, 12);
  });

  it("does not let a position see what comes after it", () => {
    const b = new GraphBuilder();
    const ids = b.input("inputs", [tokens], "int32");
    const weights = new Map(weightSpecs.map(({ name, shape }) => [name, b.input(name, shape)]));
    const forward = b.build({ hidden: mptHidden(b, config, batchSize, weights, ids) });
    const feeds = feedsFor(forward);
    const before = interpret(forward, feeds).hidden!;
    const changedAt = 3;
    const inputs = (feeds.inputs as Int32Array).with(
      changedAt,
      (feeds.inputs![changedAt]! + 1) % config.vocabularySize,
    );
    const after = interpret(forward, { ...feeds, inputs }).hidden!;
    const rowChanged = Array.from({ length: tokens }, (_, row) =>
      before.subarray(row * 12, row * 12 + 12).some((value, at) => value !== after[row * 12 + at]),
    );
    // Positions 3 and 4 of the first sequence; the second sequence is another text.
    expect(rowChanged).toEqual([false, false, false, true, true, false, false, false, false, false]);
  });

  it("prints as text, one line per node", () => {
    const text = printGraph(graph);
    expect(text).toContain("input transformer.wte.weight: float[11,12]");
    expect(text).toMatch(/blocks\.1\/ffn\/gelu\.\d+: float\[10,48\] = gelu\(blocks\.1\/ffn\/matMul\.\d+\)/);
    expect(text.trimEnd().split("\n").length).toBe(
      graph.inputs.length + graph.constants.length + graph.nodes.length + graph.outputs.size,
    );
    expect(elementCount(graph.outputs.get("loss")!.shape)).toBe(1);
  });
});
