// Tables and numbers as Markdown. Pure.
import { interval, isWithinNoise, type Summary } from "./statistics.ts";

/** The first column to the left, numbers to the right. */
export function markdownTable(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const rule = titles.map((_, column) => (column === 0 ? "---" : "---:"));
  return [line(titles), line(rule), ...rows.map(line)].join("\n");
}

/** `3.412 ± 0.021`, without a deviation where there is but one value. */
export function spread(value: Summary | undefined, digits = 3): string {
  if (value === undefined) return "–";
  const mean = value.mean.toFixed(digits);
  return value.deviation === undefined ? mean : `${mean} ± ${value.deviation.toFixed(digits)}`;
}

/** `−0.124 ± 0.030` with half of a 95% interval, marked `≈` where it may well be 0; signs show which way. */
export function difference(value: Summary | undefined, digits = 3): string {
  if (value === undefined) return "–";
  const half = interval(value);
  const sign = value.mean < 0 ? "−" : "+";
  const number = `${sign}${Math.abs(value.mean).toFixed(digits)}`;
  if (half === undefined) return `${number} (one seed)`;
  return `${isWithinNoise(value) ? "≈ " : ""}${number} ± ${half.toFixed(digits)}`;
}

/** `1,234`, `1.23M`. */
export function quantity(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toPrecision(3)}B`;
  if (value >= 1e6) return `${(value / 1e6).toPrecision(3)}M`;
  return Math.round(value).toLocaleString("en-US");
}

export const times = (value: number): string =>
  `${value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en-US")}×`;
