import { describe, expect, it } from "vitest";
import { GraphBuilder } from "../graph/builder.ts";
import { interpret } from "../runtime/interpreter.ts";
import { alibiSlopes, attentionBias } from "./alibi.ts";

describe("ALiBi", () => {
  it("has slopes 2^-1 to 2^-8 for 8 heads", () => {
    expect(alibiSlopes(8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((i) => 2 ** -i));
  });

  it("takes every second slope first where the heads are no power of two, as MPT does", () => {
    // 6 heads: of the 8 slopes 2^-1..2^-8 the 2nd, 4th, 6th, 8th, then the 1st and 3rd.
    expect(alibiSlopes(6)).toEqual([2, 4, 6, 8, 1, 3].map((i) => 2 ** -i));
    expect(alibiSlopes(3)).toEqual([2 ** -4, 2 ** -8, 2 ** -2]);
    expect(alibiSlopes(1)).toEqual([2 ** -8]);
  });

  it("falls with distance under the diagonal and shuts off what is above it", () => {
    const b = new GraphBuilder();
    const { bias } = interpret(b.build({ bias: attentionBias(b, 2, 3) }), {});
    const [s, t] = [2 ** -4, 2 ** -8];
    const off = -Infinity;
    expect([...bias!]).toEqual(
      [
        [
          [-2 * s, off, off],
          [-2 * s, -s, off],
          [-2 * s, -s, 0],
        ],
        [
          [-2 * t, off, off],
          [-2 * t, -t, off],
          [-2 * t, -t, 0],
        ],
      ].flat(2),
    );
  });
});
