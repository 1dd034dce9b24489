// At least one example call of every operation, for tests that run through the whole table. Sizes differ from axis to axis,
// and values stay away from 0, 1 and symmetry, where wrong formulas agree with right ones.
import { elementCount, type Op, type OpAttributes, type Shape } from "../graph/ops.ts";
import { RandomStream } from "../random.ts";

export type SampleInput =
  | { readonly type: "float"; readonly shape: Shape; readonly data: Float64Array }
  | { readonly type: "int32"; readonly shape: Shape; readonly data: Int32Array };

export interface OpSample<O extends Op = Op> {
  readonly id: string;
  readonly inputs: readonly SampleInput[];
  readonly attributes: OpAttributes[O];
}

/** Normal values, scaled and shifted. Float32 values in float64: devices and the oracle see the same inputs. */
export function normal(seed: string, shape: Shape, scale = 1, shift = 0): SampleInput {
  const values = new Float32Array(elementCount(shape));
  RandomStream.fromSeed(seed).fillNormal(values, scale);
  return { type: "float", shape, data: Float64Array.from(values, (value) => Math.fround(value + shift)) };
}

/** Values in [low, high), for operations defined on positive numbers only. */
export function uniform(seed: string, shape: Shape, low: number, high: number): SampleInput {
  const stream = RandomStream.fromSeed(seed);
  const next = () => Math.fround(low + (high - low) * (stream.nextUint32() / 2 ** 32));
  return { type: "float", shape, data: Float64Array.from({ length: elementCount(shape) }, next) };
}

function ids(...values: number[]): SampleInput {
  return { type: "int32", shape: [values.length], data: Int32Array.from(values) };
}

/** A sample of any operation without attributes. */
type PlainSample = Pick<OpSample<"add">, keyof OpSample>;

const elementwise = (id: string): PlainSample => ({
  id,
  inputs: [normal(id, [2, 3, 5], 1.3, 0.2)],
  attributes: {},
});
const positive = (id: string): PlainSample => ({
  id,
  inputs: [uniform(id, [3, 5], 0.2, 4)],
  attributes: {},
});

/** Same shapes, both sides broadcast at once, and a scalar. The second side stays off zero, so that it can divide. */
const broadcasting = (id: string): PlainSample[] =>
  (
    [
      [
        [3, 5],
        [3, 5],
      ],
      [
        [2, 1, 5],
        [3, 1],
      ],
      [[], [2, 3]],
      [[2, 3], []],
    ] as const
  ).map(([a, b]) => ({
    id: `[${a}] and [${b}]`,
    inputs: [normal(`${id} a ${a}`, a, 1.2, 0.3), uniform(`${id} b ${b}`, b, 0.6, 2.5)],
    attributes: {},
  }));

function matMul(
  a: Shape,
  b: Shape,
  transposeA: boolean,
  transposeB: boolean,
  alpha: number,
): OpSample<"matMul"> {
  return {
    id: `[${a}]${transposeA ? "^T" : ""} @ [${b}]${transposeB ? "^T" : ""} * ${alpha}`,
    inputs: [normal(`a ${a}`, a), normal(`b ${b}`, b)],
    attributes: { transposeA, transposeB, alpha },
  };
}

