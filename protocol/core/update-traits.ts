// What a defence looks at of an update: how large its values are, tensor by tensor. And an update with each tensor
// scaled. Both read the values in ascending order, so that every machine rounds alike.
import type { GridUpdate } from "./grid.ts";
import type { ParameterLayout, TensorSlot } from "./layout.ts";

export interface UpdateTraits {
  /** Root of the mean square of each tensor's values, in grid units: float64, squares summed in ascending order. */
  readonly rms: Float64Array;
  /** Values that the update holds of each tensor: all, but for the embedding in variant trim. */
  readonly counts: readonly number[];
}

/** `rowsOf`: the tensor whose rows updates may lack, the layout's last. */
export function traitsOf(
  update: GridUpdate,
  layout: ParameterLayout,
  rowsOf: TensorSlot | undefined,
): UpdateTraits {
  const { tensors } = layout;
  const squares = new Float64Array(tensors.length);
  forEachGridPart(update, layout, (tensor, _, grid) => {
    let sum = squares[tensor]!;
    for (let at = 0; at < grid.length; at++) sum += grid[at]! * grid[at]!;
    squares[tensor] = sum;
  });
  const held = (slot: TensorSlot): number =>
    slot === rowsOf && update.heldRows !== undefined ? update.heldRows.length * slot.shape[1]! : slot.length;
  const counts = tensors.map(held);
  return { counts, rms: squares.map((sum, tensor) => Math.sqrt(sum / counts[tensor]!)) };
}

/** The update with the values of each tensor times its factor, from 0 to 1, to the nearest grid integer, a half upwards. */
export function scaledUpdate(update: GridUpdate, layout: ParameterLayout, factors: Float64Array): GridUpdate {
  const { length, heldRows, forEachEntry } = update;
  return {
    length,
    heldRows,
    forEachChunk: (visit) =>
      forEachChunkPart(update, layout, (tensor, offset, grid) => {
        const factor = factors[tensor]!;
        // The chunk is its update's, to be read only.
        visit(offset, factor === 1 ? grid : grid.map((value) => scaled(value, factor)));
      }),
    ...(forEachEntry !== undefined && {
      forEachEntry: (visit) => {
        const tensorAt = ascending(layout.tensors);
        forEachEntry((index, grid) => visit(index, scaled(grid, factors[tensorAt(index)]!)));
      },
    }),
  };
}

/** The product rounds to float64, then the sum; 1 changes nothing, and neither does any factor a 0. */
const scaled = (grid: number, factor: number): number => Math.floor(grid * factor + 0.5);

/**
 * Visits an update's values in ascending order in runs of one tensor, given by its number in the layout; of sparse ones only
 * those that are there. `grid` is reused: read it, do not keep it.
 */
export function forEachGridPart(update: GridUpdate, layout: ParameterLayout, visit: PartVisitor): void {
  if (update.forEachEntry === undefined) {
    forEachChunkPart(update, layout, visit);
    return;
  }
  const tensorAt = ascending(layout.tensors);
  const one = new Float64Array(1);
  update.forEachEntry((index, value) => {
    one[0] = value;
    visit(tensorAt(index), index, one);
  });
}

/** An update's chunks, cut where tensors end. */
function forEachChunkPart(update: GridUpdate, { tensors }: ParameterLayout, visit: PartVisitor): void {
  const tensorAt = ascending(tensors);
  update.forEachChunk((offset, grid) => {
    for (let from = 0; from < grid.length; ) {
      const tensor = tensorAt(offset + from);
      const slot = tensors[tensor]!;
      const to = Math.min(grid.length, slot.offset + slot.length - offset);
      visit(tensor, offset + from, from === 0 && to === grid.length ? grid : grid.subarray(from, to));
      from = to;
    }
  });
}

type PartVisitor = (tensor: number, offset: number, grid: Float64Array) => void;

/** The number of the tensor that an index belongs to, for indices that ascend. */
function ascending(tensors: readonly TensorSlot[]): (index: number) => number {
  let tensor = 0;
  let end = tensors[0]!.length;
  return (index) => {
    while (index >= end) {
      const next = tensors[++tensor]!;
      end = next.offset + next.length;
    }
    return tensor;
  };
}
