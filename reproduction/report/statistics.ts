// Means, spreads and what of a difference is beyond them. Pure.

export interface Summary {
  readonly mean: number;
  /** Sample standard deviation; undefined of one value. */
  readonly deviation: number | undefined;
  readonly count: number;
}

/** @throws RangeError of no values */
export function summary(values: readonly number[]): Summary {
  if (values.length === 0) throw new RangeError("there is no mean of nothing");
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const deviation = values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : undefined;
  return { mean, deviation, count: values.length };
}

/** Quantiles of Student's t for a two-sided 95% interval, by degrees of freedom from 1. */
const STUDENT_95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
const NORMAL_95 = 1.96;

/** Half the width of a 95% confidence interval of the mean; undefined of one value. */
export function interval({ deviation, count }: Summary): number | undefined {
  if (deviation === undefined) return undefined;
  return ((STUDENT_95[count - 2] ?? NORMAL_95) * deviation) / Math.sqrt(count);
}

/** Whether a mean of paired differences may well be 0. Undefined where nobody can tell: of one seed. */
export function isWithinNoise(differences: Summary): boolean | undefined {
  const half = interval(differences);
  return half === undefined ? undefined : Math.abs(differences.mean) <= half;
}
