// The golden vectors for tests, and the generator that make.py used for their larger inputs.
import { fromString } from "uint8arrays/from-string";
import { readFloats } from "../float-bytes.ts";
import vectors from "./vectors.json" with { type: "json" };

export { vectors };

export const bytesFromHex = (hex: string): Uint8Array => fromString(hex, "base16");

export const floatsFromHex = (hex: string): Float32Array => readFloats(bytesFromHex(hex), 0, hex.length / 8);

/** `count` values of a linear congruential generator in ±amplitude; exact in float32 for powers of two. */
export function pseudoRandom(seed: number, count: number, amplitude: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(1664525, state) + 1013904223) >>> 0;
    return ((state >>> 9) / 2 ** 22 - 1) * amplitude;
  });
}
