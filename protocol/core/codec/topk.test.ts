import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bytesFromHex, pseudoRandom, vectors } from "../golden/vectors.ts";
import { GRID_UNITS, gridValues, MAX_UPDATE_VALUE } from "../grid.ts";
import { type Hash, toHex } from "../hash.ts";
import { type ParameterLayout, parameterLayout } from "../layout.ts";
import { HEADER_BYTES } from "./header.ts";
import { topKCodec } from "./topk.ts";
import { topKSections } from "./topk-sections.ts";
import { TOPK_CHUNK_VALUES, TopKSelector } from "./topk-select.ts";
import { TwoLevelFit } from "./two-levels.ts";

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();
const layout = parameterLayout(vectors.sparse.tensors, sha256);
const [matrix, vector, small] = layout.tensors as [
  (typeof layout.tensors)[0],
  (typeof layout.tensors)[0],
  (typeof layout.tensors)[0],
];
/** Heavier tails than even values, as updates have them. */
const input = (seed: number, of: ParameterLayout = layout) =>
  pseudoRandom(seed, of.total, 1).map((value) => value ** 3);

function decode(k: number, payload: Uint8Array, of: ParameterLayout = layout) {
  const result = topKCodec(k).decode(payload, of);
  if (!result.ok) throw new Error(result.rejection.detail);
  return result.update;
}

const int64Bytes = (grid: Float64Array): Uint8Array =>
  new Uint8Array(BigInt64Array.from(grid, BigInt).buffer);

/** What is kept of a chunk, by sorting. */
function largest(chunk: Float32Array, keep: number): number[] {
  const places = [...chunk.keys()].sort((a, b) => Math.abs(chunk[b]!) - Math.abs(chunk[a]!) || a - b);
  return places.slice(0, keep).sort((a, b) => a - b);
}

