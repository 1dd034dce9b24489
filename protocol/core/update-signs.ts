// Where an update pushes up and where down, two bits a value, and how far two updates agree in it. Counts are integers, so
// that nothing depends on an order. Values below half of their tensor's rms are in neither: so what an update says with
// many tiny values cannot outweigh what it does with few large ones.
import type { GridUpdate } from "./grid.ts";
import type { ParameterLayout } from "./layout.ts";
import { forEachGridPart, type UpdateTraits } from "./update-traits.ts";

export interface UpdateSigns {
  /** Bit i mod 32 of word floor(i / 32) is that of value i. */
  readonly up: Uint32Array;
  readonly down: Uint32Array;
}

/** Standard deviations of the difference between two updates that have nothing to do with each other: that is no agreement. */
const NOISE = 3;

/** P / 4 bytes for an update of P values. */
export function signsOf(update: GridUpdate, layout: ParameterLayout, { rms }: UpdateTraits): UpdateSigns {
  const words = Math.ceil(layout.total / 32);
  const up = new Uint32Array(words);
  const down = new Uint32Array(words);
  forEachGridPart(update, layout, (tensor, offset, grid) => {
    const least = rms[tensor]! / 2;
    if (least === 0) return;
    for (let at = 0; at < grid.length; ) {
      const word = (offset + at) >>> 5;
      const end = Math.min(grid.length, 32 * (word + 1) - offset);
      let upper = 0;
      let lower = 0;
      for (let bit = 1 << ((offset + at) & 31); at < end; at++, bit <<= 1) {
        const value = grid[at]!;
        upper |= value >= least ? bit : 0;
        lower |= value <= -least ? bit : 0;
      }
      up[word] = up[word]! | upper;
      down[word] = down[word]! | lower;
    }
  });
  return { up, down };
}

/**
 * From -1 to 1. Of the N values that both have, D more have the same sign than not:
 *   0 where |D| <= 3 sqrt(N), else (|D| - 3 sqrt(N)) / N with the sign of D
 */
export function agreement(a: UpdateSigns, b: UpdateSigns): number {
  let same = 0;
  let shared = 0;
  for (let word = 0; word < a.up.length; word++) {
    const [aUp, aDown, bUp, bDown] = [a.up[word]!, a.down[word]!, b.up[word]!, b.down[word]!];
    shared += bitsIn((aUp | aDown) & (bUp | bDown));
    same += bitsIn((aUp & bUp) | (aDown & bDown));
  }
  const difference = 2 * same - shared;
  const beyondNoise = Math.abs(difference) - NOISE * Math.sqrt(shared);
  return beyondNoise > 0 ? (Math.sign(difference) * beyondNoise) / shared : 0;
}

function bitsIn(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  const nibbles = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
