// Codec `sign` (id 4): a bit a value and the mean magnitude of its block, in the frame of block-codec.ts.
//   value = -scale where the bit is 1, else scale; bits from the lowest of a byte up, those after a block's last are 0
// The mean is the scale with the least squared error (Karimireddy et al. 2019); it needs error feedback to converge.
import { GRID_UNITS, MAX_UPDATE_VALUE, toGrid } from "../grid.ts";
import { blockCodec } from "./block-codec.ts";
import type { Codec } from "./codec.ts";

/** `blockSize` 8 to 16,384 must divide CHUNK_VALUES. */
export function signCodec(blockSize: number): Codec {
  return blockCodec({
    name: "sign",
    id: 4,
    blockSize,
    bits: 1,
    maxScale: MAX_UPDATE_VALUE,
    // A value of 0 in a block of large ones comes out as their mean; a value of its scale's sign is nearer than that.
    errorBound: (maxMagnitude) => maxMagnitude + 0.5 / GRID_UNITS,

    writeBlock(block, target, at) {
      let sum = 0;
      for (let index = 0; index < block.length; index++) {
        const value = block[index]!;
        sum += Math.abs(value);
        const byte = at + (index >> 3);
        target[byte] = target[byte]! | ((value < 0 ? 1 : 0) << (index & 7));
      }
      return Math.fround(sum / block.length);
    },

    codesValid: (codes, at, count) => count % 8 === 0 || codes[at + (count >> 3)]! >> (count & 7) === 0,

    readBlock(codes, at, scale, grid, from, to) {
      const positive = toGrid(scale);
      // Not -positive: halves are rounded upwards on both sides of 0, and the grid has no -0.
      const negative = toGrid(-scale);
      for (let index = from; index < to; index++) {
        const bit = (codes[at + ((index - from) >> 3)]! >> ((index - from) & 7)) & 1;
        grid[index] = bit === 1 ? negative : positive;
      }
    },
  });
}
