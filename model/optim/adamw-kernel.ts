// Clipping and AdamW on the host: two passes over flat arrays that change in place, where the graph's nodes (adamw.ts) make
// thirteen and allocate as many. The same formula, rounded to float32 at the same places: the same bits.
import type { OptimizerConfig } from "../types.ts";
import {
  assemble,
  type Code,
  f32x4,
  f64,
  f64x2,
  get,
  load,
  loop,
  set,
  store,
  type WasmFunction,
} from "../wasm/assembler.ts";
import { type FlatArray, LANE_BYTES } from "../wasm/flat-array.ts";
import { NORM_EPSILON } from "./adamw.ts";

/** Arrays of one length that move together, in the order of the kernel's memories. */
export interface OptimizedArrays {
  readonly weights: FlatArray;
  readonly moment1: FlatArray;
  readonly moment2: FlatArray;
  readonly gradient: FlatArray;
  /** The rest of the gradient, where two threads have computed a part each. */
  readonly addend?: FlatArray | undefined;
}

/** What is the same for all numbers of a step; see adamw.ts for the formula that they come from. */
export interface StepFactors {
  readonly gradientFactor: number;
  readonly squareFactor: number;
  readonly epsilon: number;
  readonly stepSize: number;
  /** What is left of a weight that decays. */
  readonly keep: number;
}

export function stepFactors(
  { beta1, beta2, epsilon, weightDecay, gradientClip }: OptimizerConfig,
  learningRate: number,
  gradientNorm: number,
  /** Steps that the moments will have taken, this one included. */
  momentSteps: number,
  /** What the gradients are multiplied by; the norm is not. */
  lossScale = 1,
): StepFactors {
  const scale = Math.min(1, gradientClip / (gradientNorm + NORM_EPSILON)) / lossScale;
  const rootCorrection2 = Math.sqrt(1 - beta2 ** momentSteps);
  return {
    gradientFactor: scale * (1 - beta1),
    squareFactor: scale * scale * (1 - beta2),
    epsilon: rootCorrection2 * epsilon,
    stepSize: (learningRate * rootCorrection2) / (1 - beta1 ** momentSteps),
    keep: 1 - learningRate * weightDecay,
  };
}

/** One instance for arrays that move together. All are as long as `weights`, and all or none are shared. */
export class AdamWKernel {
  readonly #config: Pick<OptimizerConfig, "beta1" | "beta2">;
  readonly #arrays: OptimizedArrays;
  readonly #exports: KernelExports;

  constructor(config: Pick<OptimizerConfig, "beta1" | "beta2">, arrays: OptimizedArrays) {
    this.#config = config;
    this.#arrays = arrays;
    const names = arrays.addend === undefined ? MEMORIES : [...MEMORIES, "addend" as const];
    const memory = Object.fromEntries(names.map((name) => [name, arrays[name]!.memory]));
    const isShared = !(arrays.weights.values.buffer instanceof ArrayBuffer);
    const instance = new WebAssembly.Instance(compiled(names, isShared), { memory });
    this.#exports = instance.exports as unknown as KernelExports;
  }

  /** Sum of the squares of gradients [start, end), in float64. Adds the addend to the gradient first, if there is one. */
  squares(start: number, end: number): number {
    const { gradient, addend } = this.#arrays;
    const whole = end - ((end - start) % SQUARES_AT_ONCE);
    let sum = whole > start ? this.#exports.squares(4 * start, 4 * whole) : 0;
    for (let at = whole; at < end; at++) {
      if (addend !== undefined) gradient.values[at]! += addend.values[at]!;
      sum += gradient.values[at]! ** 2;
    }
    return sum;
  }

