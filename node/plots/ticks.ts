// Where an axis has its marks: round numbers that cover the values. Pure.

/** Ascending, evenly spaced at 1, 2 or 5 times a power of ten; the first and last enclose both ends. */
export function ticks(low: number, high: number, about = 6): number[] {
  if (!(Number.isFinite(low) && Number.isFinite(high))) throw new RangeError("an axis needs finite ends");
  // Values that are one for the eye still need two marks.
  const span = Math.max(high - low, 1e-6 * Math.max(Math.abs(low), Math.abs(high), 1e-3));
  const rough = span / Math.max(1, about - 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough * 0.999)!;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
  return Array.from({ length: last - first + 1 }, (_, at) => (first + at) * step);
}

/** As short as the distance between the marks allows. */
export function tickLabel(value: number, step: number): string {
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return value.toFixed(Math.min(digits, 8)).replace(/^-(0(\.0*)?)$/, "$1");
}
