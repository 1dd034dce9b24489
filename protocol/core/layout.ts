// Where each body tensor lies in the flat body. Owns the bounds that a layout from the network must respect;
// knows nothing of what the tensors mean.
import { LayoutError } from "../errors.ts";
import { canonicalJsonBytes } from "./canonical-json.ts";
import type { Hash } from "./hash.ts";
import { utf8 } from "./hash.ts";
import type { TensorSpec } from "./types.ts";

/** The paper's largest body is 1.2e9 values; beyond 2^31 - 1 typed arrays of float64 stop being practical. */
export const MAX_BODY_VALUES = 2 ** 31 - 1;
/** The paper's largest body has 145 tensors. */
export const MAX_TENSORS = 4096;
const MAX_RANK = 4;
/** Printable and free of separators, so that a name can stand in logs, errors and file formats. */
const TENSOR_NAME = /^[A-Za-z0-9_.-]{1,128}$/;

/** A tensor's place in the flat body: values `offset` to `offset + length`, row-major. */
export interface TensorSlot extends TensorSpec {
  readonly offset: number;
  readonly length: number;
}

export interface ParameterLayout {
  /** In body order. */
  readonly tensors: readonly TensorSlot[];
  /** Values in the body. */
  readonly total: number;
  /** SHA-256 of "glossa/layout/1\n" and the canonical JSON of the specs: two layouts are equal iff these are. */
  readonly digest: Uint8Array;
}

/** Throws LayoutError where a name, a shape or the size is out of bounds. */
export function parameterLayout(specs: readonly TensorSpec[], hash: Hash): ParameterLayout {
  if (specs.length === 0) throw new LayoutError("it has no tensors");
  if (specs.length > MAX_TENSORS) throw new LayoutError(`it has more than ${MAX_TENSORS} tensors`);
  const names = new Set<string>();
  const tensors: TensorSlot[] = [];
  let total = 0;
  for (const { name, shape } of specs) {
    if (!TENSOR_NAME.test(name)) {
      throw new LayoutError(`the tensor name ${JSON.stringify(name.slice(0, 40))} is not allowed`);
    }
    if (names.has(name)) throw new LayoutError(`two tensors are called ${name}`, name);
    names.add(name);
    const length = valuesIn(name, shape);
    tensors.push({ name, shape: [...shape], offset: total, length });
    total += length;
    if (total > MAX_BODY_VALUES) throw new LayoutError(`it has more than ${MAX_BODY_VALUES} values`, name);
  }
  return { tensors, total, digest: hash(layoutBytes(specs)) };
}

/** Vectors (norm weights) are under 0.1% of a body and scale whole channels: codecs keep them as float32. */
export const isVector = (tensor: TensorSpec): boolean => tensor.shape.length === 1;

/** The tensor that the flat index belongs to. */
export function tensorAt(layout: ParameterLayout, index: number): TensorSlot {
  let low = 0;
  let high = layout.tensors.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (layout.tensors[middle]!.offset <= index) low = middle;
    else high = middle - 1;
  }
  return layout.tensors[low]!;
}

function valuesIn(name: string, shape: readonly number[]): number {
  if (shape.length === 0 || shape.length > MAX_RANK) {
    throw new LayoutError(`${name} has ${shape.length} axes instead of 1 to ${MAX_RANK}`, name);
  }
  let values = 1;
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 1 || size > MAX_BODY_VALUES) {
      throw new LayoutError(`${name} has an axis of size ${size}`, name);
    }
    // Checked at each axis: the product stays below 2^62, and a float64 that large still compares correctly.
    values *= size;
    if (values > MAX_BODY_VALUES)
      throw new LayoutError(`${name} has more than ${MAX_BODY_VALUES} values`, name);
  }
  return values;
}

function layoutBytes(specs: readonly TensorSpec[]): Uint8Array {
  const prefix = utf8("glossa/layout/1\n");
  const json = canonicalJsonBytes(specs.map(({ name, shape }) => ({ name, shape: [...shape] })));
  const bytes = new Uint8Array(prefix.length + json.length);
  bytes.set(prefix);
  bytes.set(json, prefix.length);
  return bytes;
}
