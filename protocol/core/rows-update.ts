// Between the layout and its sub-layouts, in which the last tensor, the embedding, has only the rows that a peer holds.
import type { GridUpdate } from "./grid.ts";
import type { ParameterLayout, TensorSlot } from "./layout.ts";
import { forEachRowRun } from "./rows.ts";

/** The layout with `held` rows in its last tensor. It keeps the layout's digest: it belongs to the same run. */
export function subLayout(layout: ParameterLayout, embedding: TensorSlot, held: number): ParameterLayout {
  const width = embedding.shape[1]!;
  const last = { ...embedding, shape: [held, width], length: held * width };
  return {
    tensors: [...layout.tensors.slice(0, -1), last],
    total: embedding.offset + last.length,
    digest: layout.digest,
  };
}

/** Calls `visit` with the flat ranges that an update with `rows` has: of the layout, and where each begins in its own. */
export function forEachHeldRange(
  embedding: TensorSlot,
  rows: Int32Array,
  visit: (from: number, to: number, subFrom: number) => void,
): void {
  const { offset, shape } = embedding;
  const width = shape[1]!;
  if (offset > 0) visit(0, offset, 0);
  forEachRowRun(rows, (at, row, count) => {
    visit(offset + row * width, offset + (row + count) * width, offset + at * width);
  });
}

/** The values of a sub-layout, out of those of the layout. */
export function gatherRows(values: Float32Array, embedding: TensorSlot, rows: Int32Array): Float32Array {
  const gathered = new Float32Array(embedding.offset + rows.length * embedding.shape[1]!);
  forEachHeldRange(embedding, rows, (from, to, subFrom) => gathered.set(values.subarray(from, to), subFrom));
  return gathered;
}

/** An update over a sub-layout as one over the layout, of `total` values, that holds `rows` of the embedding only. */
export function scatterRows(
  inner: GridUpdate,
  embedding: TensorSlot,
  heldRows: Int32Array,
  total: number,
): GridUpdate {
  const { offset } = embedding;
  const width = embedding.shape[1]!;
  const { forEachEntry } = inner;
  return {
    length: total,
    heldRows,
    forEachChunk(visit) {
      inner.forEachChunk((subFrom, grid) => {
        // Runs of a codec may cross tensors.
        const inBody = Math.min(Math.max(0, offset - subFrom), grid.length);
        if (inBody > 0) visit(subFrom, grid.subarray(0, inBody));
        for (let at = inBody; at < grid.length; ) {
          const local = Math.floor((subFrom + at - offset) / width);
          const column = subFrom + at - offset - local * width;
          const row = heldRows[local]!;
          // As far as the rows are neighbours, or the chunk goes.
          let rows = 1;
          while (heldRows[local + rows] === row + rows && rows * width - column < grid.length - at) rows++;
          const end = Math.min(at + rows * width - column, grid.length);
          visit(offset + row * width + column, grid.subarray(at, end));
          at = end;
        }
      });
    },
    ...(forEachEntry === undefined
      ? {}
      : {
          forEachEntry: (visit) =>
            forEachEntry((index, grid) => {
              const local = Math.floor((index - offset) / width);
              visit(local < 0 ? index : index + (heldRows[local]! - local) * width, grid);
            }),
        }),
  };
}
