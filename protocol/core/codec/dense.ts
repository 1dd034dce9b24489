// float32 values inside a payload: the whole body of the `float32` codec and the vectors of the others.
import { MAX_UPDATE_VALUE } from "../grid.ts";
import type { DecodeResult } from "./codec.ts";
import { rejected } from "./codec.ts";

/** Values handed to a visitor at a time: 128 KiB of float64 stay in a core's second-level cache. */
export const CHUNK_VALUES = 16_384;

/** The value clamped to ±MAX_UPDATE_VALUE. */
export const saturate = (value: number): number =>
  Math.min(MAX_UPDATE_VALUE, Math.max(-MAX_UPDATE_VALUE, value));

/** Checks that all values are finite and within ±`limit`; undefined where they are. */
export function denseRejection(values: Float32Array, limit: number, what: string): DecodeResult | undefined {
  for (let index = 0; index < values.length; index++) {
    const value = values[index]!;
    if (Math.abs(value) <= limit) continue;
    return Number.isFinite(value)
      ? rejected("out-of-bounds-update", `${what} ${index} is ${value}, beyond ±${limit}`)
      : rejected("non-finite-update", `${what} ${index} is ${value}`);
  }
  return undefined;
}
