// How far a few updates can move the body: a rule over the set of a round's updates, so that no order of arrival, no
// history and no clock is in it. Its parts, in this order; SPEC.md 6.2 has the arithmetic.
//   copies    of updates with the same payload one counts
//   majority  an update that points against the others, far more than is usual among them, is left out
//   clip      what lies far above the median is scaled down: each tensor, then the whole
// Honest peers with embeddings of their own point apart, often a little against each other: that alone is no offence here.
import type { UpdateTraits } from "./update-traits.ts";

export const DEFENCES = ["none", "clip", "majority"] as const;
export type Defence = (typeof DEFENCES)[number];

/** Of the median. Honest peers had at most 1.9 in a tensor of 64 values, and 1.2 in all. */
export const TENSOR_RATIO = 3;
export const WHOLE_RATIO = 1.5;
/** Fewer updates have no majority that a liar could be told from. */
export const FEWEST_JUDGED = 5;
/** Below the median of all: so far, and so many median deviations. Honest ones were at most 0.05 below. */
export const AGREEMENT_MARGIN = 0.1;
export const AGREEMENT_DEVIATIONS = 6;

/**
 * Whether each of `updates` is left out, in their order. `jury`: those of them that each is compared with; `agrees`: from
 * -1 to 1, the same in either order.
 */
export function opposing<Update>(
  updates: readonly Update[],
  jury: readonly Update[],
  agrees: (a: Update, b: Update) => number,
): boolean[] {
  if (updates.length < FEWEST_JUDGED) return updates.map(() => false);
  const scores = updates.map((a) => upperMedian(jury.filter((b) => b !== a).map((b) => agrees(a, b)))!);
  const middle = upperMedian(scores)!;
  const deviation = upperMedian(scores.map((score) => Math.abs(score - middle)))!;
  const margin = Math.max(AGREEMENT_MARGIN, AGREEMENT_DEVIATIONS * deviation);
  const out = scores.map((score) => score < Math.min(0, middle) - margin);
  // Where there is no majority nobody is judged by it.
  return 2 * out.filter(Boolean).length < updates.length ? out : out.map(() => false);
}

/** What is left of each update's tensors, from above 0 to 1, in their order; undefined: all of it. */
export function clipFactors(updates: readonly UpdateTraits[]): (Float64Array | undefined)[] {
  const tensors = updates[0]?.rms.length ?? 0;
  const factors = updates.map(() => new Float64Array(tensors).fill(1));
  for (let tensor = 0; tensor < tensors; tensor++) {
    const values = updates.map(({ rms }) => rms[tensor]!);
    const bound = TENSOR_RATIO * medianAbove0(values);
    for (const [at, rms] of values.entries()) if (rms > bound) factors[at]![tensor] = bound / rms;
  }
  const wholes = updates.map((traits, at) => wholeRms(traits, factors[at]!));
  const bound = WHOLE_RATIO * medianAbove0(wholes);
  for (const [at, whole] of wholes.entries()) {
    if (whole > bound)
      for (let tensor = 0; tensor < tensors; tensor++) factors[at]![tensor]! *= bound / whole;
  }
  return factors.map((own) => (own.every((factor) => factor === 1) ? undefined : own));
}

/** Root of the mean square over all that an update holds, its tensors scaled. */
export function wholeRms({ rms, counts }: UpdateTraits, factors: Float64Array): number {
  let squares = 0;
  let values = 0;
  for (let tensor = 0; tensor < rms.length; tensor++) {
    const scaled = rms[tensor]! * factors[tensor]!;
    squares += scaled * scaled * counts[tensor]!;
    values += counts[tensor]!;
  }
  return Math.sqrt(squares / values);
}

/** Infinity where there are none above 0: nothing is then clipped. */
const medianAbove0 = (values: readonly number[]): number =>
  upperMedian(values.filter((value) => value > 0)) ?? Number.POSITIVE_INFINITY;

/** Of two the greater: of two peers nobody can say which one is the liar. Undefined where there are none. */
const upperMedian = (values: readonly number[]): number | undefined =>
  Float64Array.from(values).sort()[values.length >> 1];
