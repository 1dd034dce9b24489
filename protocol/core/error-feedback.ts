// Error feedback: what compression drops is kept and sent later, so that nothing a peer learned is lost.
//   x_t = delta_t + decay * e_t        q_t = decode(encode(x_t))        e_{t+1} = x_t - q_t
// (Seide et al. 2014; Karimireddy et al. 2019, "Error Feedback Fixes SignSGD", decay 1; SparseLoCo uses 0.95.)
// Owns the residual's arithmetic; where it is stored is the driver's business.
import { LengthMismatchError } from "../errors.ts";
import { addUpdate, GRID_UNITS, type GridUpdate } from "./grid.ts";
import { forEachHeldRange } from "./rows-update.ts";
import type { UpdateCodec } from "./update-codec.ts";

export interface CompressedUpdate {
  readonly payload: Uint8Array;
  /** What every receiver will read from the payload. */
  readonly update: GridUpdate;
  /** The next residual: input - update, rounded to float32. */
  readonly residual: Float32Array;
  readonly residualNorm: number;
  readonly updateNorm: number;
}

export interface FeedbackOptions {
  /** Share of the residual that is kept. */
  readonly decay?: number;
  /** Rows of the embedding that this peer holds (variant trim); all where it is left out. */
  readonly heldRows?: Int32Array | undefined;
  /**
   * The array that becomes the next residual, new where it is left out. It may be `delta` itself, which saves memory as
   * large as the body, and where rows are not held one of that size is taken for a moment.
   */
  readonly target?: Float32Array | undefined;
}

/**
 * Compresses `delta` (theta_start - theta_end, flat, layout order) together with what earlier rounds left.
 * In rows not held nothing is sent: what a residual has there, of rows held before a restart, waits unchanged.
 * Neither input is changed but for `target`. Throws NonFiniteUpdateError where the sum is NaN or infinite.
 */
export function compressUpdate(
  delta: Float32Array,
  residual: Float32Array,
  codec: UpdateCodec,
  { decay = 1, heldRows, target = new Float32Array(residual.length) }: FeedbackOptions = {},
): CompressedUpdate {
  const { total } = codec.layout;
  requireLength("The delta", delta.length, total);
  requireLength("The residual", residual.length, total);
  requireLength("The next residual", target.length, total);
  const input = target;
  if (codec.rowsOf === undefined || heldRows === undefined) {
    addScaled(input, delta, residual, decay, 0, total);
  } else {
    const held = target === delta ? delta.slice() : delta;
    input.set(residual);
    forEachHeldRange(codec.rowsOf, heldRows, (from, to) => addScaled(input, held, residual, decay, from, to));
  }
  const payload = codec.encode(input, heldRows);
  const decoded = codec.decode(payload);
  if (!decoded.ok) {
    throw new TypeError(`codec ${codec.name} rejects its own payload: ${decoded.rejection.detail}`);
  }
  const { update } = decoded;
  return { payload, update, residual: input, ...subtract(input, update) };
}

/** target -= update, rounded to float32, and the norms of both. */
function subtract(target: Float32Array, update: GridUpdate): { updateNorm: number; residualNorm: number } {
  const unit = 1 / GRID_UNITS;
  let squares = 0;
  if (update.forEachEntry !== undefined) {
    update.forEachEntry((index, grid) => {
      target[index] = target[index]! - unit * grid;
      squares += (unit * grid) ** 2;
    });
  } else {
    update.forEachChunk((offset, grid) => {
      squares += subtractChunk(target, offset, grid, unit);
    });
  }
  return { updateNorm: Math.sqrt(squares), residualNorm: norm(target) };
}

/** The sum of the squares of what was subtracted. */
function subtractChunk(target: Float32Array, offset: number, grid: Float64Array, unit: number): number {
  let squares = 0;
  for (let at = 0, to = offset; at < grid.length; at++, to++) {
    const value = unit * grid[at]!;
    target[to] = target[to]! - value;
    squares += value * value;
  }
  return squares;
}

function norm(values: Float32Array): number {
  let squares = 0;
  for (let at = 0; at < values.length; at++) squares += values[at]! * values[at]!;
  return Math.sqrt(squares);
}

/** target = delta + decay * residual, in [from, to). */
function addScaled(
  target: Float32Array,
  delta: Float32Array,
  residual: Float32Array,
  decay: number,
  from: number,
  to: number,
): void {
  for (let index = from; index < to; index++) target[index] = delta[index]! + decay * residual[index]!;
}

/**
 * Gives an update that expired unused back to its author's residual, in place: residual += update.
 * It will be sent again with the next round.
 */
export function returnToResidual(residual: Float32Array, update: GridUpdate): void {
  requireLength("The update", update.length, residual.length);
  addUpdate(residual, update, 1 / GRID_UNITS);
}

/** Takes out again what returnToResidual put in: to the bit in exact cases and to rounding else. */
export function withdrawFromResidual(residual: Float32Array, update: GridUpdate): void {
  requireLength("The update", update.length, residual.length);
  addUpdate(residual, update, -1 / GRID_UNITS);
}

function requireLength(what: string, actual: number, expected: number): void {
  if (actual !== expected) throw new LengthMismatchError(what, expected, actual);
}
