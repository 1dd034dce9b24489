// What every operation becomes in ONNX. Most are one node; the rest say why not.
import type { DataType, Op, OpAttributes, Shape, Value } from "../graph/ops.ts";
import { MICROSOFT, type OnnxNodeOptions, type OnnxWriter } from "./writer.ts";

export interface EmitterCall<O extends Op> {
  readonly writer: OnnxWriter;
  /** See EmitOptions. */
  readonly branches: boolean;
  readonly forWebgpu: boolean;
  /** Whether anything reads the output. */
  readonly isNeeded: (output: number) => boolean;
  readonly attributes: OpAttributes[O];
  readonly inputs: readonly Value[];
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
}

type Emitter<O extends Op> = (call: EmitterCall<O>) => void;

export function emitNode<O extends Op>(op: O, call: EmitterCall<O>): void {
  emitters[op](call);
}

/** An operation that is one ONNX node of the same meaning. */
function same(type: string) {
  return ({ writer, inputNames, outputNames }: EmitterCall<Op>) => writer.node(type, inputNames, outputNames);
}

interface Product {
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  readonly alpha?: number;
  readonly shapes: readonly [Shape, Shape];
  readonly type: DataType;
  /** Name of the result; made up where absent. */
  readonly output?: string;
}

/**
 * alpha * op(a) @ op(b). Gemm takes transposed sides and a factor, for matrices; onnxruntime's FusedMatMul does so for batches
 * of them. Where there is none, transposes are nodes, and so is the factor.
 */
function emitProduct(
  { writer, forWebgpu }: Pick<EmitterCall<Op>, "writer" | "forWebgpu">,
  sides: readonly [string, string],
  { transposeA = false, transposeB = false, alpha = 1, shapes, type, output }: Product,
): string {
  const emit = (op: string, inputs: readonly string[], options: OnnxNodeOptions = {}, name = output) => {
    if (name === undefined) return writer.intermediate(op, inputs, options);
    writer.node(op, inputs, [name], options);
    return name;
  };
  const attributes = {
    alpha: { float: alpha },
    transA: { int: Number(transposeA) },
    transB: { int: Number(transposeB) },
  };
  const rank = shapes[0].length;
  // A product with a single column takes Gemm three times as long as FusedMatMul.
  const columns = shapes[1].at(transposeB ? -2 : -1);
  if (rank === 2 && (columns !== 1 || forWebgpu)) return emit("Gemm", sides, { attributes });
  if (!forWebgpu) return emit("FusedMatMul", sides, { domain: MICROSOFT, attributes });
  const axes = shapes[0].map((_, axis) => axis);
  const perm = { attributes: { perm: { ints: [...axes.slice(0, -2), rank - 1, rank - 2] } } };
  const turned = [transposeA, transposeB].map((turns, at) =>
    turns ? writer.intermediate("Transpose", [sides[at]!], perm) : sides[at]!,
  );
  if (alpha === 1) return emit("MatMul", turned);
  const factor = type === "half" ? emitCast(writer, writer.float32(alpha), "half") : writer.float32(alpha);
  return emit("Mul", [writer.intermediate("MatMul", turned), factor]);
}

function emitCast(writer: OnnxWriter, x: string, to: DataType, output?: string): string {
  const options = { attributes: { to: { type: to } } };
  if (output === undefined) return writer.intermediate("Cast", [x], options);
  writer.node("Cast", [x], [output], options);
  return output;
}

/** The result of a product in float32, whatever its sides are in: for what is to be summed or taken powers of. */
function widened(writer: OnnxWriter, x: string, type: DataType): string {
  return type === "half" ? emitCast(writer, x, "float") : x;
}

