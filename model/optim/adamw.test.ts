import { describe, expect, it } from "vitest";
import { GraphBuilder } from "../graph/builder.ts";
import { elementCount, type Graph } from "../graph/ops.ts";
import { interpret } from "../runtime/interpreter.ts";
import { hostData } from "../runtime/session.ts";
import { normal } from "../testing/op-samples.ts";
import { runOnCpu } from "../testing/run-on-cpu.ts";
import type { OptimizerConfig } from "../types.ts";
import { adamW, clipByGlobalNorm } from "./adamw.ts";

const config: OptimizerConfig = {
  learningRate: 0.03,
  beta1: 0.8,
  beta2: 0.93,
  epsilon: 1e-3, // Large, so that an epsilon in the wrong place shows.
  weightDecay: 0.4,
  gradientClip: 1.5,
  warmupSteps: 0,
  totalSteps: 1,
  finalLearningRateRatio: 1,
};
const shapes = { matrix: [2, 3], norm: [4] } as const;
type Name = keyof typeof shapes;
const names = Object.keys(shapes) as Name[];
const kinds = ["weight", "moment1", "moment2"] as const;

function buildUpdate(): Graph {
  const b = new GraphBuilder();
  const gradientOf = names.map((name) => b.input(`${name}.gradient`, shapes[name]));
  const { norm, scale } = clipByGlobalNorm(b, gradientOf, config.gradientClip);
  const update = adamW(
    b,
    config,
    {
      learningRate: b.input("learningRate", []),
      biasCorrection1: b.input("biasCorrection1", []),
      biasCorrection2: b.input("biasCorrection2", []),
    },
    scale,
  );
  const outputs = names.flatMap((name, index) => {
    const [weight, moment1, moment2] = kinds.map((kind) => b.input(`${name}.${kind}`, shapes[name]));
    const after = update({ weight: weight!, moment1: moment1!, moment2: moment2! }, gradientOf[index]!);
    return kinds.map((kind) => [`next:${name}.${kind}`, after[kind]] as const);
  });
  return b.build({ norm, ...Object.fromEntries(outputs) });
}

type State = Record<string, Float64Array>;

function initialState(): State {
  const entries = names.flatMap((name) => [
    [`${name}.weight`, normal(`${name} weight`, shapes[name], 0.7).data as Float64Array] as const,
    [`${name}.moment1`, new Float64Array(elementCount(shapes[name]))] as const,
    [`${name}.moment2`, new Float64Array(elementCount(shapes[name]))] as const,
  ]);
  return Object.fromEntries(entries);
}

/** Alternates between gradients that are clipped and gradients that are not. */
function gradientsOf(step: number): State {
  const scale = step % 2 === 1 ? 2 : 0.1;
  return Object.fromEntries(
    names.map((name) => [
      `${name}.gradient`,
      normal(`${name} ${step}`, shapes[name], scale).data as Float64Array,
    ]),
  );
}

const rateOf = (step: number) => 0.03 / step;

/** AdamW as torch.optim.AdamW documents it, one number at a time. Returns the gradients' norm. */
function referenceStep(state: State, gradientOf: State, step: number): number {
  let squares = 0;
  for (const gradient of Object.values(gradientOf)) for (const g of gradient) squares += g * g;
  const norm = Math.sqrt(squares);
  const clip = Math.min(1, config.gradientClip / (norm + 1e-6));
  const lr = rateOf(step);
  for (const name of names) {
    const [weight, m, v] = kinds.map((kind) => state[`${name}.${kind}`]!) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    const decay = name === "matrix" ? config.weightDecay : 0;
    for (let i = 0; i < weight.length; i++) {
      const g = gradientOf[`${name}.gradient`]![i]! * clip;
      weight[i]! -= lr * decay * weight[i]!;
      m[i] = config.beta1 * m[i]! + (1 - config.beta1) * g;
      v[i] = config.beta2 * v[i]! + (1 - config.beta2) * g * g;
      const mHat = m[i]! / (1 - config.beta1 ** step);
      const vHat = v[i]! / (1 - config.beta2 ** step);
      weight[i]! -= (lr * mHat) / (Math.sqrt(vHat) + config.epsilon);
    }
  }
  return norm;
}

function scalars(step: number): State {
  return {
    learningRate: Float64Array.of(rateOf(step)),
    biasCorrection1: Float64Array.of(1 - config.beta1 ** step),
    biasCorrection2: Float64Array.of(1 - config.beta2 ** step),
  };
}

describe("the AdamW graph", () => {
  it.each([
    ["the interpreter", 1e-13, async (graph: Graph, feeds: State) => interpret(graph, feeds) as State],
    [
      "onnxruntime",
      2e-6,
      async (graph: Graph, feeds: State): Promise<State> =>
        Object.fromEntries(
          Object.entries(await runOnCpu(graph, feeds)).map(([name, tensor]) => [
            name,
            Float64Array.from(hostData(tensor)),
          ]),
        ),
    ],
  ] as const)("follows a scalar reference over several steps on %s", async (_, tolerance, run) => {
    const graph = buildUpdate();
    const expected = initialState();
    let state = initialState();
    const clipped: boolean[] = [];
    for (let step = 1; step <= 6; step++) {
      const norm = referenceStep(expected, gradientsOf(step), step);
      clipped.push(norm > config.gradientClip);
      const { norm: actualNorm, ...next } = await run(graph, {
        ...state,
        ...gradientsOf(step),
        ...scalars(step),
      });
      state = Object.fromEntries(
        Object.entries(next).map(([name, data]) => [name.replace("next:", ""), data]),
      );
      expect(Math.abs(actualNorm![0]! / norm - 1)).toBeLessThan(tolerance);
      for (const key of Object.keys(expected)) {
        state[key]!.forEach((value, at) => {
          expect(Math.abs(value - expected[key]![at]!), `step ${step} ${key}[${at}]`).toBeLessThan(tolerance);
        });
      }
    }
    expect(clipped).toEqual([true, false, true, false, true, false]);
  });
});
