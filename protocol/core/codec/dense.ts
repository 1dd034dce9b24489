// float32 values on their way into and out of a payload: what every encoder and decoder checks of them.
import { LengthMismatchError, NonFiniteUpdateError } from "../../errors.ts";
import { MAX_UPDATE_VALUE } from "../grid.ts";
import { type ParameterLayout, tensorAt } from "../layout.ts";
import { type DecodeResult, rejected } from "./codec.ts";

/** Values handed to a visitor at a time: 128 KiB of float64 stay in a core's second-level cache. */
export const CHUNK_VALUES = 16_384;

/**
 * The values as an encoder may take them: of the layout's length, finite, saturated at ±MAX_UPDATE_VALUE. The same
 * array where nothing saturates. Throws LengthMismatchError and NonFiniteUpdateError.
 */
export function encodable(values: Float32Array, layout: ParameterLayout): Float32Array {
  requireLength(values, layout);
  const largest = largestMagnitude(values);
  if (Number.isNaN(largest)) {
    const index = values.findIndex((value) => !Number.isFinite(value));
    const tensor = tensorAt(layout, index);
    throw new NonFiniteUpdateError(tensor.name, index - tensor.offset);
  }
  if (largest <= MAX_UPDATE_VALUE) return values;
  return values.map((value) => Math.min(MAX_UPDATE_VALUE, Math.max(-MAX_UPDATE_VALUE, value)));
}

const MAGNITUDE = 0x7fffffff;
const INFINITE = 0x7f800000;
const scratch = new Float32Array(1);
const scratchBits = new Int32Array(scratch.buffer);

/** The bits of float32 values: less their sign they are in the order of the magnitudes, NaN and infinity last. */
export const bitsOf = (values: Float32Array): Int32Array =>
  new Int32Array(values.buffer, values.byteOffset, values.length);

/** Of bits[from..to); NaN where any value is NaN or infinite. */
export function largestOf(bits: Int32Array, from: number, to: number): number {
  let largest = 0;
  for (let index = from; index < to; index++) largest = Math.max(largest, bits[index]! & MAGNITUDE);
  if (largest >= INFINITE) return Number.NaN;
  scratchBits[0] = largest;
  return scratch[0]!;
}

/** NaN where any value is NaN or infinite. */
export const largestMagnitude = (values: Float32Array): number => largestOf(bitsOf(values), 0, values.length);

export function requireLength(values: Float32Array, { total }: ParameterLayout): void {
  if (values.length !== total) throw new LengthMismatchError("The update", total, values.length);
}

/** Checks that all values are finite and within ±`limit`; undefined where they are. */
export function denseRejection(values: Float32Array, limit: number, what: string): DecodeResult | undefined {
  if (largestMagnitude(values) <= limit) return undefined;
  const index = values.findIndex((value) => !(Math.abs(value) <= limit));
  const value = values[index]!;
  return Number.isFinite(value)
    ? rejected("out-of-bounds-update", `${what} ${index} is ${value}, beyond ±${limit}`)
    : rejected("non-finite-update", `${what} ${index} is ${value}`);
}
