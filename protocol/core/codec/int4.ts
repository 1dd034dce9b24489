// Codec `int4` (id 2): blocks of 4-bit codes with a free float32 scale, in the frame of block-codec.ts.
//   value = code * scale, code -7 to 7 as a two's complement nibble, the earlier value in the low nibble;
//   the nibble 8 is not used, the high nibble after a block's last value is 0
import { GRID_UNITS, MAX_UPDATE_VALUE, toGrid } from "../grid.ts";
import { blockCodec, float32AtMost } from "./block-codec.ts";
import type { Codec } from "./codec.ts";
import { largestMagnitude } from "./dense.ts";

const MAX_CODE = 7;
const MAX_SCALE = float32AtMost(MAX_UPDATE_VALUE / MAX_CODE);
const UNUSED_NIBBLE = 8;

/** `blockSize` 1 to 16,384 must divide CHUNK_VALUES. */
export function int4Codec(blockSize: number): Codec {
  return blockCodec({
    name: "int4",
    id: 2,
    blockSize,
    bits: 4,
    maxScale: MAX_SCALE,
    // As for int8, with a step of max/7.
    errorBound: (maxMagnitude) => (maxMagnitude / (2 * MAX_CODE)) * (1 + 2 ** -22) + 0.5 / GRID_UNITS,

    writeBlock(block, target, at) {
      const scale = Math.min(Math.fround(largestMagnitude(block) / MAX_CODE), MAX_SCALE);
      if (scale === 0) return 0;
      for (let index = 0; index < block.length; index++) {
        const code = Math.max(-MAX_CODE, Math.min(MAX_CODE, Math.floor(block[index]! / scale + 0.5) | 0));
        const byte = at + (index >> 1);
        target[byte] = target[byte]! | ((code & 15) << (4 * (index & 1)));
      }
      return scale;
    },

    codesValid(codes, at, count) {
      const end = at + ((count + 1) >> 1);
      for (let index = at; index < end; index++) {
        const byte = codes[index]!;
        if ((byte & 15) === UNUSED_NIBBLE || byte >> 4 === UNUSED_NIBBLE) return false;
      }
      return count % 2 === 0 || codes[end - 1]! < 16;
    },

    readBlock(codes, at, scale, grid, from, to) {
      for (let index = from; index < to; index++) {
        const nibble = codes[at + ((index - from) >> 1)]! >> (4 * ((index - from) & 1));
        grid[index] = toGrid(((nibble << 28) >> 28) * scale);
      }
    },
  });
}