describe("codec topk", () => {
  it.each(vectors.sparse.cases)(
    "agrees with an independent implementation in payload and grid, k = $k",
    ({ k, payload, entries, gridDigest }) => {
      expect(toHex(topKCodec(k).encode(input(vectors.sparse.seed), layout))).toBe(payload);
      const grid = gridValues(decode(k, bytesFromHex(payload)));
      expect(grid.filter((value) => value !== 0).length).toBe(entries);
      expect(toHex(sha256(int64Bytes(grid)))).toBe(gridDigest);
    },
  );

  it("keeps the k largest of each 4,096, the same share of a shorter chunk, and every vector", () => {
    const values = input(2);
    const grid = gridValues(decode(64, topKCodec(64).encode(values, layout)));
    const kept = (offset: number, length: number, keep: number) => {
      const places = [...grid.subarray(offset, offset + length).entries()].filter(([, value]) => value !== 0);
      expect(places.map(([place]) => place)).toEqual(largest(values.subarray(offset, offset + length), keep));
    };
    kept(0, TOPK_CHUNK_VALUES, 64);
    kept(TOPK_CHUNK_VALUES, matrix.length - TOPK_CHUNK_VALUES, 6);
    kept(small.offset, small.length, 1);
    for (let at = vector.offset; at < vector.offset + vector.length; at++) {
      expect(Math.abs(grid[at]! / GRID_UNITS - values[at]!)).toBeLessThan(1 / 250);
    }
  });

  it("sends a kept value as the nearer of two magnitudes of its matrix, with its sign", () => {
    const values = input(3);
    const grid = gridValues(decode(100, topKCodec(100).encode(values, layout)));
    const sent = [...grid.subarray(0, matrix.length).entries()].filter(([, value]) => value !== 0);
    const levels = [...new Set(sent.map(([, value]) => Math.abs(value)))];
    expect(levels).toHaveLength(2);
    for (const [at, value] of sent) {
      const exact = values[at]! * GRID_UNITS;
      expect(Math.sign(value)).toBe(Math.sign(exact));
      const errors = levels.map((level) => Math.abs(Math.abs(exact) - level));
      expect(Math.abs(value - exact)).toBe(Math.min(...errors));
    }
  });

  it("takes energy out of what is left: the squared errors sum to less than the squares", () => {
    const signs = fc.array(fc.float({ min: -1, max: 1, noNaN: true }), {
      minLength: layout.total,
      maxLength: layout.total,
    });
    fc.assert(
      fc.property(
        signs,
        fc.integer({ min: -20, max: 1 }),
        fc.constantFrom(16, 64, 1024),
        (unit, power, k) => {
          const values = Float32Array.from(unit, (value) => value * 2 ** power);
          const squares = values.reduce((sum, value) => sum + value ** 2, 0);
          const grid = gridValues(decode(k, topKCodec(k).encode(values, layout)));
          const errors = values.reduce((sum, value, at) => sum + (value - grid[at]! / GRID_UNITS) ** 2, 0);
          const gridNoise = layout.total * 2 ** -62;
          expect(errors).toBeLessThanOrEqual(squares * (1 - k / (4 * TOPK_CHUNK_VALUES)) + gridNoise);
        },
      ),
      { numRuns: 30 },
    );
  });

  it("has the same entries as values, each once and in order", () => {
    const update = decode(64, topKCodec(64).encode(input(4), layout));
    const fromEntries = new Float64Array(layout.total);
    let previous = -1;
    update.forEachEntry!((index, grid) => {
      expect(index).toBeGreaterThan(previous);
      previous = index;
      fromEntries[index] = grid;
    });
    expect(fromEntries).toEqual(gridValues(update));
    expect(fromEntries.some((value) => Object.is(value, -0))).toBe(false);
  });

  it("saturates a kept value at the largest grid integer below the bound", () => {
    const values = new Float32Array(layout.total).fill(1e-3);
    values[5] = -1e30;
    const grid = gridValues(decode(16, topKCodec(16).encode(values, layout)));
    expect(grid[5]).toBe(1 - MAX_UPDATE_VALUE * GRID_UNITS);
  });

  it("never exceeds the announced bound, wherever the large values lie", () => {
    const wide = parameterLayout([{ name: "w", shape: [3, 5000] }], sha256);
    const place = fc.oneof(
      fc.constant("first"),
      fc.constant("last"),
      fc.constant("both"),
      fc.constant("even"),
    );
    fc.assert(
      fc.property(place, fc.integer({ min: 16, max: 1024 }), fc.nat(100), (where, k, seed) => {
        const values = pseudoRandom(seed, wide.total, 2 ** -6).map((value, at) => {
          const inChunk = at % TOPK_CHUNK_VALUES;
          const first = inChunk < k / 2;
          const last = inChunk >= TOPK_CHUNK_VALUES - k / 2;
          const large =
            where === "first" ? first : where === "last" ? last : where === "both" && (first || last);
          return large ? value + 1 : value;
        });
        const payload = topKCodec(k).encode(values, wide);
        expect(payload.length).toBeLessThanOrEqual(topKCodec(k).maxPayloadBytes(wide));
        decode(k, payload, wide);
      }),
      { numRuns: 60 },
    );
  });

  it("is 200 times smaller than float32 at k = 64, and at most 5% above its entropy", () => {
    const wide = parameterLayout([{ name: "w", shape: [512, 512] }], sha256);
    const bytes = topKCodec(64).encode(input(6, wide), wide).length - HEADER_BYTES;
    const share = 64 / TOPK_CHUNK_VALUES;
    const indexBits = (-share * Math.log2(share) - (1 - share) * Math.log2(1 - share)) / share;
    expect(bytes * 8).toBeLessThan(1.05 * share * wide.total * (indexBits + 2));
    expect((4 * wide.total) / bytes).toBeGreaterThan(200);
  });
});

describe("what the decoder of topk finds inside a whole payload", () => {
  const codec = topKCodec(64);
  const payload = codec.encode(input(7), layout);
  const { vectorCodesAt, parametersAt, gapsAt, longestEnd } = topKSections(layout, 64);
  const changed = (at: number, byte: number) => {
    const other = payload.slice();
    other[at] = byte;
    return codec.decode(other, layout);
  };
  const offence = (result: ReturnType<typeof codec.decode>) =>
    result.ok ? "accepted" : result.rejection.offence;

  it("is a Rice parameter above 12: undecodable-payload", () => {
    expect(offence(changed(parametersAt, 13))).toBe("undecodable-payload");
    expect(offence(changed(parametersAt + 1, 255))).toBe("undecodable-payload");
  });

  it("is another Rice parameter, which moves all that follows: undecodable-payload", () => {
    for (let parameter = 0; parameter <= 12; parameter++) {
      if (parameter === payload[parametersAt]) continue;
      expect(offence(changed(parametersAt, parameter))).toBe("undecodable-payload");
    }
  });

  it("is an index beyond its chunk: undecodable-payload", () => {
    const other = payload.slice();
    other.fill(0, gapsAt);
    expect(codec.decode(other, layout)).toMatchObject({
      rejection: { offence: "undecodable-payload", detail: expect.stringContaining("beyond its chunk") },
    });
  });

  it("is padding of the codes that is not 0: undecodable-payload", () => {
    // 71 kept values leave 2 bits of their last byte.
    expect(offence(changed(gapsAt - 1, payload[gapsAt - 1]! | 0x80))).toBe("undecodable-payload");
    expect(offence(changed(gapsAt - 1, payload[gapsAt - 1]! & 0x3f))).toBe("accepted");
  });

  it("is a scale of a vector that is not finite, negative or too large, and the code -128", () => {
    const scale = (value: number) => {
      const other = payload.slice();
      new DataView(other.buffer).setFloat32(HEADER_BYTES, value, true);
      return offence(codec.decode(other, layout));
    };
    expect(scale(Number.NaN)).toBe("non-finite-update");
    expect(scale(-1e-3)).toBe("out-of-bounds-update");
    expect(scale(4 / 127 + 2 ** -28)).toBe("out-of-bounds-update");
    expect(scale(4 / 127 - 2 ** -28)).toBe("accepted");
    expect(offence(changed(vectorCodesAt + 3, 0x80))).toBe("out-of-bounds-update");
  });

  it("is a payload longer than any writer needs, refused before it is read", () => {
    const longer = new Uint8Array(longestEnd + 1);
    longer.set(payload);
    const detail = expect.stringContaining("instead of");
    expect(codec.decode(longer, layout)).toMatchObject({
      rejection: { offence: "undecodable-payload", detail },
    });
  });

  it("is read the same from the middle of a larger buffer", () => {
    const padded = Buffer.concat([Buffer.alloc(3, 0xff), payload, Buffer.alloc(2, 0xff)]);
    const inside = padded.subarray(3, 3 + payload.length);
    expect(gridValues(decode(64, inside))).toEqual(gridValues(decode(64, payload)));
  });
});

