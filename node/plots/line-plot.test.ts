import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type LinePlot, linePlot } from "./line-plot.ts";
import { tickLabel, ticks } from "./ticks.ts";

const plot: LinePlot = {
  title: "Bits & <bytes>",
  description: 'Both fall, "b" less.',
  xLabel: "steps",
  yLabel: "bits per byte",
  series: [
    {
      label: "a",
      points: [
        { x: 0, y: 4, low: 3.5, high: 4.5 },
        { x: 100, y: 3, low: 2.9, high: 3.2 },
      ],
    },
    {
      label: "b > a",
      points: [
        { x: 0, y: 4 },
        { x: 50, y: 3.9 },
        { x: 100, y: 3.8 },
      ],
    },
  ],
};

/** Names of elements in order; throws where they do not nest, or where text holds what must be escaped. */
function elementsOf(svg: string): string[] {
  const open: string[] = [];
  const names: string[] = [];
  for (const [, closing, name, , alone, content] of svg.matchAll(
    /<(\/?)([a-z]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>([^<]*)/g,
  )) {
    if (closing === "/") {
      if (open.pop() !== name) throw new Error(`</${name}> closes something else`);
    } else {
      names.push(name!);
      if (alone !== "/") open.push(name!);
    }
    if (/&(?!(amp|lt|gt|quot);)/.test(content!)) throw new Error(`"${content}" is not escaped`);
  }
  if (open.length > 0) throw new Error(`${open.join(", ")} left open`);
  // Nothing but these elements and their text.
  if (/[<>]/.test(svg.replaceAll(/<\/?[a-z]+(\s+[\w:-]+="[^"<]*")*\s*\/?>/g, "")))
    throw new Error("stray brackets");
  return names;
}

describe("a line plot", () => {
  it("is well-formed, says what it shows and names its axes and lines", () => {
    const svg = linePlot(plot);
    const names = elementsOf(svg);
    expect(names.slice(0, 4)).toEqual(["svg", "title", "desc", "style"]);
    for (const words of [
      "Bits &amp; &lt;bytes&gt;",
      "&quot;b&quot; less",
      ">steps<",
      ">bits per byte<",
      "b &gt; a",
    ]) {
      expect(svg).toContain(words);
    }
    expect(svg).toContain("prefers-color-scheme: dark");
  });

  it("draws each line where its numbers are, and a band where there is one", () => {
    const svg = linePlot(plot);
    const paths = [...svg.matchAll(/<path class="series"[^>]* d="([^"]*)"/g)].map(([, d]) => d!);
    expect(paths).toHaveLength(4);
    // Each line's legend follows it.
    expect(paths.filter((_, at) => at % 2 === 0).map((d) => d.match(/[ML]/g)!.length)).toEqual([2, 3]);
    const [from, to] = paths[0]!
      .match(/-?[\d.]+/g)!
      .map(Number)
      .reduce<number[][]>((pairs, value, at) => {
        if (at % 2 === 0) pairs.push([value]);
        else pairs.at(-1)!.push(value);
        return pairs;
      }, []) as [number[], number[]];
    expect(from[0]).toBeLessThan(to[0]!);
    // Upwards is less in SVG: the line falls.
    expect(from[1]).toBeLessThan(to[1]!);
    expect(svg.match(/class="band"/g)).toHaveLength(1);
  });

  it("is well-formed whatever the numbers", () => {
    const value = fc.double({ min: -1e9, max: 1e9, noNaN: true });
    const series = fc.record({
      label: fc.string(),
      points: fc.array(fc.record({ x: value, y: value }), { minLength: 1, maxLength: 5 }),
    });
    fc.assert(
      fc.property(fc.array(series, { minLength: 1, maxLength: 4 }), (lines) => {
        const svg = linePlot({ ...plot, series: lines });
        elementsOf(svg);
        expect(svg).not.toMatch(/NaN|Infinity/);
      }),
    );
  });

  it("refuses to draw nothing, or what is no number", () => {
    expect(() => linePlot({ ...plot, series: [] })).toThrow(RangeError);
    const broken = { label: "c", points: [{ x: 0, y: Number.NaN }] };
    expect(() => linePlot({ ...plot, series: [broken] })).toThrow(RangeError);
  });
});

describe("the marks of an axis", () => {
  it("are round, enclose the values and are not too many", () => {
    expect(ticks(0, 100)).toEqual([0, 20, 40, 60, 80, 100]);
    expect(ticks(3.21, 3.29)[0]).toBeLessThanOrEqual(3.21);
    const value = fc.double({ min: -1e6, max: 1e6, noNaN: true });
    fc.assert(
      fc.property(value, value, (a, b) => {
        const [low, high] = [Math.min(a, b), Math.max(a, b)];
        const marks = ticks(low, high);
        const slack = 1e-6 * Math.max(1, Math.abs(low), Math.abs(high));
        expect(marks[0]!).toBeLessThanOrEqual(low + slack);
        expect(marks.at(-1)!).toBeGreaterThanOrEqual(high - slack);
        expect(marks.length).toBeLessThanOrEqual(9);
        expect(marks.length).toBeGreaterThan(1);
      }),
    );
  });

  it("are written with as many digits as their distance needs", () => {
    expect(ticks(3.2, 3.3).map((mark, _, all) => tickLabel(mark, all[1]! - all[0]!))).toEqual([
      "3.20",
      "3.22",
      "3.24",
      "3.26",
      "3.28",
      "3.30",
    ]);
    expect(tickLabel(-1e-17, 0.5)).toBe("0.0");
  });
});
