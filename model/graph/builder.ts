// Builds graphs: one method per operation, shapes checked as they are written, names from nested scopes.

import { GraphError } from "../errors.ts";
import {
  type AnyNode,
  type Constant,
  type DataType,
  elementCount,
  type Graph,
  type Op,
  type OpAttributes,
  type Shape,
  sameShape,
  type Value,
} from "./ops.ts";
import { inferOutputs } from "./shapes.ts";

/** Options of matMul; all default to the plain product. */
export interface MatMulOptions {
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  readonly alpha?: number;
}

/** Consecutive nodes, `nodes.slice(start, end)`, whose values hardly anything outside needs: a block of a model. */
export interface Segment {
  readonly start: number;
  readonly end: number;
}

export class GraphBuilder {
  readonly #inputs: Value[] = [];
  readonly #inputNames = new Set<string>();
  readonly #constants: Constant[] = [];
  readonly #scalars = new Map<number, Value>();
  readonly #nodes: AnyNode[] = [];
  readonly #scopes: string[] = [];
  readonly #segments: Segment[] = [];
  #nextId = 0;

  /** Nodes so far, in order: what reverse-mode differentiation walks. */
  get nodes(): readonly AnyNode[] {
    return this.#nodes;
  }

  /** Those that `segment` marked, in order. */
  get segments(): readonly Segment[] {
    return this.#segments;
  }

  /** Marks what `build` makes as one segment; segments do not nest. Differentiation goes through them one by one. */
  segment<T>(build: () => T): T {
    const start = this.#nodes.length;
    const result = build();
    this.#segments.push({ start, end: this.#nodes.length });
    return result;
  }

  /** Everything `build` makes is named under `name/`. */
  scope<T>(name: string, build: () => T): T {
    this.#scopes.push(name);
    try {
      return build();
    } finally {
      this.#scopes.pop();
    }
  }

