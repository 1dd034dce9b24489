// The same training on the interpreter, in float64: what exact arithmetic would give, for models of a few thousand parameters.
// Speaks the protocol at the head of bench/curves-pytorch.py: npm run bench -- curves --against "node bench/curves-float64.ts" …
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { elementCount } from "#model/graph/ops.ts";
import { learningRateAt } from "#model/optim/schedule.ts";
import { interpret } from "#model/runtime/interpreter.ts";
import { buildEvaluation, buildTrainStep, groupTensors, stepInputs, stepOutputs } from "#model/train-step.ts";
import type { ModelConfig, OptimizerConfig } from "#model/types.ts";

interface Setting {
  readonly config: ModelConfig;
  readonly optimizer: OptimizerConfig;
  readonly batchSize: number;
  readonly weights: string;
  readonly training: string;
  readonly heldOut: string;
  readonly heldOutBatches: readonly number[];
}

const { values: flags } = parseArgs({ options: { setting: { type: "string" } } });
const setting: Setting = JSON.parse(await readFile(flags.setting!, "utf8"));
const { config, optimizer, batchSize } = setting;
const tokens = batchSize * config.sequenceLength;
const groups = ["body", "embedding"] as const;
const step = buildTrainStep(config, optimizer, batchSize, groups);
const evaluation = buildEvaluation(config, batchSize);

const flat = new Float32Array((await readFile(setting.weights)).buffer);
const weights: Record<string, Float64Array> = {};
let moments: Record<string, Float64Array> = {};
let start = 0;
for (const { name, shape } of groups.flatMap((group) => groupTensors(config, group))) {
  const end = start + elementCount(shape);
  weights[name] = Float64Array.from(flat.subarray(start, end));
  for (const moment of [stepInputs.moment1(name), stepInputs.moment2(name)]) {
    moments[moment] = new Float64Array(end - start);
  }
  start = end;
}

const training = new Int32Array((await readFile(setting.training)).buffer);
const heldOut = new Int32Array((await readFile(setting.heldOut)).buffer);
const batchAt = (ids: Int32Array, batch: number) => ({
  [stepInputs.inputs]: ids.subarray(2 * batch * tokens, (2 * batch + 1) * tokens),
  [stepInputs.targets]: ids.subarray((2 * batch + 1) * tokens, (2 * batch + 2) * tokens),
});

let done = 0;
function train() {
  const learningRate = learningRateAt(optimizer, done);
  const feeds: Record<string, Float64Array | Int32Array> = { ...weights, ...moments };
  Object.assign(feeds, batchAt(training, done));
  done++;
  for (const group of groups) {
    feeds[stepInputs.learningRate(group)] = Float64Array.of(learningRate);
    feeds[stepInputs.biasCorrection1(group)] = Float64Array.of(1 - optimizer.beta1 ** done);
    feeds[stepInputs.biasCorrection2(group)] = Float64Array.of(1 - optimizer.beta2 ** done);
  }
  const outputs = interpret(step, feeds);
  const next = (names: string[]) =>
    Object.fromEntries(names.map((name) => [name, outputs[stepOutputs.next(name)] as Float64Array]));
  Object.assign(weights, next(Object.keys(weights)));
  moments = next(Object.keys(moments));
  return {
    loss: outputs[stepOutputs.loss]![0]!,
    gradientNorm: outputs[stepOutputs.gradientNorm]![0]!,
    learningRate,
  };
}

function evaluate() {
  let batch = 0;
  return setting.heldOutBatches.map((count) => {
    let nats = 0;
    for (const end = batch + count; batch < end; batch++) {
      nats += interpret(evaluation, { ...weights, ...batchAt(heldOut, batch) })[stepOutputs.nats]![0]!;
    }
    return nats;
  });
}

console.log(JSON.stringify({ name: "the interpreter in float64", parameters: flat.length }));
for await (const line of createInterface({ input: process.stdin })) {
  const [task, count] = line.split(" ");
  const answer =
    task === "train" ? { steps: Array.from({ length: Number(count) }, train) } : { nats: evaluate() };
  console.log(JSON.stringify(answer));
}
