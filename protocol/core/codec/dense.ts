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
  if (values.length !== layout.total) {
    throw new LengthMismatchError("The update", layout.total, values.length);
  }
  const largest = largestMagnitude(values);
  if (Number.isNaN(largest)) {
    const index = values.findIndex((value) => !Number.isFinite(value));
    const tensor = tensorAt(layout, index);
    throw new NonFiniteUpdateError(tensor.name, index - tensor.offset);
  }
  if (largest <= MAX_UPDATE_VALUE) return values;
  return values.map((value) => Math.min(MAX_UPDATE_VALUE, Math.max(-MAX_UPDATE_VALUE, value)));
}

/** NaN where any value is NaN or infinite. */
export function largestMagnitude(values: Float32Array): number {
  let largest = 0;
  // Stays 0 for finite values and turns NaN for good at the first other one: cheaper than a branch for each.
  let poison = 0;
  for (let index = 0; index < values.length; index++) {
    const magnitude = Math.abs(values[index]!);
    if (magnitude > largest) largest = magnitude;
    poison += magnitude * 0;
  }
  return largest + poison;
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
