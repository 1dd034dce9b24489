// Error feedback: what compression drops is kept and sent later, so that nothing a peer learned is lost.
//   x_t = delta_t + decay * e_t        q_t = decode(encode(x_t))        e_{t+1} = x_t - q_t
// (Seide et al. 2014; Karimireddy et al. 2019, "Error Feedback Fixes SignSGD", decay 1; SparseLoCo uses 0.95.)
// Owns the residual's arithmetic; where it is stored is the driver's business.
import { LengthMismatchError } from "../errors.ts";
import type { Codec } from "./codec/codec.ts";
import { addUpdate, GRID_UNITS, type GridUpdate } from "./grid.ts";
import type { ParameterLayout } from "./layout.ts";

export interface CompressedUpdate {
  readonly payload: Uint8Array;
  /** What every receiver will read from the payload. */
  readonly update: GridUpdate;
  /** The next residual: input - update, rounded to float32. */
  readonly residual: Float32Array;
}

/**
 * Compresses `delta` (theta_start - theta_end, flat, layout order) together with what earlier rounds left.
 * Neither input is changed. Throws NonFiniteUpdateError where the sum is NaN or infinite.
 */
export function compressUpdate(
  delta: Float32Array,
  residual: Float32Array,
  codec: Codec,
  layout: ParameterLayout,
  decay = 1,
): CompressedUpdate {
  requireLength("The delta", delta.length, layout.total);
  requireLength("The residual", residual.length, layout.total);
  const input = new Float32Array(layout.total);
  for (let index = 0; index < input.length; index++) {
    input[index] = delta[index]! + decay * residual[index]!;
  }
  const payload = codec.encode(input, layout);
  const decoded = codec.decode(payload, layout);
  if (!decoded.ok) {
    throw new TypeError(`codec ${codec.name} rejects its own payload: ${decoded.rejection.detail}`);
  }
  addUpdate(input, decoded.update, -1 / GRID_UNITS);
  return { payload, update: decoded.update, residual: input };
}

/**
 * Gives an update that expired unused back to its author's residual, in place: residual += update.
 * It will be sent again with the next round.
 */
export function returnToResidual(residual: Float32Array, update: GridUpdate): void {
  requireLength("The update", update.length, residual.length);
  addUpdate(residual, update, 1 / GRID_UNITS);
}

function requireLength(what: string, actual: number, expected: number): void {
  if (actual !== expected) throw new LengthMismatchError(what, expected, actual);
}
