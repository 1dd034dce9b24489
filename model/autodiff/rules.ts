// The gradient rule of every operation, written with the IR's own operations (so a gradient is a graph like any other).
// dy is the gradient of the loss with respect to the operation's output y (dys: to each of several outputs).
import { GradientNotDefinedError } from "../errors.ts";
import type { GraphBuilder } from "../graph/builder.ts";
import { elementCount, type Node, type Op, type Shape, type Value } from "../graph/ops.ts";
import { unbroadcast } from "./unbroadcast.ts";

/**
 * What a rule gives for one input: a dense gradient, or a function that adds it to what is there already (for gradients
 * that touch few rows of a large table), or nothing where the input was not asked for.
 */
export type Contribution = Value | ((sum: Value | undefined) => Value) | undefined;

export interface RuleCall<O extends Op> {
  readonly b: GraphBuilder;
  readonly node: Node<O>;
  /** Gradient with respect to the first output. */
  readonly dy: Value;
  /** Gradient with respect to each output; undefined where the loss does not depend on it. */
  readonly dys: readonly (Value | undefined)[];
  /** Whether the gradient of input `index` is wanted. A rule makes no nodes for those that are not. */
  needs(index: number): boolean;
}

type GradientRule<O extends Op> = (call: RuleCall<O>) => readonly Contribution[];

/** "Must not be asked": why no gradient may flow through this operation. */
interface Forbidden {
  readonly forbidden: string;
}

export function isDifferentiable(op: Op): boolean {
  return typeof rules[op] === "function";
}

/** One contribution for each input of the node. `dys` has an entry for each output, at least one of them defined. */
export function differentiate<O extends Op>(op: O, call: Omit<RuleCall<O>, "dy">): readonly Contribution[] {
  const rule: GradientRule<O> | Forbidden = rules[op];
  if (typeof rule !== "function") throw new GradientNotDefinedError(op, rule.forbidden);
  const { b, node, dys } = call;
  // The further outputs of the other operations are saved for their own backward pass, not for models to build on.
  if (op !== "split" && dys.slice(1).some((dy) => dy !== undefined)) {
    throw new GradientNotDefinedError(op, "only its first output is differentiable");
  }
  return rule({ ...call, dy: dys[0] ?? zeros(b, node.outputs[0]!.shape) });
}

/** A rule for y = f(x): dx = derivative(x, y) * dy, as the callback writes it. */
function unary(derive: (b: GraphBuilder, dy: Value, x: Value, y: Value) => Value) {
  return ({ b, node, dy }: RuleCall<Op>) => [derive(b, dy, node.inputs[0]!, node.outputs[0]!)];
}

/** A rule for y = f(p, q) with broadcasting: each side's gradient is summed back to its own shape. */
function binary(...sides: ((b: GraphBuilder, dy: Value, p: Value, q: Value, y: Value) => Value)[]) {
  return ({ b, node, dy, needs }: RuleCall<Op>) => {
    const [p, q] = node.inputs as [Value, Value];
    return sides.map((derive, index) =>
      needs(index)
        ? unbroadcast(b, derive(b, dy, p, q, node.outputs[0]!), node.inputs[index]!.shape)
        : undefined,
    );
  };
}