  input(name: string, shape: Shape, type: DataType = "float"): Value {
    if (this.#inputNames.has(name)) throw new GraphError(name, "two inputs have this name");
    this.#inputNames.add(name);
    const value: Value = { id: this.#nextId++, name, type, shape };
    this.#inputs.push(value);
    return value;
  }

  constant(data: Float64Array | Int32Array, shape: Shape): Value {
    if (data.length !== elementCount(shape)) {
      throw new GraphError("constant", `${data.length} elements do not fill [${shape.join(",")}]`);
    }
    const value = this.#value("constant", data instanceof Int32Array ? "int32" : "float", shape);
    this.#constants.push({ value, data });
    return value;
  }

  /** A constant of rank 0. Equal numbers share one value. */
  scalar(number: number): Value {
    let value = this.#scalars.get(number);
    if (value === undefined) {
      value = this.constant(Float64Array.of(number), []);
      this.#scalars.set(number, value);
    }
    return value;
  }

  add = (a: Value, b: Value): Value => this.#apply1("add", [a, b], {});
  sub = (a: Value, b: Value): Value => this.#apply1("sub", [a, b], {});
  mul = (a: Value, b: Value): Value => this.#apply1("mul", [a, b], {});
  div = (a: Value, b: Value): Value => this.#apply1("div", [a, b], {});
  minimum = (a: Value, b: Value): Value => this.#apply1("minimum", [a, b], {});
  neg = (x: Value): Value => this.#apply1("neg", [x], {});
  exp = (x: Value): Value => this.#apply1("exp", [x], {});
  log = (x: Value): Value => this.#apply1("log", [x], {});
  sqrt = (x: Value): Value => this.#apply1("sqrt", [x], {});
  erf = (x: Value): Value => this.#apply1("erf", [x], {});
  gelu = (x: Value): Value => this.#apply1("gelu", [x], {});
  hardSigmoid = (x: Value, alpha: number, beta: number): Value =>
    this.#apply1("hardSigmoid", [x], { alpha, beta });
  softmax = (x: Value): Value => this.#apply1("softmax", [x], {});
  sumSquares = (x: Value): Value => this.#apply1("sumSquares", [x], {});
  gather = (table: Value, ids: Value): Value => this.#apply1("gather", [table, ids], {});
  scatterAdd = (base: Value, ids: Value, rows: Value): Value =>
    this.#apply1("scatterAdd", [base, ids, rows], {});

  matMul(a: Value, b: Value, options: MatMulOptions = {}): Value {
    const { transposeA = false, transposeB = false, alpha = 1 } = options;
    return this.#apply1("matMul", [a, b], { transposeA, transposeB, alpha });
  }

  matMulInBlocks = (a: Value, b: Value): Value => this.#apply1("matMulInBlocks", [a, b], {});

  cast = (x: Value, to: "float" | "half"): Value => this.#apply1("cast", [x], { to });

  /** Returns `x` itself where nothing changes. */
  reshape(x: Value, shape: Shape): Value {
    return sameShape(x.shape, shape) ? x : this.#apply1("reshape", [x], { shape });
  }

  transpose(x: Value, permutation: readonly number[]): Value {
    return this.#apply1("transpose", [x], { permutation });
  }

  /** Returns `x` itself where nothing changes. */
  broadcast(x: Value, shape: Shape): Value {
    return sameShape(x.shape, shape) ? x : this.#apply1("broadcast", [x], { shape });
  }

  /** Returns `x` itself where there is but one part. */
  split(x: Value, axis: number, sizes: readonly number[]): readonly Value[] {
    return sizes.length === 1 && sizes[0] === x.shape[axis] ? [x] : this.apply("split", [x], { axis, sizes });
  }

  /** Returns `x` itself where it has to wait for nothing. */
  after(x: Value, others: readonly Value[]): Value {
    return others.length === 0 ? x : this.#apply1("after", [x, ...others], {});
  }

  /** Returns the one input itself where there is but one. */
  concat(inputs: readonly Value[], axis: number): Value {
    return inputs.length === 1 ? inputs[0]! : this.#apply1("concat", inputs, { axis });
  }

  reduceSum(x: Value, axes: readonly number[], keepDims = false): Value {
    return axes.length === 0 ? x : this.#apply1("reduceSum", [x], { axes, keepDims });
  }

  /** Returns what the heads mix; see graph/ops.ts. */
  attention(query: Value, key: Value, value: Value, biases: readonly Value[], alpha: number): Value {
    return this.#apply1("attention", [query, key, value, ...biases], { alpha });
  }

  layerNorm(x: Value, weight: Value, epsilon: number) {
    const [y, mean, inverseDeviation] = this.apply("layerNorm", [x, weight], { epsilon });
    return { y: y!, mean: mean!, inverseDeviation: inverseDeviation! };
  }

  linearCrossEntropy(hidden: Value, head: Value, targets: Value) {
    const [nats, probabilities] = this.apply("linearCrossEntropy", [hidden, head, targets], {});
    return { nats: nats!, probabilities: probabilities! };
  }

  /** Appends one node of any operation; the methods above are its typed shorthands. */
  apply<O extends Op>(op: O, inputs: readonly Value[], attributes: OpAttributes[O]): readonly Value[] {
    const outputs = inferOutputs(op, inputs, attributes).map(({ type, shape }) =>
      this.#value(op, type, shape),
    );
    this.#nodes.push({ op, attributes, inputs, outputs } as unknown as AnyNode);
    return outputs;
  }

  /** The graph that computes `outputs`; nodes, constants and inputs that no output needs are left out. */
  build(outputs: Readonly<Record<string, Value>>): Graph {
    const needed = new Set(Object.values(outputs));
    const nodes: AnyNode[] = [];
    for (const node of this.#nodes.toReversed()) {
      if (!node.outputs.some((value) => needed.has(value))) continue;
      nodes.push(node);
      for (const value of node.inputs) needed.add(value);
    }
    return {
      inputs: this.#inputs.filter((value) => needed.has(value)),
      constants: this.#constants.filter(({ value }) => needed.has(value)),
      nodes: nodes.reverse(),
      outputs: new Map(Object.entries(outputs)),
    };
  }

  #apply1<O extends Op>(op: O, inputs: readonly Value[], attributes: OpAttributes[O]): Value {
    return this.apply(op, inputs, attributes)[0]!;
  }

  #value(kind: string, type: DataType, shape: Shape): Value {
    const id = this.#nextId++;
    return { id, name: [...this.#scopes, `${kind}.${id}`].join("/"), type, shape };
  }
}
