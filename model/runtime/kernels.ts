// Reference implementation of every operation in float64: slow, plain loops that can be checked by eye against the
// operation's definition in graph/ops.ts. The oracle of all tests; never used in training.
import { elementCount, type Op, type OpAttributes, type Shape, type Value } from "../graph/ops.ts";
import { erf } from "./erf.ts";

export interface ReferenceTensor {
  readonly shape: Shape;
  readonly data: Float64Array | Int32Array;
}

export interface KernelCall<O extends Op> {
  readonly inputs: readonly ReferenceTensor[];
  readonly attributes: OpAttributes[O];
  readonly outputs: readonly Value[];
}

/** Returns the data of each output, row-major. */
type Kernel<O extends Op> = (call: KernelCall<O>) => readonly Float64Array[];

/** Runs one operation in float64. */
export function runKernel<O extends Op>(op: O, call: KernelCall<O>): readonly Float64Array[] {
  return kernels[op](call).map((data, at) =>
    call.outputs[at]!.type === "half" ? data.map(roundToHalf) : data,
  );
}

/**
 * The nearest float16, ties to even: 11 digits from 2^-14 on, steps of 2^-24 below, and infinity from 65520 on. The quotient by
 * such a step is exact in float64.
 */
export function roundToHalf(x: number): number {
  const magnitude = Math.abs(x);
  if (!Number.isFinite(x) || magnitude === 0) return x;
  if (magnitude >= 65520) return Math.sign(x) * Number.POSITIVE_INFINITY;
  const step = 2 ** (Math.max(-14, Math.floor(Math.log2(magnitude))) - 10);
  const count = magnitude / step;
  const floor = Math.floor(count);
  const isUp = count - floor > 0.5 || (count - floor === 0.5 && floor % 2 === 1);
  return Math.sign(x) * (floor + Number(isUp)) * step;
}

function unary(compute: (x: number) => number) {
  return ({ inputs }: { inputs: readonly ReferenceTensor[] }) => [
    Float64Array.from(inputs[0]!.data, compute),
  ];
}

function binary(compute: (a: number, b: number) => number) {
  return ({ inputs, outputs }: { inputs: readonly ReferenceTensor[]; outputs: readonly Value[] }) => {
    const [a, b] = inputs as [ReferenceTensor, ReferenceTensor];
    const { shape } = outputs[0]!;
    const result = new Float64Array(elementCount(shape));
    forEachIndex(shape, (index, at) => {
      result[at] = compute(
        a.data[broadcastOffset(a.shape, index)]!,
        b.data[broadcastOffset(b.shape, index)]!,
      );
    });
    return [result];
  };
}

