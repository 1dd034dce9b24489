// Where a group of tensors lives between steps. On the host: one flat array to read and one to write, swapped after each
// step, so that a step never writes what it reads and a failed step changes nothing. On a device: the last step's outputs.
import { TensorSizeError } from "../errors.ts";
import { elementCount } from "../graph/ops.ts";
import type { TensorSpec } from "../types.ts";
import type { ReadBack } from "./read-back.ts";
import { type DeviceTensor, hostTensor } from "./session.ts";

type Tensors = Readonly<Record<string, DeviceTensor>>;

/** Tensors of one group and kind (weights, or one of the moments), fed to a step and replaced by its outputs. */
export interface StepState {
  /** Input name -> current tensor. */
  feeds(): Tensors;
  /** Output name -> where the step is to write, or null where it is to allocate. */
  fetches(): Readonly<Record<string, DeviceTensor | null>>;
  /** Takes the step's outputs as the current values. Without it the step has not happened. */
  commit(outputs: Tensors): void;
  /** Drops the outputs of a step that is not to happen. */
  discard(outputs: Tensors): void;
  /** A copy, flat in the order of the specs. */
  read(): Promise<Float32Array>;
  /** Throws TensorSizeError where `flat` has another length. */
  check(flat: Float32Array): void;
  write(flat: Float32Array): void;
  /** Sets every value to zero. */
  clear(): void;
  dispose(): void;
}

/** Names of a tensor as an input of the step, and as its output. */
export interface StateNames {
  readonly label: string;
  input(tensor: string): string;
  output(tensor: string): string;
}

export class HostState implements StepState {
  readonly #label: string;
  #current: { flat: Float32Array; feeds: Tensors; fetches: Tensors };
  #next: { flat: Float32Array; feeds: Tensors; fetches: Tensors };

  /** `inPlace`: a step writes over what it reads, for a sum of which each step only adds its part; one array, not two. */
  constructor(specs: readonly TensorSpec[], names: StateNames, { inPlace = false } = {}) {
    this.#label = names.label;
    const side = () => {
      const flat = new Float32Array(specs.reduce((sum, { shape }) => sum + elementCount(shape), 0));
      const views = viewTensors(flat, specs);
      return {
        flat,
        feeds: Object.fromEntries(views.map(([name, tensor]) => [names.input(name), tensor])),
        fetches: Object.fromEntries(views.map(([name, tensor]) => [names.output(name), tensor])),
      };
    };
    this.#current = side();
    this.#next = inPlace ? this.#current : side();
  }

  feeds(): Tensors {
    return this.#current.feeds;
  }

  fetches(): Tensors {
    return this.#next.fetches;
  }

  commit(): void {
    [this.#current, this.#next] = [this.#next, this.#current];
  }

  discard(): void {}

  async read(): Promise<Float32Array> {
    return this.#current.flat.slice();
  }

  check(flat: Float32Array): void {
    checkLength(this.#label, this.#current.flat.length, flat);
  }

  write(flat: Float32Array): void {
    this.check(flat);
    this.#current.flat.set(flat);
  }

  clear(): void {
    this.#current.flat.fill(0);
  }

  dispose(): void {}
}

/** Kept on the device (webgpu): every step allocates its outputs there, and what they replace is freed. */
export class ResidentState implements StepState {
  readonly #specs: readonly TensorSpec[];
  readonly #names: StateNames;
  readonly #readBack: ReadBack;
  readonly #length: number;
  #tensors: readonly DeviceTensor[];

  constructor(specs: readonly TensorSpec[], names: StateNames, readBack: ReadBack) {
    this.#specs = specs;
    this.#names = names;
    this.#readBack = readBack;
    this.#length = specs.reduce((sum, { shape }) => sum + elementCount(shape), 0);
    this.#tensors = viewTensors(new Float32Array(this.#length), specs).map(([, tensor]) => tensor);
  }

  feeds(): Tensors {
    return Object.fromEntries(
      this.#specs.map(({ name }, at) => [this.#names.input(name), this.#tensors[at]!]),
    );
  }

  fetches(): Readonly<Record<string, null>> {
    return Object.fromEntries(this.#specs.map(({ name }) => [this.#names.output(name), null]));
  }

  commit(outputs: Tensors): void {
    this.dispose();
    this.#tensors = this.#specs.map(({ name }) => outputs[this.#names.output(name)]!);
  }

  discard(outputs: Tensors): void {
    for (const { name } of this.#specs) outputs[this.#names.output(name)]!.dispose();
  }

  read(): Promise<Float32Array> {
    return this.#readBack.read(this.#tensors);
  }

  check(flat: Float32Array): void {
    checkLength(this.#names.label, this.#length, flat);
  }

  write(flat: Float32Array): void {
    this.check(flat);
    this.dispose();
    this.#tensors = viewTensors(flat.slice(), this.#specs).map(([, tensor]) => tensor);
  }

  clear(): void {
    this.write(new Float32Array(this.#length));
  }

  dispose(): void {
    for (const tensor of this.#tensors) tensor.dispose();
  }
}

function viewTensors(
  flat: Float32Array,
  specs: readonly TensorSpec[],
): [name: string, tensor: DeviceTensor][] {
  let start = 0;
  return specs.map(({ name, shape }) => {
    const end = start + elementCount(shape);
    const tensor = hostTensor(flat.subarray(start, end), shape);
    start = end;
    return [name, tensor];
  });
}

function checkLength(label: string, expected: number, flat: Float32Array): void {
  if (flat.length !== expected) throw new TensorSizeError(label, expected, flat.length);
}
