// The vocabulary of the IR: every operation with its attributes, and the types that graphs are made of.
// An operation is added here first; the compiler then refuses graph/shapes.ts, runtime/kernels.ts, autodiff/rules.ts and
// onnx/emitters.ts until each has an entry for it, and the tests until it has a sample in testing/op-samples.ts.

export type Shape = readonly number[];
/**
 * `float` is float32 on a device and float64 in the interpreter; `half` is float16 everywhere, and only what half-products.ts
 * puts between products. `int32` holds token ids.
 */
export type DataType = "float" | "half" | "int32";

/** A tensor in the graph: static shape, made once, never changed. */
export interface Value {
  readonly id: number;
  /** Readable and unique in its graph, e.g. `blocks.0/attn/matMul.17`. */
  readonly name: string;
  readonly type: DataType;
  readonly shape: Shape;
}

type None = Readonly<Record<never, never>>;

/** Every operation -> its attributes. Elementwise operations of two inputs broadcast as NumPy does. */
export interface OpAttributes {
  readonly add: None;
  readonly sub: None;
  readonly mul: None;
  readonly div: None;
  /** Smaller of two; used by the optimizer only. */
  readonly minimum: None;
  readonly neg: None;
  readonly exp: None;
  readonly log: None;
  readonly sqrt: None;
  readonly erf: None;
  /** max(0, min(1, alpha * x + beta)): one pass for two, where alpha * x + beta lies between 0 and 1 anyway. */
  readonly hardSigmoid: { readonly alpha: number; readonly beta: number };
  /** x * Phi(x) with the exact normal distribution function, not its tanh approximation. */
  readonly gelu: None;
  /** alpha * op(a) @ op(b); ranks equal and >= 2, leading (batch) sizes equal, op transposes the last two axes. */
  readonly matMul: { readonly transposeA: boolean; readonly transposeB: boolean; readonly alpha: number };
  /** (a[k, blocks, m], b[k, n]) -> [blocks, m, n]: a^T @ b, one block of a's m columns after the other. */
  readonly matMulInBlocks: None;
  /** Rounds to half, or widens. */
  readonly cast: { readonly to: "float" | "half" };
  readonly reshape: { readonly shape: Shape };
  /** Output axis i is input axis permutation[i]. */
  readonly transpose: { readonly permutation: readonly number[] };
  /** Repeats along missing and size-1 axes up to `shape`. */
  readonly broadcast: { readonly shape: Shape };
  /** Consecutive parts of these sizes along an axis: one output per part. Takes ids as well. */
  readonly split: { readonly axis: number; readonly sizes: readonly number[] };
  readonly concat: { readonly axis: number };
  readonly reduceSum: { readonly axes: readonly number[]; readonly keepDims: boolean };
  /** Sum of squares of all elements: a scalar. */
  readonly sumSquares: None;
  /**
   * (x, ...others) -> x, computed when the others are there. A runtime orders nodes by their inputs alone, and left to
   * itself keeps values alive that an order with more sense would have freed. Not finite where the others are not.
   */
  readonly after: None;
  /** Over the last axis. */
  readonly softmax: None;
  /**
   * Causal attention, (query, key, value [B, H, T, h], biases [1, H, C, E]) -> (mixed [B, H, T, h], probabilities
   * [B, H, C, E]): mixed = P @ value, P = softmax(alpha * query @ key^T + bias). Queries go in consecutive chunks of C rows,
   * each of which sees the E keys up to its own end and no other: one bias and one P for each. One operation, because its
   * gradient needs less than those of its parts (see autodiff/rules.ts). The biases are constants. In half, P is float still.
   */
  readonly attention: { readonly alpha: number };
  /** (x[..., d], weight[d]) -> (normalised x * weight, mean[..., 1], 1/sqrt(variance + epsilon)[..., 1]). */
  readonly layerNorm: { readonly epsilon: number };
  /** (table[v, d], ids[n]) -> rows[n, d]. */
  readonly gather: None;
  /** (base[v, d], ids[n], rows[n, d]) -> base with row i added at ids[i]; repeated ids add up. */
  readonly scatterAdd: None;
  /**
   * (hidden[n, d], head[v, d], targets[n]) -> (nats[n], probabilities[n, v]): cross-entropy of softmax(hidden @ head^T).
   * One operation, because its gradient needs no [n, v] tensor but the probabilities (see autodiff/rules.ts). Of halves it
   * gives floats.
   */
  readonly linearCrossEntropy: None;
}

export type Op = keyof OpAttributes;

/** One application of an operation. `O` is the operation's name, so tables over operations are typed entry by entry. */
export interface Node<O extends Op = Op> {
  readonly op: O;
  readonly attributes: OpAttributes[O];
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
}

/** A node whose operation is known by its tag: switching on `op` narrows the attributes. */
export type AnyNode = { [O in Op]: Node<O> }[Op];

export interface Constant {
  readonly value: Value;
  /** Row-major, in float64: rounded to float32 only where it is emitted. */
  readonly data: Float64Array | Int32Array;
}

/** A finished program: nodes in an order in which every value is made before it is used. */
export interface Graph {
  readonly inputs: readonly Value[];
  readonly constants: readonly Constant[];
  readonly nodes: readonly AnyNode[];
  /** Public name -> value. */
  readonly outputs: ReadonlyMap<string, Value>;
}

export function elementCount(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}
