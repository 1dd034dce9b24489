// Shape and type rule of every operation: what its outputs are, given its inputs. Refuses what does not fit.
import { GraphError } from "../errors.ts";
import {
  type DataType,
  elementCount,
  type Op,
  type OpAttributes,
  type Shape,
  sameShape,
  type Value,
} from "./ops.ts";

export interface OutputType {
  readonly type: DataType;
  readonly shape: Shape;
}

type ShapeRule<O extends Op> = (
  inputs: readonly Value[],
  attributes: OpAttributes[O],
) => readonly OutputType[];

/** Types of the outputs of `op`; throws GraphError where the inputs do not fit. */
export function inferOutputs<O extends Op>(
  op: O,
  inputs: readonly Value[],
  attributes: OpAttributes[O],
): readonly OutputType[] {
  try {
    return shapeRules[op](inputs, attributes);
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    const given = inputs.map((value) => `${value.type}[${value.shape.join(",")}]`).join(", ");
    throw new GraphError(op, `${error.message}, given (${given}) ${JSON.stringify(attributes)}`);
  }
}

/** NumPy broadcasting of two shapes, or undefined where they do not go together. */
export function broadcastShapes(a: Shape, b: Shape): Shape | undefined {
  const rank = Math.max(a.length, b.length);
  const shape: number[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const sizeA = a[axis - rank + a.length] ?? 1;
    const sizeB = b[axis - rank + b.length] ?? 1;
    if (sizeA !== sizeB && sizeA !== 1 && sizeB !== 1) return undefined;
    shape.push(sizeA === 1 ? sizeB : sizeA);
  }
  return shape;
}

class Misfit extends Error {}

function must(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Misfit(what);
}

function checkTypes(inputs: readonly Value[], ...types: DataType[]): Shape[] {
  must(inputs.length === types.length, `takes ${types.length} inputs`);
  must(
    inputs.every((value, index) => value.type === types[index]),
    `takes inputs of type ${types.join(", ")}`,
  );
  return inputs.map((value) => value.shape);
}

/** Shapes of inputs that are all float or all half, and which of the two. */
function checkReal(inputs: readonly Value[], count = inputs.length): { type: DataType; shapes: Shape[] } {
  const type = inputs[0]?.type === "half" ? "half" : "float";
  return { type, shapes: checkTypes(inputs, ...Array.from({ length: count }, () => type)) };
}

const float = (shape: Shape): OutputType => ({ type: "float", shape });

function elementwise(inputs: readonly Value[]): readonly OutputType[] {
  const [shape] = checkTypes(inputs, "float") as [Shape];
  return [float(shape)];
}

function broadcasting(inputs: readonly Value[]): readonly OutputType[] {
  const [a, b] = checkTypes(inputs, "float", "float") as [Shape, Shape];
  const shape = broadcastShapes(a, b);
  must(shape !== undefined, "shapes do not broadcast");
  return [float(shape)];
}

function validAxis(axis: number, shape: Shape): boolean {
  return Number.isInteger(axis) && axis >= 0 && axis < shape.length;
}

