// The engine against PyTorch: logits, every gradient by name, ten AdamW steps. testdata/make-reference.py made the data.
//
// Two tolerances, both relative to a tensor as a whole (a single element can be near zero by accident):
//   float64 (the interpreter): largest difference <= 1e-9 of the tensor's largest value;
//   float32 (onnxruntime):     the same with 1e-5, and for weights after training the norm of the difference <= 1e-5 of
//                              the norm of the way that the weights have gone, so that no error can hide behind values
//                              that hardly moved. PyTorch itself in float32 is off by up to 3e-6 on that scale.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bodyTensors, EMBEDDING_NAME, embeddingTensors } from "./architecture.ts";
import { gradients } from "./autodiff/gradients.ts";
import { decodeCheckpoint } from "./checkpoint/safetensors.ts";
import { GraphBuilder } from "./graph/builder.ts";
import { finerTensors, mptHidden } from "./nn/mpt.ts";
import { learningRateAt } from "./optim/schedule.ts";
import { interpret } from "./runtime/interpreter.ts";
import { buildTrainStep, stepInputs, stepOutputs } from "./train-step.ts";
import { createTrainingModel } from "./training-model.ts";
import type { ModelConfig, OptimizerConfig, StepResult, TrainingModel, TrainingState } from "./types.ts";

const FLOAT64_TOLERANCE = 1e-9;
const FLOAT32_TOLERANCE = 1e-5;
const STEPS = 10;

/** The largest difference between two tensors, over the largest value of the expected one. */
function worstError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  let worst = 0;
  let largest = 0;
  for (let at = 0; at < expected.length; at++) {
    // Math.max keeps a NaN, and a NaN is below no tolerance.
    worst = Math.max(worst, Math.abs(actual[at]! - expected[at]!));
    largest = Math.max(largest, Math.abs(expected[at]!));
  }
  return worst / largest;
}

function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Math.sqrt(
    Array.from(a, (value, at) => (value - b[at]!) ** 2).reduce((sum, square) => sum + square, 0),
  );
}

function loadReference(name: string) {
  const { tensors, metadata } = decodeCheckpoint(
    readFileSync(new URL(`./testdata/${name}.safetensors`, import.meta.url)),
  );
  const floats = (key: string) => tensors.get(key)!.data as Float32Array | Float64Array;
  const config: ModelConfig = JSON.parse(metadata.get("config")!);
  const optimizer: OptimizerConfig = JSON.parse(metadata.get("optimizer")!);
  const batchSize: number = JSON.parse(metadata.get("batchSize")!);
  const tokens = batchSize * config.sequenceLength;
  const batchAt = (step: number) => {
    const cut = (key: string) =>
      (tensors.get(key)!.data as Int32Array).slice(step * tokens, (step + 1) * tokens);
    return {
      inputs: cut("inputs"),
      targets: cut("targets"),
      batchSize,
      sequenceLength: config.sequenceLength,
    };
  };
  return { tensors, floats, config, optimizer, batchSize, tokens, batchAt };
}

const cases = [{ name: "mpt-3-heads" }, { name: "mpt-4-heads" }];

