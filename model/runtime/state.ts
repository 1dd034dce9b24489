// Where a group of tensors lives between steps. On the host: flat arrays that change in place. On a device: the last step's
// outputs, so that a failed step changes nothing.
import { TensorSizeError } from "../errors.ts";
import { elementCount } from "../graph/ops.ts";
import type { TensorSpec } from "../types.ts";
import { allocateFlat, type FlatArray, MAX_FLAT_LENGTH } from "../wasm/flat-array.ts";
import type { ReadBack } from "./read-back.ts";
import { type DeviceTensor, hostTensor } from "./session.ts";

type Tensors = Readonly<Record<string, DeviceTensor>>;

/** Tensors of one group and kind (weights, one of the moments, gradients), flat in the order of their specs. */
export interface State {
  /** Input name -> current tensor. */
  feeds(): Tensors;
  /** A copy. */
  read(): Promise<Float32Array>;
  /** Throws TensorSizeError where `flat` has another length. */
  check(flat: Float32Array): void;
  write(flat: Float32Array): void;
  /** Sets every value to zero. */
  clear(): void;
}

/** Names of a tensor as an input of a step, and as its output. */
export interface StateNames {
  readonly label: string;
  input(tensor: string): string;
  output(tensor: string): string;
}

/** A tensor of a state: its names as an input and an output, and its part of a flat array. */
export interface NamedValues {
  readonly input: string;
  readonly output: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** Consecutive tensors that lie in one flat array. */
export interface Piece {
  readonly specs: readonly TensorSpec[];
  readonly flat: FlatArray;
}

export interface HostMemory {
  /** Which of the arrays that are gone through side by side, see wasm/flat-array.ts. */
  readonly lane: number;
  /** Between threads. Default false. */
  readonly shared?: boolean;
  /** Values of one flat array. */
  readonly maxLength?: number | undefined;
}

export class HostState implements State {
  readonly #label: string;
  readonly #feeds: Tensors;
  readonly #length: number;
  readonly tensors: readonly NamedValues[];
  /** One, unless the group is larger than an array may be. */
  readonly pieces: readonly Piece[];

  constructor(
    specs: readonly TensorSpec[],
    names: StateNames,
    { lane, shared = false, maxLength = MAX_FLAT_LENGTH }: HostMemory,
  ) {
    this.#label = names.label;
    this.#length = lengthOf(specs);
    this.pieces = cut(specs, maxLength).map((part) => ({
      specs: part,
      flat: allocateFlat(lengthOf(part), lane, shared),
    }));
    this.tensors = this.pieces.flatMap(({ specs: part, flat }) =>
      viewValues(flat.values, part).map(({ name, shape, values }) => ({
        ...{ input: names.input(name), output: names.output(name) },
        ...{ shape, values },
      })),
    );
    this.#feeds = Object.fromEntries(
      this.tensors.map(({ input, shape, values }) => [input, hostTensor(values, shape)]),
    );
  }

  feeds(): Tensors {
    return this.#feeds;
  }

  async read(): Promise<Float32Array> {
    const copy = new Float32Array(this.#length);
    this.#forEachPiece(({ flat: { values } }, start) => copy.set(values, start));
    return copy;
  }

  check(flat: Float32Array): void {
    checkLength(this.#label, this.#length, flat);
  }

  write(flat: Float32Array): void {
    this.check(flat);
    this.#forEachPiece(({ flat: { values } }, start) =>
      values.set(flat.subarray(start, start + values.length)),
    );
  }

  clear(): void {
    for (const { flat } of this.pieces) flat.values.fill(0);
  }

  #forEachPiece(visit: (piece: Piece, start: number) => void): void {
    let start = 0;
    for (const piece of this.pieces) {
      visit(piece, start);
      start += piece.flat.values.length;
    }
  }
}

/** In host memory twice: a step reads one and writes the other, and `swap` says that it has happened. */
export class PairedState implements State {
  #current: HostState;
  #other: HostState;

  constructor(specs: readonly TensorSpec[], names: StateNames) {
    this.#current = new HostState(specs, names, { lane: 0 });
    this.#other = new HostState(specs, names, { lane: 0 });
  }

  feeds(): Tensors {
    return this.#current.feeds();
  }

  /** Output name -> the tensor that a step is to write. */
  fetches(): Tensors {
    return Object.fromEntries(
      this.#other.tensors.map(({ output, shape, values }) => [output, hostTensor(values, shape)]),
    );
  }

  swap(): void {
    [this.#current, this.#other] = [this.#other, this.#current];
  }

  read(): Promise<Float32Array> {
    return this.#current.read();
  }

  check(flat: Float32Array): void {
    this.#current.check(flat);
  }

  write(flat: Float32Array): void {
    this.#current.write(flat);
  }

  clear(): void {
    this.#current.clear();
  }
}

/** Kept on the device (webgpu): every step allocates its outputs there, and what they replace is freed. */
export class ResidentState implements State {
  readonly #specs: readonly TensorSpec[];
  readonly #names: StateNames;
  readonly #readBack: ReadBack;
  readonly #length: number;
  #tensors: readonly DeviceTensor[];

  constructor(specs: readonly TensorSpec[], names: StateNames, readBack: ReadBack) {
    this.#specs = specs;
    this.#names = names;
    this.#readBack = readBack;
    this.#length = lengthOf(specs);
    this.#tensors = viewTensors(new Float32Array(this.#length), specs).map(([, tensor]) => tensor);
  }

  feeds(): Tensors {
    return Object.fromEntries(
      this.#specs.map(({ name }, at) => [this.#names.input(name), this.#tensors[at]!]),
    );
  }

  /** Output name -> null: the step is to allocate it. */
  fetches(): Readonly<Record<string, null>> {
    return Object.fromEntries(this.#specs.map(({ name }) => [this.#names.output(name), null]));
  }

  /** Takes the step's outputs as the current values. Without it the step has not happened. */
  commit(outputs: Tensors): void {
    this.dispose();
    this.#tensors = this.#specs.map(({ name }) => outputs[this.#names.output(name)]!);
  }

  /** Drops the outputs of a step that is not to happen. */
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

function lengthOf(specs: readonly TensorSpec[]): number {
  return specs.reduce((sum, { shape }) => sum + elementCount(shape), 0);
}

/** As few runs of consecutive tensors as fit into `maxLength` values each; a tensor is never cut. */
function cut(specs: readonly TensorSpec[], maxLength: number): TensorSpec[][] {
  const parts: TensorSpec[][] = [];
  let room = 0;
  for (const spec of specs) {
    const length = elementCount(spec.shape);
    if (length > room) {
      parts.push([]);
      room = maxLength;
    }
    parts.at(-1)!.push(spec);
    room -= length;
  }
  return parts;
}

function viewTensors(
  flat: Float32Array,
  specs: readonly TensorSpec[],
): [name: string, tensor: DeviceTensor][] {
  return viewValues(flat, specs).map(({ name, shape, values }) => [name, hostTensor(values, shape)]);
}

function viewValues(flat: Float32Array, specs: readonly TensorSpec[]) {
  let start = 0;
  return specs.map(({ name, shape }) => {
    const end = start + elementCount(shape);
    const values = flat.subarray(start, end);
    start = end;
    return { name, shape, values };
  });
}

function checkLength(label: string, expected: number, flat: Float32Array): void {
  if (flat.length !== expected) throw new TensorSizeError(label, expected, flat.length);
}
