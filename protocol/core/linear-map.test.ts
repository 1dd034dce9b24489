import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LinearMap } from "./linear-map.ts";

const writes = fc.array(
  fc.record({
    onto: fc.nat(1_000),
    key: fc.constantFrom("a", "b", "c", "d"),
    value: fc.option(fc.nat(9), { nil: undefined }),
  }),
  { maxLength: 60 },
);

describe("a linear map", () => {
  it("keeps every version as it was, whichever is written to or read next", () => {
    fc.assert(
      fc.property(writes, fc.infiniteStream(fc.nat(1_000)), (steps, looks) => {
        const versions: [LinearMap<string, number>, Map<string, number>][] = [
          [new LinearMap([["a", 0]]), new Map([["a", 0]])],
        ];
        for (const { onto, key, value } of steps) {
          const [version, copy] = versions[onto % versions.length]!;
          const next = new Map(copy);
          if (value === undefined) next.delete(key);
          else next.set(key, value);
          versions.push([version.with(key, value), next]);
          const [seen, expected] = versions[looks.next().value! % versions.length]!;
          expect(new Map(seen)).toEqual(expected);
        }
        for (const [version, copy] of versions) {
          expect([version.size, version.has("b"), version.get("c")]).toEqual([
            copy.size,
            copy.has("b"),
            copy.get("c"),
          ]);
          expect(new Map(version.entries())).toEqual(copy);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("is read in the order in which its keys came, as long as only the newest version is used", () => {
    let map = new LinearMap<string, number>();
    for (const [at, key] of ["x", "a", "m"].entries()) map = map.with(key, at);
    map = map.with("a", 7).with("x", undefined).with("x", 8);
    expect([...map]).toEqual([
      ["a", 7],
      ["m", 2],
      ["x", 8],
    ]);
    expect([...map.keys()].length + [...map.values()].length).toBe(6);
  });
});
