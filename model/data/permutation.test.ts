import fc from "fast-check";
import { expect, test } from "vitest";
import { Permutation } from "./permutation.ts";

const seed = fc.integer({ min: 0, max: 2 ** 32 - 1 });

function order(size: number, seedValue: number, epoch: number): number[] {
  const permutation = new Permutation(size, seedValue, epoch);
  return Array.from({ length: size }, (_, position) => permutation.at(position));
}

test("every element comes exactly once, whatever the size", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 700 }), seed, fc.nat(100), (size, seedValue, epoch) => {
      const sorted = order(size, seedValue, epoch).sort((a, b) => a - b);
      expect(sorted).toEqual(Array.from({ length: size }, (_, i) => i));
    }),
  );
});

test("seeds and epochs change the order", () => {
  const orders = [order(100, 1, 0), order(100, 1, 1), order(100, 2, 0)].map(String);
  expect(new Set(orders).size).toBe(3);
  expect(orders[0]).not.toBe(String(Array.from({ length: 100 }, (_, i) => i)));
});

test("the order is the same on every machine, for ever: saved positions depend on it", () => {
  expect(order(12, 42, 3)).toEqual([1, 3, 6, 2, 10, 9, 8, 5, 4, 7, 0, 11]);
});

test("elements are spread as by chance: neighbours in order are no neighbours in place", () => {
  const size = 10_000;
  const places = order(size, 7, 0);
  const meanDistance =
    places.slice(1).reduce((sum, at, i) => sum + Math.abs(at - places[i]!), 0) / (size - 1);
  expect(meanDistance / size).toBeCloseTo(1 / 3, 1); // the mean distance of two points drawn from a line of length 1
  const fixedPoints = places.filter((at, i) => at === i).length;
  expect(fixedPoints).toBeLessThan(10); // one is expected
});

test("sizes of billions work", () => {
  const permutation = new Permutation(3_000_000_000, 5, 0);
  const seen = new Set([0, 1, 2, 1_500_000_000, 2_999_999_999].map((position) => permutation.at(position)));
  expect(seen.size).toBe(5);
  for (const at of seen) expect(at >= 0 && at < 3_000_000_000 && Number.isInteger(at)).toBe(true);
});

test("positions outside are refused", () => {
  const permutation = new Permutation(10, 0, 0);
  for (const position of [-1, 10, Number.NaN]) expect(() => permutation.at(position)).toThrow(RangeError);
});
