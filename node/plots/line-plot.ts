// A line plot as an SVG of its own: readable in light and dark, with and without colours, by eyes and by screen readers.
// Numbers in, text out; knows nothing of what is plotted.
import { tickLabel, ticks } from "./ticks.ts";

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Ends of a band around the point, such as a standard deviation; both or none. */
  readonly low?: number;
  readonly high?: number;
}

export interface Series {
  readonly label: string;
  readonly points: readonly Point[];
}

export interface LinePlot {
  readonly title: string;
  /** What one sees in it, for who does not. */
  readonly description: string;
  /** With its unit. */
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
}

const WIDTH = 880;
const HEIGHT = 420;
const PLOT = { left: 64, right: 600, top: 44, bottom: 364 };
const LEGEND = { x: 620, line: 22 };

/** Distinct also to the colour-blind (after Okabe and Ito), and not too near to white or black. */
const COLOURS = [
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#cc79a7",
  "#b8860b",
  "#56a0d8",
  "#8b5fbf",
  "#7f7f7f",
  "#c0392b",
  "#3d8b37",
];
/** Lines differ without colours too. */
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "12 4", "4 2"];

const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-size: 15px; font-weight: 600; }
  .axis { stroke: #57606a; fill: none; }
  .grid { stroke: #d0d7de; stroke-width: 1; }
  .series { fill: none; stroke-width: 2; stroke-linejoin: round; }
  .band { stroke: none; opacity: 0.15; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .axis { stroke: #9198a1; }
    .grid { stroke: #3d444d; }
  }`;

/** @throws RangeError where there is nothing to plot, or a value is not finite */
export function linePlot(plot: LinePlot): string {
  const points = plot.series.flatMap((series) => series.points);
  if (points.length === 0) throw new RangeError(`there is nothing to plot in "${plot.title}"`);
  const xs = points.map(({ x }) => x);
  const ys = points.flatMap(({ y, low = y, high = y }) => [y, low, high]);
  const [xTicks, yTicks] = [xs, ys].map((values) => ticks(Math.min(...values), Math.max(...values))) as [
    number[],
    number[],
  ];
  const x = scale(xTicks, PLOT.left, PLOT.right);
  const y = scale(yTicks, PLOT.bottom, PLOT.top);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="title description">`,
    `<title id="title">${escaped(plot.title)}</title>`,
    `<desc id="description">${escaped(plot.description)}</desc>`,
    `<style>${STYLE}\n</style>`,
    text(PLOT.left, 24, plot.title, 'class="title"'),
    ...yTicks.flatMap((value) => [
      line(PLOT.left, y(value), PLOT.right, y(value), "grid"),
      text(PLOT.left - 8, y(value) + 4, tickLabel(value, stepOf(yTicks)), 'text-anchor="end"'),
    ]),
    ...xTicks.map((value) =>
      text(x(value), PLOT.bottom + 20, tickLabel(value, stepOf(xTicks)), 'text-anchor="middle"'),
    ),
    line(PLOT.left, PLOT.bottom, PLOT.right, PLOT.bottom, "axis"),
    text((PLOT.left + PLOT.right) / 2, PLOT.bottom + 44, plot.xLabel, 'text-anchor="middle"'),
    text(
      0,
      0,
      plot.yLabel,
      `transform="translate(16 ${(PLOT.top + PLOT.bottom) / 2}) rotate(-90)" text-anchor="middle"`,
    ),
    ...plot.series.flatMap((series, at) => drawn(series, at, x, y)),
    "</svg>\n",
  ].join("\n");
}

function drawn({ label, points }: Series, at: number, x: Scale, y: Scale): string[] {
  const colour = COLOURS[at % COLOURS.length]!;
  const dash = DASHES[at % DASHES.length]!;
  const stroke = `class="series" stroke="${colour}"${dash === "" ? "" : ` stroke-dasharray="${dash}"`}`;
  const path = (from: readonly (readonly [number, number])[]) =>
    from.map(([px, py], index) => `${index === 0 ? "M" : "L"}${round(x(px))} ${round(y(py))}`).join("");
  const banded = points.filter(({ low, high }) => low !== undefined && high !== undefined);
  const legendY = PLOT.top + 8 + at * LEGEND.line;
  return [
    ...(banded.length < 2
      ? []
      : [
          `<path class="band" fill="${colour}" d="${path([
            ...banded.map(({ x: px, high }) => [px, high!] as const),
            ...banded.toReversed().map(({ x: px, low }) => [px, low!] as const),
          ])}Z"/>`,
        ]),
    `<path ${stroke} d="${path(points.map(({ x: px, y: py }) => [px, py] as const))}"/>`,
    `<path ${stroke} d="M${LEGEND.x} ${legendY}h28"/>`,
    text(LEGEND.x + 36, legendY + 4, label),
  ];
}

type Scale = (value: number) => number;

function scale(marks: readonly number[], from: number, to: number): Scale {
  const [low, high] = [marks[0]!, marks.at(-1)!];
  return (value) => {
    if (!Number.isFinite(value)) throw new RangeError("a point is not finite");
    return from + ((value - low) / (high - low)) * (to - from);
  };
}

const stepOf = (marks: readonly number[]): number => marks[1]! - marks[0]!;
const round = (value: number): string => value.toFixed(1).replace(/\.0$/, "");

function line(x1: number, y1: number, x2: number, y2: number, name: string): string {
  return `<path class="${name}" d="M${round(x1)} ${round(y1)}L${round(x2)} ${round(y2)}"/>`;
}

function text(x: number, y: number, content: string, attributes = ""): string {
  const gap = attributes === "" ? "" : ` ${attributes}`;
  return `<text x="${round(x)}" y="${round(y)}"${gap}>${escaped(content)}</text>`;
}

const ESCAPES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (content: string): string => content.replace(/[&<>"]/g, (character) => ESCAPES[character]!);
