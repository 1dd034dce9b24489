import { describe, expect, it } from "vitest";
import { GraphBuilder } from "../graph/builder.ts";
import { interpret } from "../runtime/interpreter.ts";
import { alibiSlopes, attentionBiases, queryChunks } from "./alibi.ts";

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
    const { bias } = interpret(b.build({ bias: attentionBiases(b, 2, 3)[0]! }), {});
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

  it("goes in chunks that see the keys up to their own end", () => {
    const length = 259;
    expect(queryChunks(length)).toEqual([129, 130]);
    const b = new GraphBuilder();
    const chunks = attentionBiases(b, 1, length);
    expect(chunks.map(({ shape }) => shape)).toEqual([
      [1, 1, 129, 129],
      [1, 1, 130, 259],
    ]);
    const { last } = interpret(b.build({ last: chunks[1]! }), {});
    const row = (query: number) => [...last!.subarray((query - 129) * length, (query - 128) * length)];
    const slope = 2 ** -8;
    expect(row(200)).toEqual(
      Array.from({ length }, (_, key) => (key <= 200 ? slope * (key - 258) : -Infinity)),
    );
  });

  it.each([1, 127, 128, 256, 1000, 1024, 2048])(
    "cuts %i queries into few chunks that are large enough",
    (length) => {
      const sizes = queryChunks(length);
      expect(sizes.reduce((sum, size) => sum + size)).toBe(length);
      expect(sizes.length).toBeLessThanOrEqual(length / 128 + 1);
      if (sizes.length > 1) expect(Math.min(...sizes)).toBeGreaterThanOrEqual(128);
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
    },
  );
});
