// The grid: updates as integers, so that their sums are exact and their order cannot matter.
//
// A value v of an update is the integer q = round(v * 2^30), |v| <= 4, hence |q| <= 2^32, held in a float64.
// A weight is an integer from 1 to 2047, a round counts at most 1,024 updates, so for every subset of them
//   |sum of w*q| <= 1024 * 2047 * 2^32 = 2^53 - 2^42 < 2^53:
// every product, partial sum and difference is an integer that float64 holds exactly, and exact addition is
// associative and commutative. float32 sums are not: the same updates in another order give other bits.

/** Grid units in 1.0. A unit is 9.3e-10: far below what int8 or a learning rate of 1e-5 can move. */
export const GRID_UNITS = 2 ** 30;
/** Bound on a value's magnitude; 500 AdamW steps at the paper's highest rate of 6e-4 move a value by about 0.3. */
export const MAX_UPDATE_VALUE = 4;
export const MAX_UPDATE_WEIGHT = 2047;
export const MAX_UPDATES_PER_ROUND = 1024;

/**
 * The nearest grid integer, a half upwards; never -0. `value` is a float32 or the product of a float32 and an int8:
 * at most 31 significant bits, so that neither the product nor the sum rounds.
 */
export const toGrid = (value: number): number => Math.floor(value * GRID_UNITS + 0.5);

/**
 * A decoded update: every check has passed, values are read lazily, so that an update of 85M parameters costs its
 * payload (85 MB as int8) and not 680 MB of float64. It keeps a view of the payload, which must not be changed.
 */
export interface GridUpdate {
  /** Values in the layout that the update belongs to. */
  readonly length: number;
  /**
   * Rows of the embedding, the layout's last tensor, that the update has values for: ids, ascending. Undefined: all. It
   * says nothing of the other rows, not that they stay.
   */
  readonly heldRows?: Int32Array | undefined;
  /**
   * Calls `visit` with runs in ascending order that cover 0..length once, but for the rows that are not held. `grid`
   * holds grid integers and is reused between calls: read it, do not keep it.
   */
  forEachChunk(visit: (offset: number, grid: Float64Array) => void): void;
  /**
   * Only where most values are 0: calls `visit` with single values, ascending, each index at most once; all that it
   * leaves out are 0 or not held. A sum over entries therefore has the bits of one over chunks, in a fraction of the time.
   */
  readonly forEachEntry?: (visit: (index: number, grid: number) => void) => void;
}

/** target += factor * update. Exact where both are on the grid; else each sum rounds as `target`'s type does. */
export function addUpdate(target: Float64Array | Float32Array, update: GridUpdate, factor: number): void {
  if (update.forEachEntry !== undefined) {
    update.forEachEntry((index, grid) => {
      target[index] = target[index]! + factor * grid;
    });
  } else if (target instanceof Float64Array) {
    update.forEachChunk((offset, grid) => addToDoubles(target, offset, grid, factor));
  } else {
    update.forEachChunk((offset, grid) => addToFloats(target, offset, grid, factor));
  }
}

// The same loop twice: one that meets both kinds of array takes a third longer for each.

function addToDoubles(target: Float64Array, offset: number, grid: Float64Array, factor: number): void {
  for (let at = 0, to = offset; at < grid.length; at++, to++) target[to] = target[to]! + factor * grid[at]!;
}

function addToFloats(target: Float32Array, offset: number, grid: Float64Array, factor: number): void {
  for (let at = 0, to = offset; at < grid.length; at++, to++) target[to] = target[to]! + factor * grid[at]!;
}

/** All grid integers of an update at once, 0 in rows not held: 8 bytes a value, for tests and small bodies. */
export function gridValues(update: GridUpdate): Float64Array {
  const all = new Float64Array(update.length);
  update.forEachChunk((offset, grid) => all.set(grid, offset));
  return all;
}
