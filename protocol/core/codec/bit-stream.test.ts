import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BitReader, BitWriter, riceBits } from "./bit-stream.ts";

const parameter = fc.integer({ min: 0, max: 12 });
const gaps = fc.array(fc.tuple(fc.nat(4095), parameter), { minLength: 1, maxLength: 200 });

function written(entries: readonly (readonly [number, number])[]): Uint8Array {
  const bits = entries.reduce((sum, [gap, own]) => sum + riceBits(gap, own), 0);
  const bytes = new Uint8Array(Math.ceil(bits / 8));
  const writer = new BitWriter(bytes, 0);
  for (const [gap, own] of entries) writer.rice(gap, own);
  expect(writer.end()).toBe(bytes.length);
  return bytes;
}

describe("the Rice code", () => {
  it("is a run of zeros, a one and the low bits, from the lowest bit of a byte up", () => {
    // 9 = 2 * 4 + 1 in parameter 2: 0 0 1, then 1 0; then 0 in parameter 0: a one.
    expect([
      ...written([
        [9, 2],
        [0, 0],
      ]),
    ]).toEqual([0b101100]);
  });

  it("reads back what was written, in the bits it said", () => {
    fc.assert(
      fc.property(gaps, (entries) => {
        const reader = new BitReader(written(entries), 0);
        for (const [gap, own] of entries) expect(reader.rice(own, gap)).toBe(gap);
        expect(reader.atEnd()).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it("refuses a gap above the limit, and gaps in bytes that have ended", () => {
    expect(new BitReader(written([[100, 3]]), 0).rice(3, 99)).toBe(-1);
    expect(new BitReader(written([[103, 3]]), 0).rice(3, 102)).toBe(-1);
    expect(new BitReader(new Uint8Array(0), 0).rice(5, 4095)).toBe(-1);
    expect(new BitReader(new Uint8Array(10_000), 0).rice(0, 4095)).toBe(-1);
  });

  it("does not end where bits are missing, where a byte is left, or where the padding is not zero", () => {
    const bytes = written([[9, 2]]);
    const ends = (given: Uint8Array, own = 2) => {
      const reader = new BitReader(given, 0);
      reader.rice(own, 4095);
      return reader.atEnd();
    };
    expect(ends(bytes)).toBe(true);
    expect(ends(Uint8Array.of(bytes[0]!, 0))).toBe(false);
    expect(ends(Uint8Array.of(bytes[0]! | 0x20))).toBe(false);
    expect(ends(bytes, 12)).toBe(false);
    expect(ends(new Uint8Array(0))).toBe(false);
  });
});
