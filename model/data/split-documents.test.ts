import { Readable } from "node:stream";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parts, splitAtBlankLines, splitLines } from "./split-documents.ts";

function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  return Readable.from(items).toArray();
}

async function* broken(text: string, cuts: readonly number[]): AsyncGenerator<string> {
  const points = [0, ...cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b), text.length];
  for (let i = 1; i < points.length; i++) yield text.slice(points[i - 1], points[i]);
}

const textOfLines = fc
  .array(fc.constantFrom("a", "bb c", "", " ", "\t", "\r", "  d", "é👩"), { maxLength: 20 })
  .map((lines) => lines.join("\n"));
const cuts = fc.array(fc.nat(200), { maxLength: 6 });

describe("splitting at blank lines", () => {
  test("does not depend on where the pieces break", async () => {
    await fc.assert(
      fc.asyncProperty(textOfLines, cuts, async (text, points) => {
        const whole = await collect(splitAtBlankLines(broken(text, [])));
        expect(await collect(splitAtBlankLines(broken(text, points)))).toEqual(whole);
      }),
    );
  });

  test("gives every character that is no white space, in order, and no document with a blank line in it", async () => {
    await fc.assert(
      fc.asyncProperty(textOfLines, cuts, async (text, points) => {
        const documents = await collect(splitAtBlankLines(broken(text, points)));
        expect(documents.join("").replace(/\s/g, "")).toBe(text.replace(/\s/g, ""));
        for (const document of documents) {
          expect(document).not.toMatch(/\n[ \t\r]*\n/);
          expect(document.trim()).not.toBe("");
        }
      }),
    );
  });

  test("cuts what is too long after a line, else after a space, else anywhere but inside of a character", () => {
    expect([...parts("one two\nthree four", 12)]).toEqual(["one two", "three four"]);
    expect([...parts("one two three four", 12)]).toEqual(["one two", "three four"]);
    expect([...parts("abcdefghij", 4)]).toEqual(["abcd", "efgh", "ij"]);
    expect([...parts("a𠀀𠀀𠀀", 4)]).toEqual(["a𠀀", "𠀀𠀀"]);
  });

  test("never gives a part that is too long", async () => {
    await fc.assert(
      fc.asyncProperty(textOfLines, cuts, fc.integer({ min: 2, max: 9 }), async (text, points, longest) => {
        const documents = await collect(splitAtBlankLines(broken(text, points), longest));
        expect(documents.every(({ length }) => length <= longest && length > 0)).toBe(true);
        expect(documents.join("").replace(/\s/g, "")).toBe(text.replace(/\s/g, ""));
      }),
    );
  });
});

describe("splitting lines", () => {
  test("numbers them from 1, wherever the pieces break", async () => {
    await fc.assert(
      fc.asyncProperty(textOfLines, cuts, async (text, points) => {
        const lines = await collect(splitLines(broken(text, points)));
        const expected = text.split("\n").map((line, index) => ({ line, number: index + 1 }));
        if (expected.at(-1)!.line === "") expected.pop();
        expect(lines).toEqual(expected);
      }),
    );
  });

  test("gives up at a line without end", async () => {
    const lines = await collect(splitLines(broken("ok\n0123456789", [5, 8, 11]), 5));
    expect(lines).toEqual([
      { line: "ok", number: 1 },
      { line: undefined, number: 2 },
    ]);
  });
});
