// A group of parameters in host memory: weights, moments and gradients, each flat, and the optimizer's parts over them.
import { elementCount } from "../graph/ops.ts";
import { isDecaying } from "../optim/adamw.ts";
import { ADDEND } from "../optim/adamw-kernel.ts";
import { OptimizerPart, type Range } from "../optim/optimizer-part.ts";
import { HostState } from "../runtime/state.ts";
import {
  gradientTensors,
  groupTensors,
  type ParameterGroup,
  stepInputs,
  stepOutputs,
} from "../train-step.ts";
import type { ModelConfig, OptimizerConfig, TensorSpec } from "../types.ts";
import type { GroupState } from "./step-engine.ts";

export interface HostGroupOptions {
  readonly config: ModelConfig;
  readonly optimizer: OptimizerConfig;
  readonly name: ParameterGroup;
  /** Whether threads share the memory. */
  readonly shared: boolean;
  /** Gradients that are computed apart and added up by the optimizer: 1 or 2. */
  readonly gradients: number;
}

export class HostGroup implements GroupState {
  readonly weights: HostState;
  readonly moment1: HostState;
  readonly moment2: HostState;
  /** One for each share of a step. */
  readonly gradients: readonly HostState[];
  /** One for each piece of the states. */
  readonly parts: readonly OptimizerPart[];
  momentSteps = 0;

  constructor({ config, optimizer, name, shared, gradients }: HostGroupOptions) {
    const specs = groupTensors(config, name);
    const make = (label: string, lane: number, input: (tensor: string) => string, shaped = specs) =>
      new HostState(
        shaped,
        { label, input, output: (tensor: string) => stepOutputs.next(input(tensor)) },
        { lane, shared },
      );
    const makeGradient = (lane: number) =>
      make(`${name} gradient`, lane, stepInputs.gradient, gradientTensors(config, name));
    this.weights = make(name, 0, (tensor) => tensor);
    this.moment1 = make(`${name} moment 1`, 1, stepInputs.moment1);
    this.moment2 = make(`${name} moment 2`, 2, stepInputs.moment2);
    const gradient = makeGradient(3);
    const addend = gradients > 1 ? makeGradient(ADDEND) : undefined;
    this.gradients = addend === undefined ? [gradient] : [gradient, addend];
    this.parts = this.weights.pieces.map(({ specs: part }, at) => {
      const arrays = {
        weights: this.weights.pieces[at]!.flat,
        moment1: this.moment1.pieces[at]!.flat,
        moment2: this.moment2.pieces[at]!.flat,
        gradient: gradient.pieces[at]!.flat,
        addend: addend?.pieces[at]?.flat,
      };
      return new OptimizerPart(optimizer, arrays, rangesOf(part));
    });
  }
}

function rangesOf(specs: readonly TensorSpec[]): Range[] {
  const ranges: Range[] = [];
  let start = 0;
  for (const { shape } of specs) {
    const last = ranges.at(-1);
    const end = start + elementCount(shape);
    if (last?.decays === isDecaying(shape)) ranges[ranges.length - 1] = { ...last, end };
    else ranges.push({ start, end, decays: isDecaying(shape) });
    start = end;
  }
  return ranges;
}
