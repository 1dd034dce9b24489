// The vectors of a `topk` payload: int8 codes with a float32 scale per block of 256 consecutive values of one vector,
// coded and checked as codec int8 does. They are under 0.1% of a body and scale whole channels: none is dropped.
import { readFloats, writeFloats } from "../float-bytes.ts";
import { isVector, type ParameterLayout } from "../layout.ts";
import { type DecodeResult, rejected } from "./codec.ts";
import { bitsOf, denseRejection } from "./dense.ts";
import { HEADER_BYTES } from "./header.ts";
import { int8Format } from "./int8.ts";
import { type TopKSections, VECTOR_BLOCK_SIZE } from "./topk-sections.ts";

const format = int8Format(VECTOR_BLOCK_SIZE);

/** `values` are encodable. */
export function encodeVectors(
  values: Float32Array,
  layout: ParameterLayout,
  payload: Uint8Array,
  { vectorBlocks, vectorCodesAt }: TopKSections,
): void {
  const scales = new Float32Array(vectorBlocks);
  let block = 0;
  let at = vectorCodesAt;
  const bits = bitsOf(values);
  forEachBlock(layout, (start, end) => {
    scales[block++] = format.writeBlock(values, bits, start, end, payload, at);
    at += end - start;
  });
  writeFloats(payload, HEADER_BYTES, scales);
}

/** Grid integers of all vectors, one after the other, or why they are refused. */
export function readVectors(
  payload: Uint8Array,
  layout: ParameterLayout,
  { vectorBlocks, vectorValues, vectorCodesAt }: TopKSections,
): Float64Array | DecodeResult {
  const scales = readFloats(payload, HEADER_BYTES, vectorBlocks);
  const scaleRejection = denseRejection(scales, format.maxScale, "vector scale");
  if (scaleRejection !== undefined) return scaleRejection;
  const negative = scales.findIndex((scale) => scale < 0);
  if (negative >= 0) return rejected("out-of-bounds-update", `vector scale ${negative} is negative`);
  if (!format.codesValid(payload, vectorCodesAt, vectorValues)) {
    return rejected("out-of-bounds-update", "a vector has an unused code");
  }
  const grid = new Float64Array(vectorValues);
  let block = 0;
  let done = 0;
  forEachBlock(layout, (start, end) => {
    const to = done + end - start;
    format.readBlock(payload, vectorCodesAt + done, scales[block++]!, grid, done, to);
    done = to;
  });
  return grid;
}

/** `start` and `end` are places in the body. */
function forEachBlock(layout: ParameterLayout, visit: (start: number, end: number) => void): void {
  for (const tensor of layout.tensors) {
    if (!isVector(tensor)) continue;
    const tensorEnd = tensor.offset + tensor.length;
    for (let start = tensor.offset; start < tensorEnd; start += VECTOR_BLOCK_SIZE) {
      visit(start, Math.min(start + VECTOR_BLOCK_SIZE, tensorEnd));
    }
  }
}
