// Codec `topk` (id 3): of every chunk of 4,096 values of a matrix the k largest, each as a sign and one of two
// magnitudes; vectors as int8. What is left out stays with its author as error feedback (error-feedback.ts).
//
//   24-byte header (parameter = k)
//   vectors     of all 1-D tensors in body order: a float32 scale per block of 256, then int8 codes, as in int8.ts
//   levels      per matrix the lower and the higher magnitude, u32 little-endian grid integers
//   parameters  per matrix the Rice parameter of its gaps, u8, 0 to 12
//   codes       2 bits a kept value, lowest bits first: sign (1 is negative), then level (1 is the higher)
//   gaps        per kept value its index in the chunk less that of the one before less 1, Rice coded (bit-stream.ts)
//
// Guarantee: a kept value decodes to the nearer of two magnitudes within the range of its matrix, a dropped one, no
// larger than the smallest kept one of its chunk, to 0. No error exceeds the largest magnitude, and the squared errors
// of a matrix sum to less than its squares: what error feedback needs to send everything in the end.
import { GRID_UNITS } from "../grid.ts";
import { isVector, type ParameterLayout } from "../layout.ts";
import { BitReader } from "./bit-stream.ts";
import { type Codec, type DecodeResult, rejected } from "./codec.ts";
import { encodable } from "./dense.ts";
import { headerProblem, writeHeader } from "./header.ts";
import { encodeMatrices } from "./topk-encode.ts";
import { keptOf, MAX_RICE_PARAMETER, type TopKSections, topKSections } from "./topk-sections.ts";
import { TOPK_CHUNK_VALUES } from "./topk-select.ts";
import { topKUpdate } from "./topk-update.ts";
import { encodeVectors, readVectors } from "./topk-vectors.ts";

/** `k` from MIN_TOP_K to MAX_TOP_K. */
export function topKCodec(k: number): Codec {
  const codec: Codec = {
    name: "topk",
    id: 3,
    maxPayloadBytes: (layout) => topKSections(layout, k).longestEnd,

    encode(values, layout) {
      const prepared = encodable(values, layout);
      const sections = topKSections(layout, k);
      const payload = new Uint8Array(sections.longestEnd);
      writeHeader(payload, codec, k, layout);
      encodeVectors(prepared, layout, payload, sections);
      return payload.slice(0, encodeMatrices(prepared, layout, k, payload, sections));
    },

    decode(payload, layout): DecodeResult {
      const problem = headerProblem(payload, codec, k, layout);
      if (problem !== undefined) return rejected("undecodable-payload", problem);
      const sections = topKSections(layout, k);
      const { codesAt, gapsAt, longestEnd } = sections;
      if (payload.length < gapsAt || payload.length > longestEnd) {
        const range = `${gapsAt} to ${longestEnd}`;
        return rejected("undecodable-payload", `${payload.length} bytes instead of ${range}`);
      }
      const indices = readIndices(payload, layout, k, sections);
      if (typeof indices === "string") return rejected("undecodable-payload", indices);
      const vectors = readVectors(payload, layout, sections);
      if (!(vectors instanceof Float64Array)) return vectors;
      const levels = readLevels(payload, sections);
      const codes = payload.subarray(codesAt, gapsAt);
      return { ok: true, update: topKUpdate(layout, { k, vectors, levels, codes, indices }) };
    },

    errorBound: (maxMagnitude) => maxMagnitude + 0.5 / GRID_UNITS,
  };
  return codec;
}

/** Every u32 is a magnitude on the grid and within the bound: there is nothing to check. */
function readLevels(payload: Uint8Array, { levelsAt, matrices }: TopKSections): Float64Array {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  return Float64Array.from({ length: 2 * matrices }, (_, at) => view.getUint32(levelsAt + 4 * at, true));
}

/** The places of all kept values in their chunks, or what is wrong with the sections they are read from. */
function readIndices(
  payload: Uint8Array,
  layout: ParameterLayout,
  k: number,
  { kept, parametersAt, codesAt, gapsAt }: TopKSections,
): Uint16Array | string {
  // A kept value has at least one bit of gap, so that a short payload cannot ask for a long array.
  if (8 * (payload.length - gapsAt) < kept)
    return `gaps of ${kept} values in ${payload.length - gapsAt} bytes`;
  const unusedCodes = (8 - ((2 * kept) % 8)) % 8;
  if (codesAt < gapsAt && payload[gapsAt - 1]! >> (8 - unusedCodes) !== 0)
    return "padding of the codes is not 0";
  const indices = new Uint16Array(kept);
  const gaps = new BitReader(payload, gapsAt);
  let matrix = 0;
  let entry = 0;
  for (const tensor of layout.tensors) {
    if (isVector(tensor)) continue;
    const parameter = payload[parametersAt + matrix++]!;
    if (parameter > MAX_RICE_PARAMETER) return `Rice parameter ${parameter} of ${tensor.name}`;
    for (let start = 0; start < tensor.length; start += TOPK_CHUNK_VALUES) {
      const chunkValues = Math.min(TOPK_CHUNK_VALUES, tensor.length - start);
      const last = entry + keptOf(chunkValues, k);
      let index = -1;
      for (; entry < last; entry++) {
        const gap = gaps.rice(parameter, chunkValues - index - 2);
        if (gap < 0) return `an index of ${tensor.name} beyond its chunk at ${start}`;
        index += gap + 1;
        indices[entry] = index;
      }
    }
  }
  return gaps.atEnd() ? indices : "gaps that do not end with the payload";
}
