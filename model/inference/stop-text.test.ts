import fc from "fast-check";
import { expect, it } from "vitest";
import { StopText } from "./stop-text.ts";

function run(pieces: readonly string[], stops: readonly string[]) {
  const watch = new StopText(stops);
  const shown: string[] = [];
  for (const piece of pieces) if (!watch.isStopped) shown.push(watch.push(piece));
  return { shown, text: shown.join("") + watch.end(), isStopped: watch.isStopped };
}

it("a text ends before its first stop string, however it is cut into pieces", () => {
  const letters = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 30 });
  const stop = fc.string({ unit: fc.constantFrom("a", "b"), minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(fc.array(letters, { maxLength: 12 }), fc.array(stop, { maxLength: 3 }), (pieces, stops) => {
      const { text, isStopped } = run(pieces, stops);
      const whole = pieces.join("");
      // Letter by letter: after how many is a stop string there, and where does the longest such begin?
      const end = Array.from(whole, (_, at) => at + 1).find((at) =>
        stops.some((one) => whole.slice(0, at).endsWith(one)),
      );
      const ending = stops.filter((one) => whole.slice(0, end).endsWith(one));
      expect(isStopped).toBe(end !== undefined);
      expect(text).toBe(
        end === undefined ? whole : whole.slice(0, end - Math.max(...ending.map(({ length }) => length))),
      );
    }),
    { numRuns: 1000 },
  );
});

it("nothing is held back longer than it has to be", () => {
  expect(run(["one\n", "two", "\n", "\nthree"], ["\n\n"])).toEqual({
    shown: ["one", "\ntwo", "", ""],
    text: "one\ntwo",
    isStopped: true,
  });
  expect(run(["ab", "c"], []).shown).toEqual(["ab", "c"]);
  expect(run(["ab"], ["bc"]).text).toBe("ab");
});
