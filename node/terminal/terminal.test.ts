import { PassThrough } from "node:stream";
import { describe, expect, test } from "vitest";
import { bytes, count, duration, factor, fixed, percent } from "./format.ts";
import { LiveRegion } from "./live-region.ts";
import { paintFor } from "./paint.ts";
import { ProgressLine } from "./progress-line.ts";
import { cut, table, visibleWidth } from "./table.ts";

describe("numbers as people read them", () => {
  test.each([
    [bytes(0), "0 B"],
    [bytes(999), "999 B"],
    [bytes(999.6), "1.00 kB"],
    [bytes(1_234_567), "1.23 MB"],
    [bytes(999_600), "1.00 MB"],
    [bytes(5e18), "5.00e+3 PB"],
    [count(812), "812"],
    [count(84_900_000), "84.9M"],
    [duration(850), "850 ms"],
    [duration(42_400), "42 s"],
    [duration(200_000), "3 m 20 s"],
    [duration(7_500_000), "2 h 05 m"],
    [duration(273_600_000), "3 d 04 h"],
    [factor(3.94), "3.9×"],
    [factor(1234.4), "1,234×"],
    [factor(undefined), "–"],
    [percent(0.931), "93%"],
    [fixed(undefined, 2), "–"],
  ])("%s", (shown, expected) => {
    expect(shown).toBe(expected);
  });
});

describe("a table", () => {
  test("aligns columns by what is seen, whatever colours and scripts are in it", () => {
    const columns = [{ title: "name" }, { title: "n", align: "right" }] as const;
    expect(
      table(columns, [
        ["\x1b[1mab\x1b[22m", "5"],
        ["诗歌", "1234"],
      ]),
    ).toEqual(["name     n", "\x1b[1mab\x1b[22m       5", "诗歌  1234"]);
  });

  test("counts the cells of a terminal", () => {
    expect(visibleWidth("abc")).toBe(3);
    expect(visibleWidth("\x1b[31m诗\x1b[39m")).toBe(2);
    expect(visibleWidth("e\u0301")).toBe(1);
  });

  test("cuts a line that is too long and leaves one that fits", () => {
    expect(cut("abcdef", 6)).toBe("abcdef");
    expect(cut("abcdefg", 6)).toBe("abcde…");
    expect(visibleWidth(cut("诗歌诗歌", 6))).toBeLessThanOrEqual(6);
  });
});

test("colours need a terminal that wants them", () => {
  const red = (isTTY: boolean, environment: Record<string, string>) =>
    paintFor({ isTTY }, environment)("red", "x");
  expect(red(true, {})).toBe("\x1b[31mx\x1b[39m");
  expect(red(false, {})).toBe("x");
  expect(red(true, { NO_COLOR: "1" })).toBe("x");
  expect(red(true, { NO_COLOR: "" })).toBe("\x1b[31mx\x1b[39m");
  expect(red(true, { TERM: "dumb" })).toBe("x");
});

test("a live region draws over itself and gives the cursor back", () => {
  const output = new PassThrough();
  const region = new LiveRegion(output);
  region.draw(["one", "two"]);
  expect(String(output.read())).toBe("\x1b[?25l\x1b[2Kone\n\x1b[2Ktwo\n\x1b[J");
  region.draw(["three"]);
  expect(String(output.read())).toBe("\x1b[?25l\x1b[2A\x1b[2Kthree\n\x1b[J");
  region.end();
  expect(String(output.read())).toBe("\x1b[?25h");
});

describe("a progress line", () => {
  function progressOn(isTTY: boolean) {
    const output = Object.assign(new PassThrough(), { isTTY });
    let nowMs = 0;
    const line = new ProgressLine(output, () => nowMs);
    const later = (elapsedMs: number, text: string) => {
      nowMs += elapsedMs;
      line.show(() => text);
    };
    return { line, later, written: () => String(output.read() ?? "") };
  }

  test("on a terminal is drawn over itself, no faster than anybody reads, and taken away", () => {
    const { line, later, written } = progressOn(true);
    later(0, "one");
    expect(written()).toContain("one");
    later(50, "two");
    expect(written()).toBe("");
    later(60, "three");
    expect(written()).toBe("\x1b[?25l\x1b[1A\x1b[2Kthree\n\x1b[J");
    line.print("kept");
    expect(written()).toBe("\x1b[1A\x1b[Jkept\n");
    line.end();
    expect(written()).toContain("\x1b[?25h");
  });

  test("elsewhere is a line now and then, without codes, and none of work that is done at once", () => {
    const { line, later, written } = progressOn(false);
    later(5_000, "one");
    expect(written()).toBe("");
    later(6_000, "two");
    later(100, "three");
    line.end();
    expect(written()).toBe("two\n");
  });
});