  /** Moves weights and moments [start, end) by their gradient; `decays` says whether the weights shrink as well. */
  update(start: number, end: number, factors: StepFactors, decays: boolean): void {
    const { beta1, beta2 } = this.#config;
    const { gradientFactor, squareFactor, epsilon, stepSize } = factors;
    const keep = decays ? factors.keep : 1;
    const whole = end - ((end - start) % LANES);
    const rest = [beta1, gradientFactor, beta2, squareFactor, epsilon, stepSize, keep] as const;
    if (whole > start) this.#exports.adamw(4 * start, 4 * whole, ...rest);
    if (whole < end) updateOneByOne(this.#arrays, whole, end, ...rest);
  }
}

/** The formula in plain sight, for the few numbers that do not fill a vector. Math.fround rounds as float32 arithmetic does. */
function updateOneByOne(
  { weights, moment1, moment2, gradient }: OptimizedArrays,
  start: number,
  end: number,
  ...factors: KernelFactors
): void {
  const { fround } = Math;
  const [beta1, gradientFactor, beta2, squareFactor, epsilon, stepSize, keep] = factors.map(fround) as [
    ...KernelFactors,
  ];
  for (let at = start; at < end; at++) {
    const g = gradient.values[at]!;
    const m = fround(fround(moment1.values[at]! * beta1) + fround(g * gradientFactor));
    const v = fround(fround(moment2.values[at]! * beta2) + fround(fround(g * g) * squareFactor));
    const direction = fround(m / fround(fround(Math.sqrt(v)) + epsilon));
    const w = fround(fround(weights.values[at]! * keep) - fround(direction * stepSize));
    weights.values[at] = w;
    moment1.values[at] = m;
    moment2.values[at] = v;
  }
}

type KernelFactors = readonly [
  beta1: number,
  gradientFactor: number,
  beta2: number,
  squareFactor: number,
  epsilon: number,
  stepSize: number,
  keep: number,
];

interface KernelExports {
  /** Bytes from the arrays' start, multiples of 16, start < end. */
  adamw(start: number, end: number, ...factors: KernelFactors): void;
  /** Multiples of 32. */
  squares(start: number, end: number): number;
}

/** Each array's place is its lane, see wasm/flat-array.ts. */
export const MEMORIES = ["weights", "moment1", "moment2", "gradient"] as const;
const [WEIGHTS, MOMENT1, MOMENT2, GRADIENT] = [0, 1, 2, 3];
/** Place of the addend. */
export const ADDEND = 4;
const LANES = 4;
const SQUARES_AT_ONCE = 8;

const modules = new Map<string, WebAssembly.Module>();

function compiled(memories: readonly string[], isShared: boolean): WebAssembly.Module {
  const key = `${memories} ${isShared}`;
  let module = modules.get(key);
  if (module === undefined) {
    const functions = [adamwFunction(), squaresFunction(memories.length > ADDEND)];
    module = new WebAssembly.Module(assemble(memories, functions, isShared));
    modules.set(key, module);
  }
  return module;
}

const lane = (memory: number) => memory * LANE_BYTES;
const read = (memory: number, address: Code) => load(memory, address, lane(memory));
const write = (memory: number, address: Code, value: Code) => store(memory, address, value, lane(memory));

function adamwFunction() {
  const { splat, add, sub, mul, div, sqrt } = f32x4;
  // Parameters: where, up to where, seven factors. Locals: the factors four times over, then g, w, m and v.
  const [address, end, firstFactor] = [0, 1, 2] as const;
  const firstVector = firstFactor + 7;
  const vector = (at: number) => get(firstVector + at);
  const [beta1, gradientFactor, beta2, squareFactor] = [vector(0), vector(1), vector(2), vector(3)] as const;
  const [epsilon, stepSize, keep] = [vector(4), vector(5), vector(6)] as const;
  const [g, w, m, v] = [firstVector + 7, firstVector + 8, firstVector + 9, firstVector + 10] as const;
  // All four are read before the first is written: a store holds up loads from other arrays that may be the same place.
  const step = [
    ...set(g, read(GRADIENT, get(address))),
    ...set(w, read(WEIGHTS, get(address))),
    ...set(m, add(mul(read(MOMENT1, get(address)), beta1), mul(get(g), gradientFactor))),
    ...set(v, add(mul(read(MOMENT2, get(address)), beta2), mul(mul(get(g), get(g)), squareFactor))),
    ...write(MOMENT1, get(address), get(m)),
    ...write(MOMENT2, get(address), get(v)),
    ...write(
      WEIGHTS,
      get(address),
      sub(mul(get(w), keep), mul(div(get(m), add(sqrt(get(v)), epsilon)), stepSize)),
    ),
  ];
  const factors = [0, 1, 2, 3, 4, 5, 6];
  return {
    name: "adamw",
    parameters: ["i32", "i32", ...factors.map(() => "f32" as const)],
    locals: [...factors, g, w, m, v].map(() => "v128" as const),
    body: [
      ...factors.flatMap((at) => set(firstVector + at, splat(get(firstFactor + at)))),
      ...loop(address, end, 4 * LANES, step),
    ],
  } satisfies WasmFunction;
}

/** Four sums of two float64 each, so that no addition waits for the one before. */
function squaresFunction(addsUp: boolean) {
  const { add, mul, fromLow, fromHigh, lane: laneOf } = f64x2;
  const [address, end, x, wide] = [0, 1, 2, 3] as const;
  const sums = [4, 5, 6, 7];
  const addSquare = (sum: number, numbers: Code) => [
    ...set(wide, numbers),
    ...set(sum, add(get(sum), mul(get(wide), get(wide)))),
  ];
  const numbers = (memory: number, half: number) =>
    load(memory, get(address), lane(memory) + 4 * LANES * half);
  const gradient = (half: number) => [
    ...set(x, f32x4.add(numbers(GRADIENT, half), numbers(ADDEND, half))),
    ...store(GRADIENT, get(address), get(x), lane(GRADIENT) + 4 * LANES * half),
  ];
  const step = [0, 1].flatMap((half) => [
    ...(addsUp ? gradient(half) : set(x, numbers(GRADIENT, half))),
    ...addSquare(sums[2 * half]!, fromLow(get(x))),
    ...addSquare(sums[2 * half + 1]!, fromHigh(get(x))),
  ]);
  const total = add(add(get(4), get(5)), add(get(6), get(7)));
  return {
    name: "squares",
    parameters: ["i32", "i32"],
    result: "f64",
    locals: [x, wide, ...sums].map(() => "v128" as const),
    body: [
      ...loop(address, end, 4 * SQUARES_AT_ONCE, step),
      ...set(x, total),
      ...f64.add(laneOf(get(x), 0), laneOf(get(x), 1)),
    ],
  } satisfies WasmFunction;
}
