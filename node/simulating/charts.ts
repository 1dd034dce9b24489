// Series of numbers as small pictures: a line of blocks for a terminal, and line charts as one SVG file. Pure.

const BLOCKS = "▁▂▃▄▅▆▇█";

/** One character a value, from the least (or `from`) to the largest; longer series are cut into means of equal parts. */
export function sparkline(
  values: readonly number[],
  { width = 60, from }: { width?: number; from?: number } = {},
): string {
  const points = condensed(values, width);
  const least = from ?? Math.min(...points);
  const span = Math.max(...points) - least;
  return points
    .map((value) => {
      const level = span > 0 ? Math.round(((value - least) / span) * (BLOCKS.length - 1)) : 0;
      return BLOCKS[Math.max(0, Math.min(BLOCKS.length - 1, level))];
    })
    .join("");
}

function condensed(values: readonly number[], width: number): number[] {
  if (values.length <= width) return [...values];
  return Array.from({ length: width }, (_, part) => {
    const slice = values.slice(
      Math.floor((part * values.length) / width),
      Math.floor(((part + 1) * values.length) / width),
    );
    return slice.reduce((sum, value) => sum + value, 0) / slice.length;
  });
}

export interface Chart {
  readonly title: string;
  readonly values: readonly number[];
  /** How a value is written at the axis. */
  readonly format: (value: number) => string;
}

const CHART = { width: 640, height: 120, left: 80, right: 12, top: 28, bottom: 14 } as const;

/** Charts one below another over the same axis of rounds. */
export function svgCharts(heading: string, charts: readonly Chart[]): string {
  const { width, height } = CHART;
  const total = 40 + charts.length * height;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${total}" viewBox="0 0 ${width} ${total}" font-family="sans-serif" font-size="11">`,
    `<rect width="${width}" height="${total}" fill="white"/>`,
    `<text x="12" y="22" font-size="14">${escaped(heading)}</text>`,
    ...charts.flatMap((chart, at) => svgChart(chart, 34 + at * height)),
    "</svg>",
    "",
  ].join("\n");
}

function svgChart({ title, values, format }: Chart, y: number): string[] {
  const { width, height, left, right, top, bottom } = CHART;
  const most = Math.max(...values, Number.MIN_VALUE);
  const inner = { width: width - left - right, height: height - top - bottom };
  const points = values.map((value, at) => {
    const x = left + (values.length > 1 ? (at * inner.width) / (values.length - 1) : inner.width / 2);
    return `${x.toFixed(1)},${(y + top + inner.height * (1 - value / most)).toFixed(1)}`;
  });
  const baseline = y + top + inner.height;
  return [
    `<text x="${left}" y="${y + 18}" fill="#333">${escaped(title)}</text>`,
    `<line x1="${left}" y1="${baseline}" x2="${width - right}" y2="${baseline}" stroke="#999"/>`,
    `<text x="${left - 6}" y="${y + top + 8}" text-anchor="end" fill="#666">${escaped(format(most))}</text>`,
    `<text x="${left - 6}" y="${baseline}" text-anchor="end" fill="#666">${escaped(format(0))}</text>`,
    `<polyline fill="none" stroke="#1f6feb" stroke-width="1.5" points="${points.join(" ")}"/>`,
  ];
}

const escaped = (text: string): string =>
  text.replace(/[&<>]/g, (character) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[character]!);
