// How a block of values is coded, as int8, int4 and sign tell block-codec.ts, and where a payload's sections lie for it.
import { isVector, type ParameterLayout } from "../layout.ts";
import { HEADER_BYTES } from "./header.ts";

export interface BlockFormat {
  readonly name: string;
  readonly id: number;
  /** Values in a block, 1 to 16,384; divides CHUNK_VALUES. */
  readonly blockSize: number;
  /** Bits of a code: 1, 4 or 8. */
  readonly bits: number;
  /** The largest scale for which every code's value stays within ±MAX_UPDATE_VALUE. */
  readonly maxScale: number;
  readonly errorBound: (maxMagnitude: number) => number;
  /**
   * Writes the codes of values[from..to), whose bits are `bits`, at byte `at` of `target`, whose bytes there are 0, and
   * returns the scale; NaN where a value is not finite or beyond ±MAX_UPDATE_VALUE.
   */
  readonly writeBlock: (
    values: Float32Array,
    bits: Int32Array,
    from: number,
    to: number,
    target: Uint8Array,
    at: number,
  ) => number;
  /** True where all codes of a payload are valid, wherever blocks end; false says nothing yet. */
  readonly allValid?: (codes: Uint8Array) => boolean;
  /** False where the `count` codes at byte `at` hold one that is not used, or padding that is not 0. */
  readonly codesValid: (codes: Uint8Array, at: number, count: number) => boolean;
  /** Fills `grid[from..to)` with the values of the codes at byte `at` as grid integers. */
  readonly readBlock: (
    codes: Uint8Array,
    at: number,
    scale: number,
    grid: Float64Array,
    from: number,
    to: number,
  ) => void;
}

/** Counts and byte offsets of the sections, and the exact length of a payload. */
export function sections(layout: ParameterLayout, { blockSize, bits }: BlockFormat) {
  let vectors = 0;
  let scales = 0;
  let codeBytes = 0;
  for (const tensor of layout.tensors) {
    if (isVector(tensor)) {
      vectors += tensor.length;
      continue;
    }
    const whole = Math.floor(tensor.length / blockSize);
    scales += Math.ceil(tensor.length / blockSize);
    codeBytes += whole * Math.ceil((blockSize * bits) / 8);
    codeBytes += Math.ceil(((tensor.length - whole * blockSize) * bits) / 8);
  }
  const scalesAt = HEADER_BYTES + 4 * vectors;
  const codesAt = scalesAt + 4 * scales;
  return { vectors, scales, scalesAt, codesAt, end: codesAt + codeBytes };
}
