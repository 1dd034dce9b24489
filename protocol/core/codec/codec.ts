// What a codec is: flat float32 update -> payload bytes -> checked update on the grid. Owns the interface and the
// result types; the byte formats are in the files beside it and, byte by byte, in SPEC.md.
import type { GridUpdate } from "../grid.ts";
import type { ParameterLayout } from "../layout.ts";
import type { Offence } from "../types.ts";

/** Why a payload is not an update of this run; the offence says what it costs the peer that made it. */
export interface DecodeRejection {
  readonly offence: Extract<Offence, "undecodable-payload" | "non-finite-update" | "out-of-bounds-update">;
  /** For logs and metrics: which check failed, with the numbers. */
  readonly detail: string;
}

export type DecodeResult =
  | { readonly ok: true; readonly update: GridUpdate }
  | { readonly ok: false; readonly rejection: DecodeRejection };

export interface Codec {
  readonly name: string;
  /** The byte that names the codec in a payload. Never reused. */
  readonly id: number;
  /** Upper bound on a payload's length, to refuse an announcement before anything is fetched. */
  maxPayloadBytes(layout: ParameterLayout): number;
  /**
   * Encodes a flat update in layout order. Values beyond ±MAX_UPDATE_VALUE saturate: error feedback keeps the rest.
   * Throws NonFiniteUpdateError where a value is NaN or infinite, LengthMismatchError where the layout is another.
   * How an encoder picks scales and codes is its own business; only decoding must agree between peers.
   */
  encode(values: Float32Array, layout: ParameterLayout): Uint8Array;
  /**
   * Checks a payload from the network whole, then gives access to it. Never throws, whatever the bytes are, and
   * allocates nothing in proportion to what they claim.
   */
  decode(payload: Uint8Array, layout: ParameterLayout): DecodeResult;
  /**
   * Largest absolute difference between a value and its decoded form, where all values are at most `maxMagnitude`
   * (<= MAX_UPDATE_VALUE) in magnitude.
   */
  errorBound(maxMagnitude: number): number;
}

export const rejected = (offence: DecodeRejection["offence"], detail: string): DecodeResult => ({
  ok: false,
  rejection: { offence, detail },
});
