import { describe, expect, test } from "vitest";
import { RandomStream } from "./random.ts";

function words(stream: RandomStream, count: number): number[] {
  return Array.from({ length: count }, () => stream.nextUint32());
}

describe("RandomStream", () => {
  test("gives the outputs that the authors' xoshiro128** gives from the state 1, 2, 3, 4", () => {
    expect(words(new RandomStream([1, 2, 3, 4]), 6)).toEqual([
      11520, 0, 5927040, 70819200, 2031721883, 1637235492,
    ]);
  });

  test("starts from the SHA-256 of its seed, as an independent implementation does", () => {
    expect(words(RandomStream.fromSeed("glossa"), 4)).toEqual([
      1938324997, 2429743437, 3228274309, 3742411109,
    ]);
  });

  test("gives unrelated numbers for seeds that differ in one character or only in Unicode form", () => {
    const seeds = ["a", "b", "ab", "a\u0301", "\u00e1", ""];
    const firsts = seeds.map((seed) => words(RandomStream.fromSeed(seed), 2).join());
    expect(new Set(firsts).size).toBe(seeds.length);
  });

  test("draws normals with the moments of an Irwin-Hall sum of twelve", () => {
    const sample = new Float32Array(200_000);
    RandomStream.fromSeed("moments").fillNormal(sample, 3);
    const moment = (power: number) => sample.reduce((sum, x) => sum + (x / 3) ** power, 0) / sample.length;
    // Bounds are five standard errors: 1/sqrt(n), sqrt(2/n), sqrt(15/n) and about sqrt(93/n).
    expect(Math.abs(moment(1))).toBeLessThan(0.012);
    expect(Math.abs(moment(2) - 1)).toBeLessThan(0.016);
    expect(Math.abs(moment(3))).toBeLessThan(0.044);
    expect(Math.abs(moment(4) - 2.9)).toBeLessThan(0.11);
    expect(sample.every((x) => Math.abs(x) < 18)).toBe(true);
  });

  test("draws neighbouring normals independently", () => {
    const sample = new Float32Array(100_000);
    RandomStream.fromSeed("lag").fillNormal(sample, 1);
    for (const lag of [1, 2, 6, 64]) {
      let covariance = 0;
      for (let index = lag; index < sample.length; index++)
        covariance += sample[index]! * sample[index - lag]!;
      expect(Math.abs(covariance / sample.length), `lag ${lag}`).toBeLessThan(5 / Math.sqrt(sample.length));
    }
  });
});
