import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LengthMismatchError, NonFiniteUpdateError } from "../errors.ts";
import { CODEC_NAMES, codecs } from "./codec/registry.ts";
import { compressUpdate, returnToResidual, withdrawFromResidual } from "./error-feedback.ts";
import { pseudoRandom } from "./golden/vectors.ts";
import { GRID_UNITS, gridValues } from "./grid.ts";
import type { Hash } from "./hash.ts";
import { parameterLayout } from "./layout.ts";
import { wholeCodec } from "./update-codec.ts";

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();
const layout = parameterLayout(
  [
    { name: "norm", shape: [4] },
    { name: "matrix", shape: [3, 100] },
  ],
  sha256,
);

const update = fc
  .tuple(
    fc.array(fc.float({ min: -1, max: 1, noNaN: true }), {
      minLength: layout.total,
      maxLength: layout.total,
    }),
    fc.integer({ min: -24, max: 1 }),
  )
  .map(([unit, exponent]) => Float32Array.from(unit, (value) => value * 2 ** exponent));

describe.each(CODEC_NAMES)("error feedback with codec %s", (name) => {
  const codec = wholeCodec(codecs[name], layout);

  it("conserves: what is sent and what is kept are the input, to float32 rounding", () => {
    fc.assert(
      fc.property(update, update, fc.constantFrom(1, 0.95, 0), (delta, residual, decay) => {
        const before = [delta.slice(), residual.slice()];
        const result = compressUpdate(delta, residual, codec, { decay });
        const sent = gridValues(result.update);
        delta.forEach((value, index) => {
          const input = Math.fround(value + decay * residual[index]!);
          const kept = result.residual[index]!;
          const sum = sent[index]! / GRID_UNITS + kept;
          // Half a unit in the last place of what is kept.
          expect(Math.abs(sum - input)).toBeLessThanOrEqual(Math.abs(kept) * 2 ** -24 + 2 ** -150);
        });
        expect([delta, residual]).toEqual(before);
      }),
      { numRuns: 40 },
    );
  });

  it("loses nothing over many rounds: all that was sent plus the residual is all that was learned", () => {
    let residual: Float32Array = new Float32Array(layout.total);
    const learned = new Float64Array(layout.total);
    const sent = new Float64Array(layout.total);
    const rounding = new Float64Array(layout.total);
    for (let round = 0; round < 50; round++) {
      const delta = pseudoRandom(round + 1, layout.total, 2 ** -6);
      const result = compressUpdate(delta, residual, codec);
      gridValues(result.update).forEach((value, index) => {
        // The float32 input and the float32 residual are each off by half a unit in the last place.
        const input = delta[index]! + residual[index]!;
        rounding[index]! += (Math.abs(input) + Math.abs(result.residual[index]!)) * 2 ** -24;
        learned[index]! += delta[index]!;
        sent[index]! += value / GRID_UNITS;
      });
      residual = result.residual;
    }
    learned.forEach((value, index) => {
      expect(Math.abs(sent[index]! + residual[index]! - value)).toBeLessThanOrEqual(rounding[index]!);
    });
  });

  it("needs no memory for the next residual but the delta's, and gives the same bits", () => {
    fc.assert(
      fc.property(update, update, (delta, residual) => {
        const apart = compressUpdate(delta, residual, codec);
        const kept = residual.slice();
        const within = compressUpdate(delta, residual, codec, { target: delta });
        expect(within.residual).toBe(delta);
        expect(residual).toEqual(kept);
        expect(within.residual).toEqual(apart.residual);
        expect(within.payload).toEqual(apart.payload);
        expect([within.residualNorm, within.updateNorm]).toEqual([apart.residualNorm, apart.updateNorm]);
      }),
    );
  });

  it("says how large what is sent and what is kept are", () => {
    const delta = pseudoRandom(4, layout.total, 2 ** -4);
    const result = compressUpdate(delta, pseudoRandom(5, layout.total, 2 ** -5), codec);
    const norm = (values: Iterable<number>) => Math.hypot(...values);
    expect(result.residualNorm).toBeCloseTo(norm(result.residual), 12);
    expect(result.updateNorm).toBeCloseTo(norm(gridValues(result.update)) / GRID_UNITS, 12);
  });

  it("returns an expired update to its author: the next round sends it as if it had never been sent", () => {
    const delta = pseudoRandom(9, layout.total, 2 ** -4);
    const first = compressUpdate(delta, new Float32Array(layout.total), codec);
    const left = first.residual.slice();
    returnToResidual(first.residual, first.update);
    first.residual.forEach((value, index) => {
      expect(Math.abs(value - delta[index]!)).toBeLessThanOrEqual(2 ** -28);
    });
    withdrawFromResidual(first.residual, first.update);
    first.residual.forEach((value, index) => {
      expect(Math.abs(value - left[index]!)).toBeLessThanOrEqual(2 ** -28);
    });
  });

  it("keeps what saturation cut off", () => {
    const delta = new Float32Array(layout.total).fill(10);
    const { residual, update: sent } = compressUpdate(delta, new Float32Array(layout.total), codec);
    gridValues(sent).forEach((value, index) => {
      expect(value / GRID_UNITS + residual[index]!).toBeCloseTo(10, 5);
      expect(residual[index]).toBeGreaterThan(5.9);
    });
  });
});