describe.each(cases)("against PyTorch's $name", ({ name }) => {
  const { tensors, floats, config, optimizer, batchSize, tokens, batchAt } = loadReference(name);
  const specs = [...bodyTensors(config), ...embeddingTensors(config)];

  it("the reference has the engine's tensors, by name and shape, and no other", () => {
    const stored = [...tensors].filter(([key]) => key.startsWith("after/"));
    expect(new Map(stored.map(([key, { shape }]) => [key.slice("after/".length), shape]))).toEqual(
      new Map(specs.map((spec) => [spec.name, spec.shape])),
    );
  });

  it("the reference clips some steps and leaves some alone, and the schedule visits all its parts", () => {
    const clipped = Array.from(floats("gradientNorms"), (norm) => norm > optimizer.gradientClip);
    expect(new Set(clipped)).toEqual(new Set([true, false]));
    expect(optimizer.warmupSteps).toBeGreaterThan(1);
    expect(optimizer.totalSteps).toBeLessThan(STEPS);
    const rates = Array.from({ length: STEPS }, (_, step) => learningRateAt(optimizer, step));
    expect(worstError(rates, floats("learningRates"))).toBeLessThan(FLOAT64_TOLERANCE);
  });

  describe("in float64, on the interpreter", () => {
    const parameters = Object.fromEntries(
      specs.map((spec) => [spec.name, Float64Array.from(floats(spec.name))]),
    );

    it("the logits and the mean loss agree", () => {
      const b = new GraphBuilder();
      const { weights, ids, targets } = declareInputs(b);
      const hidden = mptHidden(b, config, batchSize, weights, ids);
      const embedding = weights.get(EMBEDDING_NAME)!;
      const logits = b.matMul(hidden, embedding, { transposeB: true });
      const { nats } = b.linearCrossEntropy(hidden, embedding, targets);
      const actual = interpret(b.build({ logits, nats }), { ...parameters, ...tokensOf(0) });
      expect(worstError(actual.logits!, floats("logits"))).toBeLessThan(FLOAT64_TOLERANCE);
      const loss = (actual.nats as Float64Array).reduce((sum, value) => sum + value, 0) / tokens;
      expect(Math.abs(loss / floats("losses")[0]! - 1)).toBeLessThan(FLOAT64_TOLERANCE);
    });

    it("every gradient agrees, by name", () => {
      const b = new GraphBuilder();
      const { weights, ids, targets } = declareInputs(b);
      const hidden = mptHidden(b, config, batchSize, weights, ids);
      const { nats } = b.linearCrossEntropy(hidden, weights.get(EMBEDDING_NAME)!, targets);
      const loss = b.mul(b.reduceSum(nats, [0]), b.scalar(1 / tokens));
      const gradientOf = gradients(
        b,
        loss,
        specs.map((spec) => weights.get(spec.name)!),
      );
      const graph = b.build(Object.fromEntries(specs.map((spec, index) => [spec.name, gradientOf[index]!])));
      const actual = interpret(graph, { ...parameters, ...tokensOf(0) });
      for (const spec of specs) {
        expect(worstError(actual[spec.name]!, floats(`gradient/${spec.name}`)), spec.name).toBeLessThan(
          FLOAT64_TOLERANCE,
        );
      }
    });

    it("ten steps agree: losses, gradient norms and every weight at the end", () => {
      const graph = buildTrainStep(config, optimizer, batchSize, ["body", "embedding"]);
      const start = finer("");
      let state: Record<string, Float64Array> = { ...start };
      for (const [weight, { length }] of Object.entries(start)) {
        state[stepInputs.moment1(weight)] = new Float64Array(length);
        state[stepInputs.moment2(weight)] = new Float64Array(length);
      }
      const losses: number[] = [];
      const norms: number[] = [];
      for (let step = 0; step < STEPS; step++) {
        const feeds: Record<string, Float64Array | Int32Array> = { ...state, ...tokensOf(step) };
        for (const group of ["body", "embedding"] as const) {
          feeds[stepInputs.learningRate(group)] = Float64Array.of(learningRateAt(optimizer, step));
          feeds[stepInputs.biasCorrection1(group)] = Float64Array.of(1 - optimizer.beta1 ** (step + 1));
          feeds[stepInputs.biasCorrection2(group)] = Float64Array.of(1 - optimizer.beta2 ** (step + 1));
        }
        const outputs = interpret(graph, feeds);
        losses.push(outputs[stepOutputs.loss]![0]!);
        norms.push(outputs[stepOutputs.gradientNorm]![0]!);
        state = Object.fromEntries(
          Object.keys(state).map((key) => [key, outputs[stepOutputs.next(key)] as Float64Array]),
        );
      }
      expect(worstError(losses, floats("losses"))).toBeLessThan(FLOAT64_TOLERANCE);
      expect(worstError(norms, floats("gradientNorms"))).toBeLessThan(FLOAT64_TOLERANCE);
      for (const [weight, expected] of Object.entries(finer("after/"))) {
        expect(worstError(state[weight]!, expected), weight).toBeLessThan(FLOAT64_TOLERANCE);
      }
    });
  });

  describe.each([
    { how: "at once", changes: {} },
    { how: "in micro-batches of one sequence", changes: { microBatchSize: 1 } },
    { how: "with each block computed again", changes: { recompute: true } },
    { how: "in a loop", changes: { stepsPerRun: 1 } },
  ])("in float32, as a TrainingModel on the CPU, $how", ({ changes }) => {
    let model: TrainingModel;
    let untrained: { nats: number; tokens: number };
    const results: StepResult[] = [];
    let trained: TrainingState;

    beforeAll(async () => {
      model = await createTrainingModel({
        config,
        optimizer,
        batchSize,
        device: "cpu",
        threads: 1,
        ...changes,
        body: Float32Array.from(bodyTensors(config).flatMap((spec) => [...floats(spec.name)])),
        embedding: Float32Array.from(floats(EMBEDDING_NAME)),
      });
      untrained = await model.evaluate(batchAt(0));
      for (let step = 0; step < STEPS; step++) results.push(await model.trainStep(batchAt(step), step));
      trained = await model.readState();
    });
    afterAll(() => model.dispose());

    it("the evaluation before training agrees with the first loss", () => {
      expect(untrained.tokens).toBe(tokens);
      expect(Math.abs(untrained.nats / tokens / floats("losses")[0]! - 1)).toBeLessThan(FLOAT32_TOLERANCE);
    });

    it("ten losses, gradient norms and learning rates agree", () => {
      const column = (key: "loss" | "gradientNorm" | "learningRate") => results.map((result) => result[key]);
      expect(worstError(column("loss"), floats("losses"))).toBeLessThan(FLOAT32_TOLERANCE);
      expect(worstError(column("gradientNorm"), floats("gradientNorms"))).toBeLessThan(FLOAT32_TOLERANCE);
      expect(worstError(column("learningRate"), floats("learningRates"))).toBeLessThan(FLOAT32_TOLERANCE);
    });

    it("every weight agrees after ten steps, by name", () => {
      let offset = 0;
      for (const spec of specs) {
        const expected = floats(`after/${spec.name}`);
        const isEmbedding = spec.name === EMBEDDING_NAME;
        const actual = isEmbedding
          ? trained.embedding
          : trained.body.subarray(offset, offset + expected.length);
        if (!isEmbedding) offset += expected.length;
        expect(worstError(actual, expected), spec.name).toBeLessThan(FLOAT32_TOLERANCE);
        const way = distance(expected, floats(spec.name));
        expect(distance(actual, expected) / way, `${spec.name}, of its way`).toBeLessThan(FLOAT32_TOLERANCE);
      }
    });
  });

  /** The reference's tensors `prefix + name`, cut as a step takes them. */
  function finer(prefix: string): Record<string, Float64Array> {
    return Object.fromEntries(
      specs.flatMap((spec) => {
        const values = Float64Array.from(floats(prefix + spec.name));
        let end = 0;
        return finerTensors([spec]).map(({ name, shape }) => {
          const begin = end;
          end += shape.reduce((product, size) => product * size, 1);
          return [name, values.subarray(begin, end)] as const;
        });
      }),
    );
  }

  function declareInputs(b: GraphBuilder) {
    return {
      weights: new Map(specs.map((spec) => [spec.name, b.input(spec.name, spec.shape)])),
      ids: b.input(stepInputs.inputs, [tokens], "int32"),
      targets: b.input(stepInputs.targets, [tokens], "int32"),
    };
  }

  function tokensOf(step: number) {
    const { inputs, targets } = batchAt(step);
    return { [stepInputs.inputs]: inputs, [stepInputs.targets]: targets };
  }
});