const shapeRules: { readonly [O in Op]: ShapeRule<O> } = {
  add: broadcasting,
  sub: broadcasting,
  mul: broadcasting,
  div: broadcasting,
  minimum: broadcasting,
  neg: elementwise,
  exp: elementwise,
  log: elementwise,
  sqrt: elementwise,
  erf: elementwise,
  gelu: elementwise,
  hardSigmoid: elementwise,

  matMul(inputs, { transposeA, transposeB }) {
    const { type, shapes } = checkReal(inputs, 2);
    const [a, b] = shapes as [Shape, Shape];
    const rank = a.length;
    must(rank >= 2 && b.length === rank, "takes two tensors of one rank, 2 or more");
    must(sameShape(a.slice(0, -2), b.slice(0, -2)), "batch sizes differ");
    const [rows, innerA] = lastTwo(a, transposeA);
    const [innerB, columns] = lastTwo(b, transposeB);
    must(innerA === innerB, `inner sizes ${innerA} and ${innerB} differ`);
    return [{ type, shape: [...a.slice(0, -2), rows, columns] }];
  },

  matMulInBlocks(inputs) {
    const { type, shapes } = checkReal(inputs, 2);
    const [a, b] = shapes as [Shape, Shape];
    must(a.length === 3 && b.length === 2 && a[0] === b[0], "takes a[k,blocks,m] and b[k,n]");
    return [{ type, shape: [a[1]!, a[2]!, b[1]!] }];
  },

  cast(inputs, { to }) {
    const [shape] = checkTypes(inputs, to === "half" ? "float" : "half") as [Shape];
    return [{ type: to, shape }];
  },

  reshape(inputs, { shape }) {
    const { type, shapes } = checkReal(inputs, 1);
    must(elementCount(shapes[0]!) === elementCount(shape), "the number of elements changes");
    return [{ type, shape }];
  },

  transpose(inputs, { permutation }) {
    const { type, shapes } = checkReal(inputs, 1);
    const [from] = shapes as [Shape];
    const sorted = [...permutation].sort((x, y) => x - y);
    must(
      permutation.length === from.length && sorted.every((axis, index) => axis === index),
      "takes a permutation of the axes",
    );
    return [{ type, shape: permutation.map((axis) => from[axis]!) }];
  },

  broadcast(inputs, { shape }) {
    const [from] = checkTypes(inputs, "float") as [Shape];
    const joint = broadcastShapes(from, shape);
    must(joint !== undefined && sameShape(joint, shape), "does not broadcast to the shape asked for");
    return [float(shape)];
  },

  split(inputs, { axis, sizes }) {
    const type = inputs[0]?.type ?? "float";
    const [from] = checkTypes(inputs, type) as [Shape];
    must(validAxis(axis, from), "axis out of range");
    const total = sizes.reduce((sum, size) => sum + size, 0);
    must(sizes.every((size) => size > 0) && total === from[axis], "the parts do not add up to the axis");
    return sizes.map((size) => ({ type, shape: from.with(axis, size) }));
  },

  concat(inputs, { axis }) {
    must(inputs.length > 0, "takes at least one input");
    const { type, shapes } = checkReal(inputs);
    const first = shapes[0]!;
    must(validAxis(axis, first), "axis out of range");
    const ignoringAxis = (shape: Shape) => shape.map((size, index) => (index === axis ? 0 : size));
    must(
      shapes.every((shape) => sameShape(ignoringAxis(shape), ignoringAxis(first))),
      "sizes differ off the axis",
    );
    const total = shapes.reduce((sum, shape) => sum + shape[axis]!, 0);
    return [{ type, shape: first.with(axis, total) }];
  },

  reduceSum(inputs, { axes, keepDims }) {
    const [from] = checkTypes(inputs, "float") as [Shape];
    must(
      axes.length > 0 && axes.every((axis) => validAxis(axis, from)) && new Set(axes).size === axes.length,
      "takes distinct axes within the rank",
    );
    const reduced = new Set(axes);
    const shape = keepDims
      ? from.map((size, axis) => (reduced.has(axis) ? 1 : size))
      : from.filter((_, axis) => !reduced.has(axis));
    return [float(shape)];
  },

  sumSquares(inputs) {
    checkTypes(inputs, "float");
    return [float([])];
  },

  after(inputs) {
    must(inputs.length > 1, "takes a value and at least one that comes before it");
    const [shape] = checkTypes(inputs, ...inputs.map((): DataType => "float")) as [Shape];
    return [float(shape)];
  },

  softmax(inputs) {
    const [shape] = checkTypes(inputs, "float") as [Shape];
    must(shape.length > 0, "takes a tensor of rank 1 or more");
    return [float(shape)];
  },

  attention(inputs) {
    must(inputs.length > 3, "takes query, key, value and at least one bias");
    const { type, shapes } = checkReal(inputs.slice(0, 3));
    const [query, key, value] = shapes as [Shape, Shape, Shape];
    const biases = checkTypes(inputs.slice(3), ...inputs.slice(3).map((): DataType => "float"));
    must(query.length === 4 && sameShape(query, key) && sameShape(query, value), "takes three of [B,H,T,h]");
    let end = 0;
    for (const bias of biases) {
      end += bias[2] ?? 0;
      must(
        sameShape(bias, [1, query[1]!, bias[2]!, end]),
        "takes biases[1,H,C,E], E the sum of the C so far",
      );
    }
    must(end === query[2], "the chunks do not add up to the queries");
    return [{ type, shape: query }, ...biases.map((bias) => float(bias.with(0, query[0]!)))];
  },

  layerNorm(inputs) {
    const [x, weight] = checkTypes(inputs, "float", "float") as [Shape, Shape];
    must(x.length >= 2, "takes x of rank 2 or more");
    must(sameShape(weight, x.slice(-1)), "the weight has the size of the last axis");
    const statistic = float(x.with(-1, 1));
    return [float(x), statistic, statistic];
  },

  gather(inputs) {
    const [table, ids] = checkTypes(inputs, "float", "int32") as [Shape, Shape];
    must(table.length === 2 && ids.length === 1, "takes table[v,d] and ids[n]");
    return [float([ids[0]!, table[1]!])];
  },

  scatterAdd(inputs) {
    const [base, ids, rows] = checkTypes(inputs, "float", "int32", "float") as [Shape, Shape, Shape];
    must(base.length === 2 && ids.length === 1, "takes base[v,d] and ids[n]");
    must(sameShape(rows, [ids[0]!, base[1]!]), "takes rows[n,d]");
    return [float(base)];
  },

  linearCrossEntropy(inputs) {
    const { type } = checkReal(inputs.slice(0, 2));
    const [hidden, head, targets] = checkTypes(inputs, type, type, "int32") as [Shape, Shape, Shape];
    must(
      hidden.length === 2 && head.length === 2 && hidden[1] === head[1],
      "takes hidden[n,d] and head[v,d]",
    );
    must(sameShape(targets, [hidden[0]!]), "takes targets[n]");
    return [float(targets), float([hidden[0]!, head[0]!])];
  },
};

function lastTwo(shape: Shape, transposed: boolean): [rows: number, columns: number] {
  const rows = shape.at(-2)!;
  const columns = shape.at(-1)!;
  return transposed ? [columns, rows] : [rows, columns];
}
