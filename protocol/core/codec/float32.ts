// Codec `float32` (id 0): every value as float32. For debugging and as the reference that others are measured against.
//
//   24-byte header (parameter 0) | total * float32 little-endian, body order
import { viewFloats, writeFloats } from "../float-bytes.ts";
import { GRID_UNITS, type GridUpdate, MAX_UPDATE_VALUE, toGrid } from "../grid.ts";
import type { ParameterLayout } from "../layout.ts";
import type { Codec, DecodeResult } from "./codec.ts";
import { rejected } from "./codec.ts";
import { CHUNK_VALUES, denseRejection, encodable } from "./dense.ts";
import { HEADER_BYTES, headerProblem, writeHeader } from "./header.ts";

const payloadBytes = (layout: ParameterLayout): number => HEADER_BYTES + 4 * layout.total;

export const float32Codec: Codec = {
  name: "float32",
  id: 0,

  maxPayloadBytes: payloadBytes,

  encode(values, layout) {
    const prepared = encodable(values, layout);
    const payload = new Uint8Array(payloadBytes(layout));
    writeHeader(payload, float32Codec, 0, layout);
    writeFloats(payload, HEADER_BYTES, prepared);
    return payload;
  },

  decode(payload, layout): DecodeResult {
    const problem = headerProblem(payload, float32Codec, 0, layout);
    if (problem !== undefined) return rejected("undecodable-payload", problem);
    if (payload.length !== payloadBytes(layout)) {
      return rejected("undecodable-payload", `${payload.length} bytes instead of ${payloadBytes(layout)}`);
    }
    const values = viewFloats(payload, HEADER_BYTES, layout.total);
    return denseRejection(values, MAX_UPDATE_VALUE, "value") ?? { ok: true, update: denseUpdate(values) };
  },

  /** Only the rounding to the grid. */
  errorBound: () => 0.5 / GRID_UNITS,
};

function denseUpdate(values: Float32Array): GridUpdate {
  return {
    length: values.length,
    forEachChunk(visit) {
      const chunk = new Float64Array(Math.min(CHUNK_VALUES, values.length));
      for (let offset = 0; offset < values.length; offset += CHUNK_VALUES) {
        const grid = chunk.subarray(0, Math.min(CHUNK_VALUES, values.length - offset));
        for (let at = 0; at < grid.length; at++) grid[at] = toGrid(values[offset + at]!);
        visit(offset, grid);
      }
    },
  };
}
