// Codec `int8` (id 1): blocks of signed bytes with a free float32 scale, in the frame of block-codec.ts.
//   value = code * scale, code -127 to 127; the byte 0x80 is not used
import { GRID_UNITS, MAX_UPDATE_VALUE, toGrid } from "../grid.ts";
import { type BlockFormat, blockCodec, float32AtMost } from "./block-codec.ts";
import type { Codec } from "./codec.ts";
import { largestMagnitude } from "./dense.ts";

const MAX_CODE = 127;
const MAX_SCALE = float32AtMost(MAX_UPDATE_VALUE / MAX_CODE);
const UNUSED_BYTE = 0x80;

/** `blockSize` 1 to 16,384 must divide CHUNK_VALUES. */
export const int8Codec = (blockSize: number): Codec => blockCodec(int8Format(blockSize));

export function int8Format(blockSize: number): BlockFormat {
  return {
    name: "int8",
    id: 1,
    blockSize,
    bits: 8,
    maxScale: MAX_SCALE,
    // Half a step of max/127; the scale's own rounding to float32 adds 2^-23 of that, the grid half a unit.
    errorBound: (maxMagnitude) => (maxMagnitude / (2 * MAX_CODE)) * (1 + 2 ** -22) + 0.5 / GRID_UNITS,

    writeBlock(block, target, at) {
      const scale = Math.min(Math.fround(largestMagnitude(block) / MAX_CODE), MAX_SCALE);
      // All zero, or so small that the scale underflows: the codes stay 0.
      if (scale === 0) return 0;
      for (let index = 0; index < block.length; index++) {
        // As int32 before clamping: several times faster, and a quotient of a block's own scale is far below 2^31.
        const code = Math.floor(block[index]! / scale + 0.5) | 0;
        target[at + index] = Math.max(-MAX_CODE, Math.min(MAX_CODE, code));
      }
      return scale;
    },

    codesValid(codes, at, count) {
      for (let index = at; index < at + count; index++) if (codes[index] === UNUSED_BYTE) return false;
      return true;
    },

    readBlock(codes, at, scale, grid, from, to) {
      for (let index = from, byte = at; index < to; index++, byte++) {
        grid[index] = toGrid(((codes[byte]! << 24) >> 24) * scale);
      }
    },
  };
}
