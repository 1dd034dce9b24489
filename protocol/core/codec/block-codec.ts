// The frame that int8, int4 and sign share: matrices as small codes with one float32 scale per block, vectors as
// float32. Owns the sections, their checks and the walk over blocks; how a block is coded is the BlockFormat's.
// A block is `blockSize` consecutive values of one tensor (its last may be shorter); blocks never cross tensors,
// because tensors differ in magnitude by orders, and each begins at a byte. Sections are kept apart:
//
//   24-byte header (parameter = blockSize)
//   vectors  float32 little-endian, all 1-D tensors in body order
//   scales   float32 little-endian, per matrix in body order ceil(length / blockSize)
//   codes    per block ceil(values * bits / 8) bytes, all matrices in body order
import { viewFloats, writeFloats } from "../float-bytes.ts";
import { type GridUpdate, MAX_UPDATE_VALUE, toGrid } from "../grid.ts";
import { isVector, type ParameterLayout } from "../layout.ts";
import { type BlockFormat, sections } from "./block-format.ts";
import { type Codec, type DecodeResult, rejected } from "./codec.ts";
import { bitsOf, CHUNK_VALUES, denseRejection, encodable, largestMagnitude, requireLength } from "./dense.ts";
import { HEADER_BYTES, headerProblem, writeHeader } from "./header.ts";

export function blockCodec(format: BlockFormat): Codec {
  const { blockSize } = format;
  return {
    name: format.name,
    id: format.id,

    maxPayloadBytes: (layout) => sections(layout, format).end,

    encode(values, layout) {
      requireLength(values, layout);
      // Hardly ever is there a value that cannot be taken as it is: whoever meets one has them all looked at.
      return blockPayload(values, layout, format) ?? blockPayload(encodable(values, layout), layout, format)!;
    },

    decode(payload, layout): DecodeResult {
      const problem = headerProblem(payload, format, blockSize, layout);
      if (problem !== undefined) return rejected("undecodable-payload", problem);
      const { vectors, scales, scalesAt, codesAt, end } = sections(layout, format);
      if (payload.length !== end) {
        return rejected("undecodable-payload", `${payload.length} bytes instead of ${end}`);
      }
      const dense = viewFloats(payload, HEADER_BYTES, vectors);
      const blockScales = viewFloats(payload, scalesAt, scales);
      const codes = payload.subarray(codesAt);
      return (
        denseRejection(dense, MAX_UPDATE_VALUE, "vector value") ??
        denseRejection(blockScales, format.maxScale, "scale") ??
        blockRejection(layout, format, blockScales, codes) ?? {
          ok: true,
          update: blockUpdate(layout, format, dense, blockScales, codes),
        }
      );
    },

    errorBound: format.errorBound,
  };
}

/** Undefined where a value is not finite or beyond the bound. */
function blockPayload(
  values: Float32Array,
  layout: ParameterLayout,
  format: BlockFormat,
): Uint8Array | undefined {
  const { blockSize, bits } = format;
  const { vectors, scales, scalesAt, codesAt, end } = sections(layout, format);
  const payload = new Uint8Array(end);
  writeHeader(payload, format, blockSize, layout);
  const dense = new Float32Array(vectors);
  const blockScales = new Float32Array(scales);
  const valueBits = bitsOf(values);
  let denseAt = 0;
  let scaleAt = 0;
  let codeAt = codesAt;
  for (const tensor of layout.tensors) {
    const { offset, length } = tensor;
    const tensorEnd = offset + length;
    if (isVector(tensor)) {
      dense.set(values.subarray(offset, tensorEnd), denseAt);
      denseAt += length;
      continue;
    }
    for (let from = offset; from < tensorEnd; from += blockSize) {
      const to = Math.min(from + blockSize, tensorEnd);
      const scale = format.writeBlock(values, valueBits, from, to, payload, codeAt);
      if (Number.isNaN(scale)) return undefined;
      blockScales[scaleAt++] = scale;
      codeAt += Math.ceil(((to - from) * bits) / 8);
    }
  }
  if (!(largestMagnitude(dense) <= MAX_UPDATE_VALUE)) return undefined;
  writeFloats(payload, HEADER_BYTES, dense);
  writeFloats(payload, scalesAt, blockScales);
  return payload;
}

function blockRejection(
  layout: ParameterLayout,
  { blockSize, bits, codesValid, allValid }: BlockFormat,
  scales: Float32Array,
  codes: Uint8Array,
): DecodeResult | undefined {
  const negative = scales.findIndex((scale) => scale < 0);
  if (negative >= 0) return rejected("out-of-bounds-update", `scale ${negative} is negative`);
  if (allValid?.(codes)) return undefined;
  let at = 0;
  for (const tensor of layout.tensors) {
    if (isVector(tensor)) continue;
    for (let start = 0; start < tensor.length; start += blockSize) {
      const count = Math.min(blockSize, tensor.length - start);
      if (!codesValid(codes, at, count)) {
        return rejected("out-of-bounds-update", `${tensor.name} has an unused code from value ${start} on`);
      }
      at += Math.ceil((count * bits) / 8);
    }
  }
  return undefined;
}

function blockUpdate(
  layout: ParameterLayout,
  { blockSize, bits, readBlock }: BlockFormat,
  dense: Float32Array,
  scales: Float32Array,
  codes: Uint8Array,
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
              const to = Math.min(from + blockSize, grid.length);
              readBlock(codes, codeAt, scales[scaleAt++]!, grid, from, to);
              codeAt += Math.ceil(((to - from) * bits) / 8);
            }
          }
          visit(tensor.offset + start, grid);
        }
      }
    },
  };
}
