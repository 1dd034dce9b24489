// Codec `int4` (id 2): blocks of 4-bit codes with a free float32 scale, in the frame of block-codec.ts.
//   value = code * scale, code -7 to 7 as a two's complement nibble, the earlier value in the low nibble;
//   the nibble 8 is not used, the high nibble after a block's last value is 0
import { GRID_UNITS, MAX_UPDATE_VALUE, toGrid } from "../grid.ts";
import { blockCodec } from "./block-codec.ts";
import { float32AtMost, SMALLEST_EXACT_SCALE, scaleOf } from "./block-scale.ts";
import type { Codec } from "./codec.ts";
import { largestOf } from "./dense.ts";

const MAX_CODE = 7;
const MAX_SCALE = float32AtMost(MAX_UPDATE_VALUE / MAX_CODE);
const UNUSED_NIBBLE = 8;

/** `blockSize` 1 to 16,384 must divide CHUNK_VALUES. */
export function int4Codec(blockSize: number): Codec {
  /** Of the block at hand, by nibble. */
  const gridOf = new Float64Array(16);
  return blockCodec({
    name: "int4",
    id: 2,
    blockSize,
    bits: 4,
    maxScale: MAX_SCALE,
    // As for int8, with a step of max/7.
    errorBound: (maxMagnitude) => (maxMagnitude / (2 * MAX_CODE)) * (1 + 2 ** -22) + 0.5 / GRID_UNITS,

    writeBlock(values, bits, from, to, target, at) {
      const scale = scaleOf(largestOf(bits, from, to), MAX_CODE, MAX_SCALE);
      if (scale === 0) return 0;
      let byte = at;
      let index = from;
      if (scale >= SMALLEST_EXACT_SCALE) {
        for (; index + 1 < to; index += 2) {
          const first = Math.floor(values[index]! / scale + 0.5) | 0;
          const second = Math.floor(values[index + 1]! / scale + 0.5) | 0;
          target[byte++] = (first & 15) | (second << 4);
        }
      }
      for (; index < to; index++) {
        const code = Math.max(-MAX_CODE, Math.min(MAX_CODE, Math.floor(values[index]! / scale + 0.5) | 0));
        const isSecond = (index - from) & 1;
        target[byte] = target[byte]! | ((code & 15) << (4 * isSecond));
        byte += isSecond;
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
      for (let code = -MAX_CODE; code <= MAX_CODE; code++) gridOf[code & 15] = toGrid(code * scale);
      let byte = at;
      let index = from;
      for (; index + 1 < to; index += 2) {
        const pair = codes[byte++]!;
        grid[index] = gridOf[pair & 15]!;
        grid[index + 1] = gridOf[pair >> 4]!;
      }
      if (index < to) grid[index] = gridOf[codes[byte]! & 15]!;
    },
  });
}
