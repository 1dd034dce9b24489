// How long the parts of a `topk` payload are. All but the last follow from the layout and k; the gaps of the indices
// come last, because their length depends on them.
import { isVector, type ParameterLayout } from "../layout.ts";
import { riceBits } from "./bit-stream.ts";
import { HEADER_BYTES } from "./header.ts";
import { TOPK_CHUNK_VALUES } from "./topk-select.ts";

export const MIN_TOP_K = 16;
export const MAX_TOP_K = 1024;
/** A gap is below 4,096 = 2^12: a larger parameter could only waste bits. */
export const MAX_RICE_PARAMETER = 12;

/** Values kept of a chunk: k of 4,096, and of a shorter one the same share, rounded up. */
export const keptOf = (chunkValues: number, k: number): number =>
  Math.ceil((k * chunkValues) / TOPK_CHUNK_VALUES);

/** Vectors are int8 in blocks of this many values: as float32 they would be a quarter of a small body's payload. */
export const VECTOR_BLOCK_SIZE = 256;

export interface TopKSections {
  readonly vectorBlocks: number;
  readonly vectorValues: number;
  readonly matrices: number;
  /** Kept values of all matrices. */
  readonly kept: number;
  readonly vectorCodesAt: number;
  readonly levelsAt: number;
  readonly parametersAt: number;
  readonly codesAt: number;
  readonly gapsAt: number;
  /** The longest payload that a writer may make. */
  readonly longestEnd: number;
}

/**
 * The bound on the gaps is what they cost at worst with the parameter log2(4096 / k) - 1, rounded down, the best for
 * evenly strewn indices. A writer that takes the shortest parameter stays below it: at k = 64 it is 7.97 bits an
 * index where 7.53 are usual.
 */
export function topKSections(layout: ParameterLayout, k: number): TopKSections {
  const parameter = 11 - Math.ceil(Math.log2(k));
  let vectorBlocks = 0;
  let vectorValues = 0;
  let matrices = 0;
  let kept = 0;
  let gapBits = 0;
  const count = (chunkValues: number, times: number) => {
    const own = keptOf(chunkValues, k);
    kept += times * own;
    gapBits += times * (own * riceBits(0, parameter) + ((chunkValues - own) >> parameter));
  };
  for (const tensor of layout.tensors) {
    if (isVector(tensor)) {
      vectorBlocks += Math.ceil(tensor.length / VECTOR_BLOCK_SIZE);
      vectorValues += tensor.length;
      continue;
    }
    matrices++;
    const whole = Math.floor(tensor.length / TOPK_CHUNK_VALUES);
    count(TOPK_CHUNK_VALUES, whole);
    count(tensor.length - whole * TOPK_CHUNK_VALUES, 1);
  }
  const vectorCodesAt = HEADER_BYTES + 4 * vectorBlocks;
  const levelsAt = vectorCodesAt + vectorValues;
  const parametersAt = levelsAt + 8 * matrices;
  const codesAt = parametersAt + matrices;
  const gapsAt = codesAt + Math.ceil(kept / 4);
  return {
    vectorBlocks,
    vectorValues,
    matrices,
    kept,
    vectorCodesAt,
    levelsAt,
    parametersAt,
    codesAt,
    gapsAt,
    longestEnd: gapsAt + Math.ceil(gapBits / 8),
  };
}
