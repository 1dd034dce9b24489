// Codec `sign` (id 4): a bit a value and the mean magnitude of its block, in the frame of block-codec.ts.
//   value = -scale where the bit is 1, else scale; bits from the lowest of a byte up, those after a block's last are 0
// The mean is the scale with the least squared error (Karimireddy et al. 2019); it needs error feedback to converge.
import { GRID_UNITS, MAX_UPDATE_VALUE, toGrid } from "../grid.ts";
import { blockCodec } from "./block-codec.ts";
import type { Codec } from "./codec.ts";
import { largestOf } from "./dense.ts";

/** 1 where the float32 with these bits is below 0, which -0 is not. Without a branch, which would be mispredicted. */
function isNegative(bits: number): number {
  const magnitude = bits << 1;
  return (bits & (magnitude | -magnitude)) >>> 31;
}

/** `blockSize` 8 to 16,384 must divide CHUNK_VALUES. */
export function signCodec(blockSize: number): Codec {
  /** Of the block at hand, by bit. */
  const gridOf = new Float64Array(2);
  return blockCodec({
    name: "sign",
    id: 4,
    blockSize,
    bits: 1,
    maxScale: MAX_UPDATE_VALUE,
    // A value of 0 in a block of large ones comes out as their mean; a value of its scale's sign is nearer than that.
    errorBound: (maxMagnitude) => maxMagnitude + 0.5 / GRID_UNITS,

    writeBlock(values, bits, from, to, target, at) {
      if (!(largestOf(bits, from, to) <= MAX_UPDATE_VALUE)) return Number.NaN;
      let sum = 0;
      for (let index = from; index < to; index++) sum += Math.abs(values[index]!);
      for (let start = from, byte = at; start < to; start += 8, byte++) {
        const end = Math.min(start + 8, to);
        let code = 0;
        for (let index = start; index < end; index++) code |= isNegative(bits[index]!) << (index - start);
        target[byte] = code;
      }
      return Math.fround(sum / (to - from));
    },

    codesValid: (codes, at, count) => count % 8 === 0 || codes[at + (count >> 3)]! >> (count & 7) === 0,

    readBlock(codes, at, scale, grid, from, to) {
      gridOf[0] = toGrid(scale);
      // Not -gridOf[0]: halves are rounded upwards on both sides of 0, and the grid has no -0.
      gridOf[1] = toGrid(-scale);
      for (let index = from; index < to; index++) {
        const bit = (codes[at + ((index - from) >> 3)]! >> ((index - from) & 7)) & 1;
        grid[index] = gridOf[bit]!;
      }
    },
  });
}