const kernels: { readonly [O in Op]: Kernel<O> } = {
  add: binary((a, b) => a + b),
  sub: binary((a, b) => a - b),
  mul: binary((a, b) => a * b),
  div: binary((a, b) => a / b),
  minimum: binary(Math.min),
  neg: unary((x) => -x),
  exp: unary(Math.exp),
  log: unary(Math.log),
  sqrt: unary(Math.sqrt),
  erf: unary(erf),
  hardSigmoid: ({ inputs, attributes: { alpha, beta } }) => [
    Float64Array.from(inputs[0]!.data, (x) => Math.max(0, Math.min(1, alpha * x + beta))),
  ],
  gelu: unary((x) => 0.5 * x * (1 + erf(x / Math.SQRT2))),

  matMul({ inputs, attributes: { transposeA, transposeB, alpha }, outputs }) {
    const [a, b] = inputs as [ReferenceTensor, ReferenceTensor];
    const { shape } = outputs[0]!;
    const [rows, columns] = shape.slice(-2) as [number, number];
    const inner = a.shape.at(transposeA ? -2 : -1)!;
    const result = new Float64Array(elementCount(shape));
    for (let batch = 0; batch < result.length / (rows * columns); batch++) {
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          let sum = 0;
          for (let k = 0; k < inner; k++) {
            const atA = batch * rows * inner + (transposeA ? k * rows + row : row * inner + k);
            const atB = batch * inner * columns + (transposeB ? column * inner + k : k * columns + column);
            sum += a.data[atA]! * b.data[atB]!;
          }
          result[(batch * rows + row) * columns + column] = alpha * sum;
        }
      }
    }
    return [result];
  },

  matMulInBlocks({ inputs, outputs }) {
    const [a, b] = inputs as [ReferenceTensor, ReferenceTensor];
    const [inner, columns] = b.shape as [number, number];
    const rows = a.data.length / inner;
    const result = new Float64Array(elementCount(outputs[0]!.shape));
    result.forEach((_, at) => {
      const [row, column] = [Math.floor(at / columns), at % columns];
      for (let k = 0; k < inner; k++) result[at]! += a.data[k * rows + row]! * b.data[k * columns + column]!;
    });
    return [result];
  },

  cast: ({ inputs }) => [Float64Array.from(inputs[0]!.data)],
  reshape: ({ inputs }) => [Float64Array.from(inputs[0]!.data)],

  transpose({ inputs, attributes: { permutation }, outputs }) {
    const [from] = inputs as [ReferenceTensor];
    const result = new Float64Array(from.data.length);
    forEachIndex(outputs[0]!.shape, (index, at) => {
      const source: number[] = [];
      permutation.forEach((axis, position) => {
        source[axis] = index[position]!;
      });
      result[at] = from.data[broadcastOffset(from.shape, source)]!;
    });
    return [result];
  },

  broadcast({ inputs, outputs }) {
    const [from] = inputs as [ReferenceTensor];
    const result = new Float64Array(elementCount(outputs[0]!.shape));
    forEachIndex(outputs[0]!.shape, (index, at) => {
      result[at] = from.data[broadcastOffset(from.shape, index)]!;
    });
    return [result];
  },

  split({ inputs, attributes: { axis }, outputs }) {
    const [from] = inputs as [ReferenceTensor];
    let start = 0;
    return outputs.map(({ shape }) => {
      const result = new Float64Array(elementCount(shape));
      forEachIndex(shape, (index, at) => {
        const source = index.with(axis, index[axis]! + start);
        result[at] = from.data[broadcastOffset(from.shape, source)]!;
      });
      start += shape[axis]!;
      return result;
    });
  },

  concat({ inputs, attributes: { axis }, outputs }) {
    const result = new Float64Array(elementCount(outputs[0]!.shape));
    let start = 0;
    for (const { shape, data } of inputs) {
      forEachIndex(shape, (index, at) => {
        const target = index.with(axis, index[axis]! + start);
        result[broadcastOffset(outputs[0]!.shape, target)] = data[at]!;
      });
      start += shape[axis]!;
    }
    return [result];
  },

  reduceSum({ inputs, attributes: { axes }, outputs }) {
    const [from] = inputs as [ReferenceTensor];
    const kept = from.shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
    const result = new Float64Array(elementCount(outputs[0]!.shape));
    forEachIndex(from.shape, (index, at) => {
      result[broadcastOffset(kept, index)]! += from.data[at]!;
    });
    return [result];
  },

  sumSquares: ({ inputs }) => [
    Float64Array.of(Float64Array.from(inputs[0]!.data).reduce((sum, x) => sum + x * x, 0)),
  ],

  after: ({ inputs }) => [Float64Array.from(inputs[0]!.data)],

  softmax({ inputs }) {
    const [x] = inputs as [ReferenceTensor];
    return [Float64Array.from(rowsOf(x).flatMap((row) => softmaxOf(row).probabilities))];
  },

  attention({ inputs, attributes: { alpha } }) {
    const [query, key, value, ...biases] = inputs as [ReferenceTensor, ReferenceTensor, ReferenceTensor];
    const [batch, heads, length, size] = query.shape as [number, number, number, number];
    const mixed = new Float64Array(query.data.length);
    const probabilities = (biases as ReferenceTensor[]).map(
      ({ shape }) => new Float64Array(batch * elementCount(shape)),
    );
    for (let group = 0; group < batch * heads; group++) {
      const row = ({ data }: ReferenceTensor, at: number) =>
        Array.from(data.subarray((group * length + at) * size, (group * length + at + 1) * size));
      let first = 0;
      for (const [chunk, bias] of (biases as ReferenceTensor[]).entries()) {
        const [rows, keys] = bias.shape.slice(2) as [number, number];
        for (let at = 0; at < rows; at++) {
          const q = row(query, first + at);
          const scores = Array.from({ length: keys }, (_, j) => {
            const k = row(key, j);
            const dot = q.reduce((sum, x, column) => sum + x * k[column]!, 0);
            return alpha * dot + bias.data[((group % heads) * rows + at) * keys + j]!;
          });
          const { probabilities: p } = softmaxOf(scores);
          probabilities[chunk]!.set(p, (group * rows + at) * keys);
          p.forEach((weight, j) => {
            row(value, j).forEach((x, column) => {
              mixed[(group * length + first + at) * size + column]! += weight * x;
            });
          });
        }
        first += rows;
      }
    }
    return [mixed, ...probabilities];
  },

  layerNorm({ inputs, attributes: { epsilon } }) {
    const [x, weight] = inputs as [ReferenceTensor, ReferenceTensor];
    const rows = rowsOf(x);
    const means = rows.map((row) => row.reduce((sum, value) => sum + value, 0) / row.length);
    const inverseDeviations = rows.map((row, at) => {
      const variance = row.reduce((sum, value) => sum + (value - means[at]!) ** 2, 0) / row.length;
      return 1 / Math.sqrt(variance + epsilon);
    });
    const y = rows.flatMap((row, at) =>
      row.map((value, column) => (value - means[at]!) * inverseDeviations[at]! * weight.data[column]!),
    );
    return [Float64Array.from(y), Float64Array.from(means), Float64Array.from(inverseDeviations)];
  },

  gather({ inputs }) {
    const [table, ids] = inputs as [ReferenceTensor, ReferenceTensor];
    const rows = rowsOf(table);
    return [Float64Array.from(Array.from(ids.data).flatMap((id) => rows[id]!))];
  },

  scatterAdd({ inputs }) {
    const [base, ids, rows] = inputs as [ReferenceTensor, ReferenceTensor, ReferenceTensor];
    const width = base.shape[1]!;
    const result = Float64Array.from(base.data);
    rowsOf(rows).forEach((row, at) => {
      row.forEach((value, column) => {
        result[ids.data[at]! * width + column]! += value;
      });
    });
    return [result];
  },

  linearCrossEntropy({ inputs }) {
    const [hidden, head, targets] = inputs as [ReferenceTensor, ReferenceTensor, ReferenceTensor];
    const classes = rowsOf(head);
    const results = rowsOf(hidden).map((h, at) => {
      const logits = classes.map((e) => e.reduce((sum, value, k) => sum + value * h[k]!, 0));
      const { probabilities, logSumExp } = softmaxOf(logits);
      return { nats: logSumExp - logits[targets.data[at]!]!, probabilities };
    });
    return [
      Float64Array.from(results, ({ nats }) => nats),
      Float64Array.from(results.flatMap(({ probabilities }) => probabilities)),
    ];
  },
};

function softmaxOf(logits: readonly number[]): { probabilities: number[]; logSumExp: number } {
  const largest = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return { probabilities: powers.map((power) => power / sum), logSumExp: largest + Math.log(sum) };
}

/** Rows along the last axis. */
function rowsOf({ shape, data }: ReferenceTensor): number[][] {
  const width = shape.at(-1)!;
  return Array.from({ length: data.length / width }, (_, row) =>
    Array.from(data.subarray(row * width, (row + 1) * width)),
  );
}

/** Visits every index of `shape` in row-major order; `at` counts up from 0. */
function forEachIndex(shape: Shape, visit: (index: readonly number[], at: number) => void): void {
  const index = shape.map(() => 0);
  const total = elementCount(shape);
  for (let at = 0; at < total; at++) {
    visit(index, at);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis]!++;
      if (index[axis]! < shape[axis]!) break;
      index[axis] = 0;
    }
  }
}

/** Offset in a tensor of `shape` of an index whose trailing axes are its own; its size-1 axes stand still. */
function broadcastOffset(shape: Shape, index: readonly number[]): number {
  const skipped = index.length - shape.length;
  return shape.reduce((offset, size, axis) => offset * size + (size === 1 ? 0 : index[axis + skipped]!), 0);
}