describe("the selection", () => {
  it("is that of a sort, ties by the lower index, whatever chunk came before", () => {
    const chunk = fc.oneof(
      fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 300 }),
      // Few distinct magnitudes: mostly ties.
      fc.array(fc.constantFrom(0, -0, 1, -1, 2, -2, 1e-45, 4), { minLength: 1, maxLength: 300 }),
      // Equal in all but the last bits.
      fc
        .array(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: 300 })
        .map((list) => list.map((value) => 1 + value * 2 ** -23)),
    );
    const selector = new TopKSelector();
    fc.assert(
      fc.property(chunk, fc.double({ min: 0, max: 1, noNaN: true }), (list, share) => {
        const values = Float32Array.from([9, ...list, 9]);
        const keep = 1 + Math.floor(share * (list.length - 1));
        const indices = new Uint16Array(keep);
        selector.select(new Uint32Array(values.buffer), 1, 1 + list.length, keep, indices);
        expect([...indices]).toEqual(largest(values.subarray(1, 1 + list.length), keep));
      }),
      { numRuns: 500 },
    );
  });
});

describe("the two magnitudes", () => {
  const levelsOf = (magnitudes: readonly number[]) => {
    const values = Float32Array.from(magnitudes);
    const bits = new Uint32Array(values.buffer);
    const levels = new TwoLevelFit();
    values.forEach((value, at) => {
      levels.add(bits[at]!, value);
    });
    return { values, ...levels.take() };
  };

  it("have nearly the least squared error of all pairs", () => {
    const magnitude = fc.float({ min: 0, max: 4, noNaN: true });
    fc.assert(
      fc.property(fc.array(magnitude, { minLength: 1, maxLength: 60 }), (magnitudes) => {
        const { values, low, high } = levelsOf(magnitudes);
        const cost = (a: number, b: number) =>
          values.reduce((sum, value) => sum + Math.min((value - a) ** 2, (value - b) ** 2), 0);
        const mean = (part: Float32Array) =>
          part.reduce((sum, value) => sum + value, 0) / Math.max(1, part.length);
        const sorted = values.toSorted();
        const best = sorted.reduce(
          (least, _, at) => Math.min(least, cost(mean(sorted.subarray(0, at)), mean(sorted.subarray(at)))),
          Number.POSITIVE_INFINITY,
        );
        const squares = values.reduce((sum, value) => sum + value ** 2, 0);
        expect(cost(low / GRID_UNITS, high / GRID_UNITS)).toBeLessThanOrEqual(best + 1e-4 * squares + 1e-17);
        expect(low).toBeLessThanOrEqual(high);
      }),
      { numRuns: 300 },
    );
  });

  it("are the magnitudes themselves where there are two, one twice where there is one, zero for zeros", () => {
    expect(levelsOf([1, 3, 1, 3, 3])).toMatchObject({ low: GRID_UNITS, high: 3 * GRID_UNITS });
    expect(levelsOf([0.5, 0.5])).toMatchObject({ low: GRID_UNITS / 2, high: GRID_UNITS / 2 });
    expect(levelsOf([0, 0, 0])).toMatchObject({ low: 0, high: 0 });
  });
});