const rules: { readonly [O in Op]: GradientRule<O> | Forbidden } = {
  add: binary(
    (_, dy) => dy,
    (_, dy) => dy,
  ),
  sub: binary(
    (_, dy) => dy,
    (b, dy) => b.neg(dy),
  ),
  mul: binary(
    (b, dy, _, q) => b.mul(dy, q),
    (b, dy, p) => b.mul(dy, p),
  ),
  div: binary(
    (b, dy, _, q) => b.div(dy, q),
    (b, dy, _p, q, y) => b.neg(b.div(b.mul(dy, y), q)),
  ),
  minimum: { forbidden: "it has a kink and belongs to the optimizer, not to a model" },
  neg: unary((b, dy) => b.neg(dy)),
  exp: unary((b, dy, _, y) => b.mul(dy, y)),
  log: unary((b, dy, x) => b.div(dy, x)),
  sqrt: unary((b, dy, _, y) => b.div(b.mul(dy, b.scalar(0.5)), y)),
  // d erf(x) / dx = 2/sqrt(pi) * exp(-x^2)
  erf: unary((b, dy, x) => b.mul(dy, b.mul(b.exp(b.neg(b.mul(x, x))), b.scalar(2 / Math.sqrt(Math.PI))))),
  hardSigmoid: { forbidden: "it has kinks, and stands for a linear function between them" },
  gelu: unary((b, dy, x) => b.mul(dy, geluDerivative(b, x, dy))),

  // y = alpha * A @ B with A = op(a), B = op(b): dA = alpha * dy @ B^T, dB = alpha * A^T @ dy, and a = A^T if transposed.
  matMul({ b, node, dy, needs }) {
    const [a, c] = node.inputs as [Value, Value];
    const { transposeA, transposeB, alpha } = node.attributes;
    const forA = () =>
      transposeA
        ? b.matMul(c, dy, { transposeA: transposeB, transposeB: true, alpha })
        : b.matMul(dy, c, { transposeB: !transposeB, alpha });
    const forB = () =>
      transposeB
        ? b.matMul(dy, a, { transposeA: true, transposeB: transposeA, alpha })
        : b.matMul(a, dy, { transposeA: !transposeA, alpha });
    return [needs(0) ? forA() : undefined, needs(1) ? forB() : undefined];
  },

  matMulInBlocks: { forbidden: "it makes gradients and is not made to have one" },
  cast: { forbidden: "precision is chosen when the gradients are there (graph/half-products.ts)" },
  reshape: ({ b, node, dy }) => [b.reshape(dy, node.inputs[0]!.shape)],
  transpose: ({ b, node, dy }) => [b.transpose(dy, inversePermutation(node.attributes.permutation))],
  broadcast: ({ b, node, dy }) => [unbroadcast(b, dy, node.inputs[0]!.shape)],
  split: ({ b, node, dys }) => {
    const parts = node.outputs.map((part, index) => dys[index] ?? zeros(b, part.shape));
    return [b.concat(parts, node.attributes.axis)];
  },
  concat: ({ b, node, dy }) => {
    const { axis } = node.attributes;
    return b.split(
      dy,
      axis,
      node.inputs.map((input) => input.shape[axis]!),
    );
  },
  reduceSum({ b, node, dy }) {
    const [x] = node.inputs as [Value];
    const kept = x.shape.map((size, axis) => (node.attributes.axes.includes(axis) ? 1 : size));
    return [b.broadcast(b.reshape(dy, kept), x.shape)];
  },
  sumSquares: unary((b, dy, x) => b.mul(x, b.mul(dy, b.scalar(2)))),

  after: ({ dy, node }) => node.inputs.map((_, index) => (index === 0 ? dy : undefined)),

  // dx = y * (dy - sum_j dy_j y_j)
  softmax: unary((b, dy, _, y) => b.mul(y, b.sub(dy, b.reduceSum(b.mul(dy, y), [y.shape.length - 1], true)))),

  // With S the scores and D = rowsum(dy * mixed), which is rowsum(dP * P) in T h instead of T^2 numbers (Dao et al. 2022):
  // dP = dy @ value^T, dS = P * (dP - D), dquery = alpha * dS @ key, dkey = alpha * dS^T @ query, dvalue = P^T @ dy.
  // A chunk of queries passes gradients to the keys that it sees, so that those of a key are summed over chunks.
  attention({ b, node, dy }) {
    const [query, key, value] = node.inputs as [Value, Value, Value];
    const [mixed, ...chunks] = node.outputs as [Value, ...Value[]];
    const { alpha } = node.attributes;
    const [LENGTH, LAST] = [2, 3];
    const sizes = chunks.map(({ shape }) => shape[LENGTH]!);
    const rowSums = b.reduceSum(b.mul(dy, mixed), [LAST], true);
    const perChunk = [query, dy, rowSums].map((x) => b.split(x, LENGTH, sizes));
    const seen = (x: Value, keys: number) => {
      const rest = x.shape[LENGTH]! - keys;
      return rest === 0 ? x : b.split(x, LENGTH, [keys, rest])[0]!;
    };
    const found = chunks.map((p, at) => {
      const [q, dOut, d] = perChunk.map((parts) => parts[at]!) as [Value, Value, Value];
      const keys = p.shape[LAST]!;
      const dScores = b.mul(p, b.sub(b.matMul(dOut, seen(value, keys), { transposeB: true }), d));
      return {
        dQuery: b.matMul(dScores, seen(key, keys), { alpha }),
        dKey: b.matMul(dScores, q, { transposeA: true, alpha }),
        dValue: b.matMul(p, dOut, { transposeA: true }),
      };
    });
    const summed = (parts: readonly Value[]) => {
      const cut = parts.map((part, at) => b.split(part, LENGTH, sizes.slice(0, at + 1)));
      const sums = sizes.map((_, at) => cut.flatMap((pieces) => pieces[at] ?? []).reduce(b.add));
      return b.concat(sums, LENGTH);
    };
    return [
      b.concat(
        found.map(({ dQuery }) => dQuery),
        LENGTH,
      ),
      summed(found.map(({ dKey }) => dKey)),
      summed(found.map(({ dValue }) => dValue)),
    ];
  },

  // With n = (x - mean) * r, r = 1/deviation, g = dy * weight (Ba et al. 2016):
  // dx = r * (g - mean(g) - n * mean(g * n)), dweight = sum over rows of dy * n. Means over rows and sums over columns are
  // products with a vector, which read once what is otherwise multiplied, written and read again.
  layerNorm({ b, node, dy, needs }) {
    const [x, weight] = node.inputs as [Value, Value];
    const [, mean, r] = node.outputs as [Value, Value, Value];
    const width = weight.shape[0]!;
    const rows = elementCount(x.shape) / width;
    const flat = (value: Value) => b.reshape(value, [rows, width]);
    const column = b.reshape(weight, [width, 1]);
    const weightedMean = (value: Value) =>
      b.reshape(b.matMul(flat(value), column, { alpha: 1 / width }), mean.shape);
    const n = b.mul(b.sub(x, mean), r);
    const dyn = b.mul(dy, n);
    const dx = () => {
      const g = b.mul(dy, weight);
      return b.mul(r, b.sub(b.sub(g, b.mul(n, weightedMean(dyn))), weightedMean(dy)));
    };
    const ones = () => b.broadcast(b.scalar(1), [1, rows]);
    const dWeight = () => b.reshape(b.matMul(ones(), flat(dyn)), weight.shape);
    return [needs(0) ? dx() : undefined, needs(1) ? dWeight() : undefined];
  },

  // Adds its rows onto whatever gradient the table already has: a table tied to the head gets one dense gradient.
  gather({ b, node, dy }) {
    const [table, ids] = node.inputs as [Value, Value];
    return [(sum) => b.scatterAdd(sum ?? zeros(b, table.shape), ids, dy), undefined];
  },
  scatterAdd: ({ b, node, dy, needs }) => [
    dy,
    undefined,
    needs(2) ? b.gather(dy, node.inputs[1]!) : undefined,
  ],

  // dlogits = dy * (P - onehot), but it is only ever multiplied, so the one-hot part needs no [n, v] tensor:
  // dhidden = dlogits @ E = dy * (P @ E - E[targets]);  dE = dlogits^T @ H = P^T @ (dy * H) - (rows of dy * H at targets).
  linearCrossEntropy({ b, node, dy, needs }) {
    const [hidden, head, targets] = node.inputs as [Value, Value, Value];
    const probabilities = node.outputs[1]!;
    const column = b.reshape(dy, [elementCount(dy.shape), 1]);
    const forHidden = () => b.mul(column, b.sub(b.matMul(probabilities, head), b.gather(head, targets)));
    const forHead = () => {
      const scaled = b.mul(column, hidden);
      return b.scatterAdd(b.matMul(probabilities, scaled, { transposeA: true }), targets, b.neg(scaled));
    };
    return [needs(0) ? forHidden() : undefined, needs(1) ? forHead() : undefined, undefined];
  },
};

/**
 * Phi(x) + x * phi(x), in as few passes over x as it takes: with a = x / sqrt(2) it is
 * (1 + erf(a)) / 2 + a * exp(ln(1/sqrt(pi)) - a^2). It needs x alone, and without the word that it comes after dy
 * onnxruntime computes it on the way forward and keeps it until the way back.
 */
function geluDerivative(b: GraphBuilder, x: Value, dy: Value): Value {
  const a = b.mul(x, b.after(b.scalar(Math.SQRT1_2), [dy]));
  const density = b.exp(b.add(b.neg(b.mul(a, a)), b.scalar(-Math.log(Math.sqrt(Math.PI)))));
  return b.add(b.hardSigmoid(b.erf(a), 0.5, 0.5), b.mul(a, density));
}

function zeros(b: GraphBuilder, shape: Shape): Value {
  return b.broadcast(b.scalar(0), shape);
}

function inversePermutation(permutation: readonly number[]): number[] {
  return permutation.map((_, axis) => permutation.indexOf(axis));
}