describe.each(["topk", "sign"] as const)("error feedback with codec %s", (name) => {
  const codec = wholeCodec(codecs[name], layout);

  it("sends everything in the end: what is kept levels off while what was learned grows", () => {
    const norm = (values: Float32Array) => Math.hypot(...values);
    // The same update in every round, its largest value 100 times its smallest.
    const delta = pseudoRandom(4, layout.total, 1).map(
      (value) => Math.sign(value) * 10 ** (2 * Math.abs(value) - 4),
    );
    let residual: Float32Array = new Float32Array(layout.total);
    const kept: number[] = [];
    for (let round = 0; round < 600; round++) {
      residual = compressUpdate(delta, residual, codec).residual;
      kept.push(norm(residual) / norm(delta));
    }
    expect(kept[599]!).toBeLessThan(0.2 * 600);
    expect(kept[599]!).toBeLessThan(1.5 * kept[299]!);
  });
});

describe("error feedback", () => {
  const int8 = wholeCodec(codecs.int8, layout);

  it("without it, values below half a step of their block would never be sent", () => {
    // One large value per block hides a small one that int8 rounds to zero in every round.
    const delta = new Float32Array(layout.total);
    delta[4] = 1;
    delta[5] = 1e-3;
    let residual: Float32Array = new Float32Array(layout.total);
    let withFeedback = 0;
    let without = 0;
    for (let round = 0; round < 20; round++) {
      const result = compressUpdate(delta, residual, int8);
      residual = result.residual;
      withFeedback += gridValues(result.update)[5]! / GRID_UNITS;
      const plain = compressUpdate(delta, new Float32Array(layout.total), int8);
      without += gridValues(plain.update)[5]! / GRID_UNITS;
    }
    expect(without).toBe(0);
    expect(Math.abs(withFeedback - 20e-3)).toBeLessThan(0.5 / 127);
  });

  it("refuses a delta that is not finite and leaves its inputs as they are", () => {
    const delta = new Float32Array(layout.total);
    delta[5] = Number.NaN;
    expect(() => compressUpdate(delta, new Float32Array(layout.total), int8)).toThrow(NonFiniteUpdateError);
  });

  it("refuses arrays of another layout", () => {
    const right = new Float32Array(layout.total);
    const wrong = new Float32Array(3);
    expect(() => compressUpdate(wrong, right, int8)).toThrow(LengthMismatchError);
    expect(() => compressUpdate(right, wrong, int8)).toThrow(LengthMismatchError);
    const { update: sent } = compressUpdate(right, right, int8);
    expect(() => returnToResidual(wrong, sent)).toThrow(LengthMismatchError);
  });
});
