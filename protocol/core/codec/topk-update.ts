// A decoded `topk` payload as a GridUpdate: read whole into runs of zeros for those who want every value, or entry by
// entry for those who only add.
import type { GridUpdate } from "../grid.ts";
import { isVector, type ParameterLayout } from "../layout.ts";
import { CHUNK_VALUES } from "./dense.ts";
import { keptOf } from "./topk-sections.ts";
import { TOPK_CHUNK_VALUES } from "./topk-select.ts";

export interface TopKContents {
  readonly k: number;
  /** Grid integers of all vectors. */
  readonly vectors: Float64Array;
  /** Per matrix the lower and the higher magnitude, grid integers. */
  readonly levels: Float64Array;
  /** Two bits a kept value, as in the payload. */
  readonly codes: Uint8Array;
  /** Places of the kept values in their chunks. */
  readonly indices: Uint16Array;
}

export function topKUpdate(layout: ParameterLayout, contents: TopKContents): GridUpdate {
  const { k, vectors, levels, codes, indices } = contents;

  /** Visits the values of layout order one tensor's piece of at most CHUNK_VALUES after the other. */
  function walk(
    visitEntry: (index: number, grid: number) => void,
    afterPiece?: (offset: number, count: number) => void,
  ): void {
    let vectorAt = 0;
    let matrix = 0;
    let entry = 0;
    for (const tensor of layout.tensors) {
      const vector = isVector(tensor);
      // Not -low: the grid has no -0.
      const low = vector ? 0 : levels[2 * matrix]!;
      const high = vector ? 0 : levels[2 * matrix++ + 1]!;
      const byCode = Float64Array.of(low, 0 - low, high, 0 - high);
      for (let start = 0; start < tensor.length; start += CHUNK_VALUES) {
        const end = Math.min(start + CHUNK_VALUES, tensor.length);
        if (vector) {
          for (let at = start; at < end; at++) visitEntry(tensor.offset + at, vectors[vectorAt++]!);
        } else {
          for (let chunk = start; chunk < end; chunk += TOPK_CHUNK_VALUES) {
            const last = entry + keptOf(Math.min(TOPK_CHUNK_VALUES, end - chunk), k);
            const base = tensor.offset + chunk;
            for (; entry < last; entry++) {
              const code = (codes[entry >> 2]! >> (2 * (entry & 3))) & 3;
              visitEntry(base + indices[entry]!, byCode[code]!);
            }
          }
        }
        afterPiece?.(tensor.offset + start, end - start);
      }
    }
  }

  return {
    length: layout.total,
    forEachEntry: (visit) => walk(visit),
    forEachChunk(visit) {
      const chunk = new Float64Array(Math.min(CHUNK_VALUES, layout.total));
      let pieceAt = 0;
      walk(
        (index, grid) => {
          chunk[index - pieceAt] = grid;
        },
        (offset, count) => {
          visit(offset, chunk.subarray(0, count));
          chunk.fill(0, 0, count);
          pieceAt = offset + count;
        },
      );
    },
  };
}