const emitters: { readonly [O in Op]: Emitter<O> } = {
  add: same("Add"),
  sub: same("Sub"),
  mul: same("Mul"),
  div: same("Div"),
  minimum: same("Min"),
  neg: same("Neg"),
  exp: same("Exp"),
  log: same("Log"),
  sqrt: same("Sqrt"),
  erf: same("Erf"),
  gelu: same("Gelu"),
  hardSigmoid({ writer, attributes: { alpha, beta }, inputNames, outputNames }) {
    writer.node("HardSigmoid", inputNames, outputNames, {
      attributes: { alpha: { float: alpha }, beta: { float: beta } },
    });
  },

  matMul(call) {
    const { attributes, inputs, inputNames, outputNames } = call;
    const [a, b] = inputs as [Value, Value];
    emitProduct(call, inputNames as [string, string], {
      ...attributes,
      ...{ shapes: [a.shape, b.shape], type: a.type, output: outputNames[0]! },
    });
  },

  cast({ writer, attributes: { to }, inputNames, outputNames }) {
    emitCast(writer, inputNames[0]!, to, outputNames[0]!);
  },

  // transBatchA takes the first axis for the last but one: the blocks become the batch, and nothing is moved in memory.
  matMulInBlocks({ writer, forWebgpu, inputNames, outputNames }) {
    if (forWebgpu) {
      const perm = { attributes: { perm: { ints: [1, 2, 0] } } };
      const turned = writer.intermediate("Transpose", [inputNames[0]!], perm);
      writer.node("MatMul", [turned, inputNames[1]!], outputNames);
      return;
    }
    const b = writer.intermediate("Unsqueeze", [inputNames[1]!, writer.int64([0])]);
    writer.node("FusedMatMul", [inputNames[0]!, b], outputNames, {
      domain: MICROSOFT,
      attributes: { transA: { int: 1 }, transBatchA: { int: 1 } },
    });
  },
  reshape({ writer, attributes: { shape }, inputNames, outputNames }) {
    writer.node("Reshape", [...inputNames, writer.int64(shape)], outputNames);
  },
  transpose({ writer, attributes: { permutation }, inputNames, outputNames }) {
    writer.node("Transpose", inputNames, outputNames, { attributes: { perm: { ints: permutation } } });
  },
  broadcast({ writer, attributes: { shape }, inputNames, outputNames }) {
    writer.node("Expand", [...inputNames, writer.int64(shape)], outputNames);
  },
  split({ writer, attributes: { axis, sizes }, inputNames, outputNames }) {
    writer.node("Split", [...inputNames, writer.int64(sizes)], outputNames, {
      attributes: { axis: { int: axis } },
    });
  },
  concat({ writer, attributes: { axis }, inputNames, outputNames }) {
    writer.node("Concat", inputNames, outputNames, { attributes: { axis: { int: axis } } });
  },
  reduceSum({ writer, attributes: { axes, keepDims }, inputNames, outputNames }) {
    writer.node("ReduceSum", [...inputNames, writer.int64(axes)], outputNames, {
      attributes: { keepdims: { int: Number(keepDims) } },
    });
  },
  sumSquares({ writer, inputNames, outputNames }) {
    writer.node("ReduceSumSquare", inputNames, outputNames, { attributes: { keepdims: { int: 0 } } });
  },
  // x - 0 * |sum of a first element of each other|: x to the last bit (-0 - 0 is -0), and nothing an optimiser may drop.
  after({ writer, inputs, inputNames, outputNames }) {
    const [x, ...others] = inputNames as [string, ...string[]];
    const corners = others.map((name, at) => {
      const axes = inputs[at + 1]!.shape.map((_, axis) => axis);
      if (axes.length === 0) return name;
      const [from, to] = [axes.map(() => 0), axes.map(() => 1)];
      return writer.intermediate("Slice", [name, ...[from, to, axes].map((list) => writer.int64(list))]);
    });
    const sum = corners.reduce((a, b) => writer.intermediate("Add", [a, b]));
    const first = writer.intermediate("Reshape", [sum, writer.int64([])]);
    const magnitude = writer.intermediate("Abs", [first]);
    writer.node("Sub", [x, writer.intermediate("Mul", [magnitude, writer.float32(0)])], outputNames);
  },
  softmax({ writer, inputNames, outputNames }) {
    writer.node("Softmax", inputNames, outputNames, { attributes: { axis: { int: -1 } } });
  },
  attention(call) {
    const { writer, attributes, inputs, inputNames, outputNames } = call;
    const { alpha } = attributes;
    const { type, shape } = inputs[0]!;
    const [query, key, value, ...biases] = inputNames as [string, string, string, ...string[]];
    const [mixed, ...chunks] = outputNames as [string, ...string[]];
    const shapes = inputs.slice(3).map(({ shape }) => shape);
    const length = shape[2]!;
    const rows = (x: string, from: number, to: number) =>
      to - from === length
        ? x
        : writer.intermediate("Slice", [x, ...[from, to, 2].map((number) => writer.int64([number]))]);
    const parts = chunks.map((probabilities, at) => {
      const [size, keys] = shapes[at]!.slice(2) as [number, number];
      const [queries, seen] = [shape.with(2, size), shape.with(2, keys)];
      const scores = emitProduct(call, [rows(query, keys - size, keys), rows(key, 0, keys)], {
        ...{ transposeB: true, alpha, shapes: [queries, seen], type },
      });
      const biased = writer.intermediate("Add", [widened(writer, scores, type), biases[at]!]);
      writer.node("Softmax", [biased], [probabilities], { attributes: { axis: { int: -1 } } });
      const weights = type === "half" ? emitCast(writer, probabilities, "half") : probabilities;
      return emitProduct(call, [weights, rows(value, 0, keys)], {
        ...{ shapes: [shapes[at]!, seen], type, ...(chunks.length === 1 && { output: mixed }) },
      });
    });
    if (parts.length > 1) writer.node("Concat", parts, [mixed], { attributes: { axis: { int: 2 } } });
  },
  layerNorm({ writer, attributes: { epsilon }, inputNames, outputNames }) {
    writer.node("LayerNormalization", inputNames, outputNames, {
      attributes: { axis: { int: -1 }, epsilon: { float: epsilon } },
    });
  },
  gather: same("Gather"),
  // Not ScatterND: onnxruntime 1.30 runs its additions on several threads without a lock, and repeated ids lose rows.
  // ScatterElements adds them one after the other, always in the same order.
  scatterAdd({ writer, inputs, inputNames, outputNames }) {
    const [base, ids, rows] = inputNames as [string, string, string];
    const { shape } = inputs[2]!;
    const column = writer.intermediate("Reshape", [ids, writer.int64([shape[0]!, 1])]);
    const indices = writer.intermediate("Expand", [column, writer.int64(shape)]);
    writer.node("ScatterElements", [base, indices, rows], outputNames, {
      attributes: { axis: { int: 0 }, reduction: { string: "add" } },
    });
  },

  // The softmax's own sum is not an output of Softmax, but log-sum-exp is any column's logit less the logarithm of its
  // probability, if that did not underflow. The target's column is at hand; the largest cannot underflow, but takes two more
  // passes over [n, v], and so is for where it is needed. Without probabilities LogSoftmax has it all in one, where there is one.
  linearCrossEntropy({ writer, branches, forWebgpu, isNeeded, inputs, inputNames, outputNames }) {
    const [hidden, head, targets] = inputNames as [string, string, string];
    const [nats, probabilities] = outputNames as [string, string];
    const shape = [inputs[2]!.shape[0]!];
    const product = writer.intermediate("Gemm", [hidden, head], { attributes: { transB: { int: 1 } } });
    const logits = widened(writer, product, inputs[0]!.type);
    const column = writer.intermediate("Reshape", [targets, writer.int64([...shape, 1])]);
    const ofTarget = (x: string) => {
      const picked = writer.intermediate("GatherElements", [x, column], { attributes: { axis: { int: 1 } } });
      return writer.intermediate("Reshape", [picked, writer.int64(shape)]);
    };
    const lastAxis = { attributes: { axis: { int: -1 } } };
    if (!isNeeded(1) && !forWebgpu) {
      writer.node("Neg", [ofTarget(writer.intermediate("LogSoftmax", [logits], lastAxis))], [nats]);
      return;
    }
    writer.node("Softmax", [logits], [probabilities], lastAxis);
    const ofLargest = (inner: OnnxWriter, target: string) => {
      const rowMax = (of: string) =>
        inner.intermediate("ReduceMax", [of, inner.int64([1])], { attributes: { keepdims: { int: 0 } } });
      const logSumExp = [rowMax(logits), inner.intermediate("Log", [rowMax(probabilities)])];
      return [inner.intermediate("Sub", logSumExp), target] as const;
    };
    const target = ofTarget(logits);
    if (!branches) {
      writer.node("Sub", ofLargest(writer, target), [nats]);
      return;
    }
    const chance = ofTarget(probabilities);
    const least = writer.intermediate("ReduceMin", [chance], { attributes: { keepdims: { int: 0 } } });
    const isSafe = writer.intermediate("Greater", [least, writer.float32(LEAST_CHANCE)]);
    writer.node("If", [isSafe], [nats], {
      attributes: {
        then_branch: {
          branch: {
            shape,
            build: (inner) => inner.intermediate("Neg", [inner.intermediate("Log", [chance])]),
          },
        },
        else_branch: {
          branch: { shape, build: (inner) => inner.intermediate("Sub", ofLargest(inner, target)) },
        },
      },
    });
  },
};

/** Well above where float32 loses digits (1.2e-38). */
const LEAST_CHANCE = 1e-30;
