// Codec `int8` (id 1): blocks of signed bytes with a free float32 scale, in the frame of block-codec.ts.
//   value = code * scale, code -127 to 127; the byte 0x80 is not used
import { GRID_UNITS, MAX_UPDATE_VALUE } from "../grid.ts";
import { blockCodec } from "./block-codec.ts";
import type { BlockFormat } from "./block-format.ts";
import { float32AtMost, SMALLEST_EXACT_SCALE, scaleOf } from "./block-scale.ts";
import type { Codec } from "./codec.ts";
import { largestOf } from "./dense.ts";

const MAX_CODE = 127;
const MAX_SCALE = float32AtMost(MAX_UPDATE_VALUE / MAX_CODE);
const UNUSED_BYTE = 0x80;
const UNUSED_BYTES = 0x80808080 | 0;
const ONES = 0x01010101;

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

    writeBlock(values, bits, from, to, target, at) {
      const scale = scaleOf(largestOf(bits, from, to), MAX_CODE, MAX_SCALE);
      // All zero, or so small that the scale underflows: the codes stay 0.
      if (scale === 0) return 0;
      if (scale >= SMALLEST_EXACT_SCALE) {
        for (let index = from, byte = at; index < to; index++, byte++) {
          target[byte] = Math.floor(values[index]! / scale + 0.5) | 0;
        }
        return scale;
      }
      for (let index = from, byte = at; index < to; index++, byte++) {
        const code = Math.floor(values[index]! / scale + 0.5) | 0;
        target[byte] = Math.max(-MAX_CODE, Math.min(MAX_CODE, code));
      }
      return scale;
    },

    allValid: lacksUnusedByte,

    codesValid(codes, at, count) {
      for (let index = at; index < at + count; index++) if (codes[index] === UNUSED_BYTE) return false;
      return true;
    },

    readBlock(codes, at, scale, grid, from, to) {
      // Times a power of two: as exact as toGrid.
      const step = scale * GRID_UNITS;
      for (let index = from, byte = at; index < to; index++, byte++) {
        grid[index] = Math.floor(((codes[byte]! << 24) >> 24) * step + 0.5);
      }
    },
  };
}

/** Four bytes at a time: x less 0x80 in each byte has a byte that is 0 where (x - 1) & ~x has that byte's highest bit. */
function lacksUnusedByte(codes: Uint8Array): boolean {
  const head = Math.min((4 - (codes.byteOffset % 4)) % 4, codes.length);
  const words = new Int32Array(codes.buffer, codes.byteOffset + head, (codes.length - head) >> 2);
  let found = 0;
  for (let at = 0; at < words.length; at++) {
    const word = words[at]! ^ UNUSED_BYTES;
    found |= (word - ONES) & ~word & UNUSED_BYTES;
  }
  if (found !== 0) return false;
  for (let at = 0; at < head; at++) if (codes[at] === UNUSED_BYTE) return false;
  for (let at = head + 4 * words.length; at < codes.length; at++) if (codes[at] === UNUSED_BYTE) return false;
  return true;
}
