// Codec `int8` (id 1): matrices as signed bytes with one float32 scale per block, vectors as float32.
// A block is `blockSize` consecutive values of one tensor (its last may be shorter); blocks never cross tensors,
// because tensors differ in magnitude by orders. Sections are kept apart so that the floats stay aligned:
//
//   24-byte header (parameter = blockSize)
//   vectors  float32 little-endian, all 1-D tensors in body order
//   scales   float32 little-endian, per matrix in body order ceil(length / blockSize)
//   codes    int8, all matrices in body order; value = code * scale, code -128 is not used
import { readFloats, writeFloats } from "../float-bytes.ts";
import { GRID_UNITS, type GridUpdate, MAX_UPDATE_VALUE, toGrid } from "../grid.ts";
import type { ParameterLayout } from "../layout.ts";
import { isVector } from "../layout.ts";
import type { Codec, DecodeResult } from "./codec.ts";
import { rejected } from "./codec.ts";
import { CHUNK_VALUES, denseRejection, encodable, largestMagnitude } from "./dense.ts";
import { HEADER_BYTES, headerProblem, writeHeader } from "./header.ts";

const MAX_CODE = 127;
/** The largest float32 scale for which 127 * scale stays within the bound: 4 / 127, rounded down. */
const MAX_SCALE = roundDown(MAX_UPDATE_VALUE / MAX_CODE);

/** Byte offsets of the sections, and the exact length of a payload. */
function sections(layout: ParameterLayout, blockSize: number) {
  let vectors = 0;
  let scales = 0;
  for (const tensor of layout.tensors) {
    if (isVector(tensor)) vectors += tensor.length;
    else scales += Math.ceil(tensor.length / blockSize);
  }
  const scalesAt = HEADER_BYTES + 4 * vectors;
  const codesAt = scalesAt + 4 * scales;
  return { vectors, scales, scalesAt, codesAt, end: codesAt + (layout.total - vectors) };
}

/** `blockSize` 1 to 16,384 must divide CHUNK_VALUES. */
export function int8Codec(blockSize: number): Codec {
  const codec: Codec = {
    name: "int8",
    id: 1,

    maxPayloadBytes: (layout) => sections(layout, blockSize).end,

    encode(values, layout) {
      const prepared = encodable(values, layout);
      const { vectors, scales, scalesAt, codesAt, end } = sections(layout, blockSize);
      const payload = new Uint8Array(end);
      writeHeader(payload, codec, blockSize, layout);
      const dense = new Float32Array(vectors);
      const blockScales = new Float32Array(scales);
      const codes = new Int8Array(payload.buffer, codesAt);
      let denseAt = 0;
      let scaleAt = 0;
      let codeAt = 0;
      for (const tensor of layout.tensors) {
        const tensorValues = prepared.subarray(tensor.offset, tensor.offset + tensor.length);
        if (isVector(tensor)) {
          dense.set(tensorValues, denseAt);
          denseAt += tensor.length;
          continue;
        }
        for (let start = 0; start < tensor.length; start += blockSize) {
          const block = tensorValues.subarray(start, Math.min(start + blockSize, tensor.length));
          blockScales[scaleAt++] = encodeBlock(block, codes, codeAt);
          codeAt += block.length;
        }
      }
      writeFloats(payload, HEADER_BYTES, dense);
      writeFloats(payload, scalesAt, blockScales);
      return payload;
    },

    decode(payload, layout): DecodeResult {
      const problem = headerProblem(payload, codec, blockSize, layout);
      if (problem !== undefined) return rejected("undecodable-payload", problem);
      const { vectors, scales, scalesAt, codesAt, end } = sections(layout, blockSize);
      if (payload.length !== end) {
        return rejected("undecodable-payload", `${payload.length} bytes instead of ${end}`);
      }
      const dense = readFloats(payload, HEADER_BYTES, vectors);
      const blockScales = readFloats(payload, scalesAt, scales);
      const codes = new Int8Array(payload.buffer, payload.byteOffset + codesAt, end - codesAt);
      return (
        denseRejection(dense, MAX_UPDATE_VALUE, "vector value") ??
        denseRejection(blockScales, MAX_SCALE, "scale") ??
        codeRejection(blockScales, codes) ?? {
          ok: true,
          update: blockUpdate(layout, blockSize, dense, blockScales, codes),
        }
      );
    },

    // Half a step of max/127; the scale's own rounding to float32 adds 2^-23 of that, the grid half a unit.
    errorBound: (maxMagnitude) => (maxMagnitude / (2 * MAX_CODE)) * (1 + 2 ** -22) + 0.5 / GRID_UNITS,
  };
  return codec;
}

/** Writes a block's codes and returns its scale: the largest magnitude maps to ±127. */
function encodeBlock(block: Float32Array, codes: Int8Array, at: number): number {
  const scale = Math.min(Math.fround(largestMagnitude(block) / MAX_CODE), MAX_SCALE);
  // All zero, or so small that the scale underflows: the codes stay 0.
  if (scale === 0) return 0;
  for (let index = 0; index < block.length; index++) {
    // As int32 before clamping: several times faster, and a quotient of a block's own scale is far below 2^31.
    const code = Math.floor(block[index]! / scale + 0.5) | 0;
    codes[at + index] = Math.max(-MAX_CODE, Math.min(MAX_CODE, code));
  }
  return scale;
}

function codeRejection(scales: Float32Array, codes: Int8Array): DecodeResult | undefined {
  const negative = scales.findIndex((scale) => scale < 0);
  if (negative >= 0) return rejected("out-of-bounds-update", `scale ${negative} is negative`);
  const unused = codes.indexOf(-128);
  if (unused >= 0) return rejected("out-of-bounds-update", `code ${unused} is -128`);
  return undefined;
}

function blockUpdate(
  layout: ParameterLayout,
  blockSize: number,
  dense: Float32Array,
  scales: Float32Array,
  codes: Int8Array,
): GridUpdate {
  return {
    length: layout.total,
    forEachChunk(visit) {
      const chunk = new Float64Array(Math.min(CHUNK_VALUES, layout.total));
      let denseAt = 0;
      let codeAt = 0;
      let scaleAt = 0;
      for (const tensor of layout.tensors) {
        for (let start = 0; start < tensor.length; start += CHUNK_VALUES) {
          const grid = chunk.subarray(0, Math.min(CHUNK_VALUES, tensor.length - start));
          if (isVector(tensor)) {
            for (let at = 0; at < grid.length; at++) grid[at] = toGrid(dense[denseAt++]!);
          } else {
            for (let from = 0; from < grid.length; from += blockSize) {
              const scale = scales[scaleAt++]!;
              const to = Math.min(from + blockSize, grid.length);
              for (let at = from; at < to; at++) grid[at] = toGrid(codes[codeAt++]! * scale);
            }
          }
          visit(tensor.offset + start, grid);
        }
      }
    },
  };
}

function roundDown(value: number): number {
  const nearest = Math.fround(value);
  return nearest <= value ? nearest : Math.fround(value * (1 - 2 ** -24));
}