export const opSamples: { readonly [O in Op]: readonly OpSample<O>[] } = {
  add: broadcasting("add"),
  sub: broadcasting("sub"),
  mul: broadcasting("mul"),
  div: broadcasting("div"),
  minimum: broadcasting("minimum"),
  neg: [elementwise("neg")],
  exp: [elementwise("exp")],
  log: [positive("log")],
  sqrt: [positive("sqrt")],
  erf: [elementwise("erf")],
  gelu: [elementwise("gelu")],
  hardSigmoid: [
    {
      id: "all three pieces",
      inputs: [normal("hardSigmoid", [2, 3, 5], 1.3, 0.2)],
      attributes: { alpha: 0.4, beta: 0.3 },
    },
  ],
  matMul: [
    matMul([3, 4], [4, 5], false, false, 1),
    matMul([4, 3], [4, 5], true, false, 0.7),
    matMul([3, 4], [5, 4], false, true, 1.3),
    matMul([4, 3], [5, 4], true, true, -0.4),
    matMul([2, 3, 4, 5], [2, 3, 5, 7], false, false, 0.3),
    matMul([2, 3, 5, 4], [2, 3, 5, 7], true, false, 1),
    matMul([2, 4, 5], [2, 7, 5], false, true, 0.6),
    matMul([3, 5, 4], [3, 7, 5], true, true, 1.7),
  ],
  matMulInBlocks: [
    {
      id: "three blocks",
      inputs: [normal("blocks a", [5, 3, 2]), normal("blocks b", [5, 4])],
      attributes: {},
    },
  ],
  cast: [{ id: "to half", inputs: [normal("cast", [3, 5], 40)], attributes: { to: "half" } }],
  reshape: [{ id: "merges axes", inputs: [normal("reshape", [2, 3, 5])], attributes: { shape: [5, 6] } }],
  transpose: [
    // A cycle of order 4: the inverse permutation is not the permutation itself.
    { id: "cycle", inputs: [normal("transpose", [2, 3, 4, 5])], attributes: { permutation: [1, 2, 3, 0] } },
    { id: "heads", inputs: [normal("heads", [2, 4, 3, 5])], attributes: { permutation: [2, 0, 3, 1] } },
  ],
  broadcast: [
    { id: "new and old axes", inputs: [normal("broadcast", [3, 1, 2])], attributes: { shape: [4, 3, 5, 2] } },
    { id: "scalar", inputs: [normal("broadcast scalar", [])], attributes: { shape: [2, 3] } },
  ],
  split: [
    { id: "unequal, last", inputs: [normal("split", [2, 3, 6])], attributes: { axis: 2, sizes: [1, 3, 2] } },
    { id: "first axis", inputs: [normal("split first", [3, 2, 4])], attributes: { axis: 0, sizes: [1, 2] } },
  ],
  concat: [
    {
      id: "unequal, middle",
      inputs: [normal("c0", [2, 1, 3]), normal("c1", [2, 4, 3]), normal("c2", [2, 2, 3])],
      attributes: { axis: 1 },
    },
  ],
  reduceSum: [
    { id: "last, kept", inputs: [normal("sum0", [2, 3, 5])], attributes: { axes: [2], keepDims: true } },
    { id: "outer two", inputs: [normal("sum1", [2, 3, 5])], attributes: { axes: [0, 2], keepDims: false } },
    { id: "all", inputs: [normal("sum2", [3, 4])], attributes: { axes: [0, 1], keepDims: false } },
  ],
  sumSquares: [{ id: "matrix", inputs: [normal("squares", [3, 5], 1.4, 0.3)], attributes: {} }],
  after: [
    {
      id: "others of any rank",
      inputs: [normal("after", [2, 5]), normal("before", [3, 2]), normal("scalar", [])],
      attributes: {},
    },
    { id: "a scalar", inputs: [normal("after scalar", []), normal("before scalar", [4])], attributes: {} },
  ],
  softmax: [{ id: "rows", inputs: [normal("softmax", [2, 3, 7], 1.5)], attributes: {} }],
  attention: [
    {
      id: "one chunk",
      inputs: [
        ...["query", "key", "value"].map((name) => normal(`attention ${name}`, [2, 3, 4, 5], 1.2)),
        normal("attention bias", [1, 3, 4, 4], 0.8),
      ],
      attributes: { alpha: 0.7 },
    },
    {
      id: "three chunks",
      inputs: [
        ...["query", "key", "value"].map((name) => normal(`chunked ${name}`, [2, 3, 6, 4], 1.2)),
        ...[
          [1, 3, 2, 2],
          [1, 3, 1, 3],
          [1, 3, 3, 6],
        ].map((shape) => normal(`bias ${shape}`, shape, 0.8)),
      ],
      attributes: { alpha: 0.6 },
    },
  ],
  layerNorm: [
    {
      id: "three axes",
      inputs: [normal("norm x", [2, 3, 7], 1.7, 0.8), normal("norm weight", [7], 0.4, 1.3)],
      attributes: { epsilon: 1e-2 },
    },
  ],
  gather: [{ id: "repeats", inputs: [normal("table", [5, 3]), ids(4, 0, 4, 2)], attributes: {} }],
  scatterAdd: [
    {
      id: "repeats",
      inputs: [normal("base", [5, 3]), ids(1, 3, 1, 0), normal("rows", [4, 3])],
      attributes: {},
    },
  ],
  linearCrossEntropy: [
    {
      id: "repeated targets",
      inputs: [normal("hidden", [4, 3], 1.2), normal("head", [7, 3], 0.9), ids(6, 2, 0, 2)],
      attributes: {},
    },
  ],
};

/** Every sample of every operation as one row of a test table. */
export const allOpSamples = (Object.entries(opSamples) as [Op, readonly OpSample[]][]).flatMap(
  ([op, samples]) => samples.map((sample) => ({ op, sample, title: `${op}: ${sample.id}` })),
);
