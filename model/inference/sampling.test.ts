import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RandomStream } from "../random.ts";
import { candidates, draw, likeliestToken, NonFiniteLogitsError, sampleToken } from "./sampling.ts";

const all = { temperature: 1, topK: 0, topP: 1 };
/** ln of a distribution: softmax gives it back. */
const logitsOf = (...probabilities: number[]) => Float32Array.from(probabilities, Math.log);
const byToken = (list: readonly { token: number; probability: number }[]) =>
  new Map(list.toSorted((a, b) => a.token - b.token).map(({ token, probability }) => [token, probability]));
const logits = fc
  .array(fc.integer({ min: -40, max: 40 }), { minLength: 1, maxLength: 30 })
  .map((values) => Float32Array.from(values, (value) => value / 4));
const options = fc.record({
  temperature: fc.double({ min: 0.05, max: 5, noNaN: true }),
  topK: fc.nat(35),
  topP: fc.double({ min: 0, max: 1, noNaN: true }),
});

describe("the candidates for the next token", () => {
  it("are the softmax of the logits", () => {
    const found = byToken(candidates(logitsOf(0.1, 0.4, 0.2, 0.3), all));
    [0.1, 0.4, 0.2, 0.3].forEach((p, token) => {
      expect(found.get(token)).toBeCloseTo(p, 6);
    });
  });

  it("are sharpened by a low temperature: p^(1/T), normalised", () => {
    const found = byToken(candidates(logitsOf(0.1, 0.3, 0.6), { ...all, temperature: 0.5 }));
    const total = 0.01 + 0.09 + 0.36;
    [0.01, 0.09, 0.36].forEach((p, token) => {
      expect(found.get(token)).toBeCloseTo(p / total, 6);
    });
  });

  it("are the k likeliest, the lowest id first where several are equal", () => {
    const found = candidates(logitsOf(0.2, 0.1, 0.2, 0.2, 0.3), { ...all, topK: 3 });
    expect(found.map(({ token }) => token)).toEqual([4, 0, 2]);
    expect(found[0]!.probability).toBeCloseTo(0.3 / 0.7, 6);
  });

  it.each([
    [0.05, [4]],
    [0.3, [4]],
    [0.36, [4, 1]],
    [0.61, [4, 1, 0]],
    [0.999, [4, 1, 0, 2, 3]],
  ])("that hold a share of %d are %j: the one that crosses it is in", (topP, expected) => {
    const found = candidates(logitsOf(0.2, 0.25, 0.13, 0.07, 0.35), { ...all, topP });
    expect(found.map(({ token }) => token)).toEqual(expected);
  });

  it("are cut by k before the share is taken of what is left, as Hugging Face does", () => {
    const found = candidates(logitsOf(0.4, 0.3, 0.2, 0.1), { temperature: 1, topK: 2, topP: 0.57 });
    expect(found).toEqual([{ token: 0, probability: 1 }]);
  });

  it("are, for any logits and options, the ones of a plain definition", () => {
    fc.assert(
      fc.property(logits, options, (values, { temperature, topK, topP }) => {
        const largest = Math.max(...values);
        const sorted = [...values]
          .map((value, token) => ({ token, weight: Math.exp((value - largest) / temperature) }))
          .sort((a, b) => b.weight - a.weight || a.token - b.token)
          .slice(0, topK || values.length);
        const total = sorted.reduce((sum, { weight }) => sum + weight, 0);
        const found = candidates(values, { temperature, topK, topP });
        expect(found.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 9);
        // Never a token outside of the k, never one that is likelier than the least of those that are in.
        const inside = new Set(found.map(({ token }) => token));
        expect(sorted.filter(({ token }) => inside.has(token)).length).toBe(inside.size);
        expect(sorted.slice(0, inside.size).map(({ token }) => token)).toEqual(
          sorted.filter(({ token }) => inside.has(token)).map(({ token }) => token),
        );
        const held = (count: number) =>
          sorted.slice(0, count).reduce((sum, { weight }) => sum + weight, 0) / total;
        if (topP === 1) expect(inside.size).toBe(sorted.length);
        expect(held(inside.size)).toBeGreaterThanOrEqual(topP - 1e-9);
        if (inside.size > 1 && topP < 1) expect(held(inside.size - 1)).toBeLessThan(topP + 1e-9);
      }),
      { numRuns: 500 },
    );
  });
});

describe("the token that is drawn", () => {
  it("falls where the number does", () => {
    const three = [0.5, 0.3, 0.2].map((probability, token) => ({ token, probability }));
    expect([0, 0.49, 0.51, 0.79, 0.81, 0.9999].map((uniform) => draw(three, uniform))).toEqual([
      0, 0, 1, 1, 2, 2,
    ]);
    expect(draw([{ token: 7, probability: 0.999 }], 0.9999)).toBe(7);
  });

  it("comes as often as it should", () => {
    const stream = RandomStream.fromSeed("sampling");
    const uniform = () => stream.nextUint32() / 2 ** 32;
    const expected = candidates(logitsOf(0.05, 0.15, 0.5, 0.1, 0.2), {
      temperature: 1.3,
      topK: 4,
      topP: 0.95,
    });
    expect(expected.length).toBe(4);
    const draws = 20_000;
    const counts = new Map<number, number>();
    for (let i = 0; i < draws; i++) {
      const token = sampleToken(
        logitsOf(0.05, 0.15, 0.5, 0.1, 0.2),
        { temperature: 1.3, topK: 4, topP: 0.95 },
        uniform,
      );
      counts.set(token, (counts.get(token) ?? 0) + 1);
    }
    let chiSquared = 0;
    for (const { token, probability } of expected) {
      chiSquared += (counts.get(token)! - draws * probability) ** 2 / (draws * probability);
    }
    expect(counts.size).toBe(4);
    // 3 degrees of freedom: beyond 16.3 in one of a thousand seeds, and this seed is fixed.
    expect(chiSquared).toBeLessThan(16.3);
  });

  it("is the likeliest at temperature 0, without asking for a number; the lowest id of several", () => {
    const never = () => {
      throw new Error("asked");
    };
    expect(sampleToken(Float32Array.of(1, 3, 2, 3), { temperature: 0, topK: 1, topP: 0.1 }, never)).toBe(1);
    expect(likeliestToken(Float32Array.of(-1))).toBe(0);
  });

  it("is none where the model has left the finite numbers", () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => candidates(Float32Array.of(value, value), all)).toThrow(NonFiniteLogitsError);
      expect(() => likeliestToken(Float32Array.of(value, 1))).toThrow(NonFiniteLogitsError);
    }
  });
});
