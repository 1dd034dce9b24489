// The scale of a block whose largest code stands for its largest magnitude.
import { MAX_UPDATE_VALUE } from "../grid.ts";

/**
 * From here on a float32 is rounded by no more than 2^-24 of itself, so that no value of a block is beyond its largest code
 * by as much as half a code: codes need not be clamped.
 */
export const SMALLEST_EXACT_SCALE = 2 ** -126;

/** NaN where the magnitude is none that an update may have. */
export function scaleOf(largest: number, maxCode: number, maxScale: number): number {
  if (!(largest <= MAX_UPDATE_VALUE)) return Number.NaN;
  return Math.min(Math.fround(largest / maxCode), maxScale);
}

/** The largest float32 not above a positive `value`. */
export function float32AtMost(value: number): number {
  const nearest = Math.fround(value);
  return nearest <= value ? nearest : Math.fround(value * (1 - 2 ** -24));
}
