import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LengthMismatchError, NonFiniteUpdateError } from "../../errors.ts";
import { bytesFromHex, floatsFromHex, pseudoRandom, vectors } from "../golden/vectors.ts";
import { GRID_UNITS, gridValues, MAX_UPDATE_VALUE } from "../grid.ts";
import { type Hash, toHex } from "../hash.ts";
import { parameterLayout } from "../layout.ts";
import type { Codec } from "./codec.ts";
import { CHUNK_VALUES } from "./dense.ts";
import { HEADER_BYTES } from "./header.ts";
import { int8Codec } from "./int8.ts";
import { CODEC_NAMES, type CodecName, codecFor, codecs } from "./registry.ts";

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();
const layout = parameterLayout(vectors.layout.tensors, sha256);
const all = CODEC_NAMES.map((name) => codecs[name]);

function decodeGrid(codec: Codec, payload: Uint8Array): Float64Array {
  const result = codec.decode(payload, layout);
  if (!result.ok) throw new Error(result.rejection.detail);
  return gridValues(result.update);
}

function offence(codec: Codec, payload: Uint8Array): string {
  const result = codec.decode(payload, layout);
  return result.ok ? "accepted" : result.rejection.offence;
}

/** float32 values with magnitudes from denormal to the bound, as updates have them: blocks of like scale. */
const values = fc
  .tuple(
    fc.array(fc.float({ min: -1, max: 1, noNaN: true }), {
      minLength: layout.total,
      maxLength: layout.total,
    }),
    fc.integer({ min: -140, max: 2 }),
  )
  .map(([unit, exponent]) => Float32Array.from(unit, (value) => value * 2 ** exponent));

describe.each(all)("codec $name", (codec) => {
  const golden = vectors.payloads[codec.name as CodecName];

  it("reads a payload of an independent implementation to the same grid integers", () => {
    expect([...decodeGrid(codec, bytesFromHex(golden.payload))]).toEqual(golden.grid);
  });

  it("writes the bytes that SPEC.md describes", () => {
    expect(toHex(codec.encode(floatsFromHex(vectors.payloads.values), layout))).toBe(golden.payload);
  });

  it("round-trips within its declared bound", () => {
    fc.assert(
      fc.property(values, (input) => {
        const largest = input.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
        const grid = decodeGrid(codec, codec.encode(input, layout));
        input.forEach((value, index) => {
          expect(Math.abs(value - grid[index]! / GRID_UNITS)).toBeLessThanOrEqual(codec.errorBound(largest));
        });
      }),
      { numRuns: 50 },
    );
  });

  it("encodes zero as zero", () => {
    const zero = codec.encode(new Float32Array(layout.total), layout);
    expect(decodeGrid(codec, zero)).toEqual(new Float64Array(layout.total));
  });

  it("never makes a payload longer than it said", () => {
    const payload = codec.encode(pseudoRandom(3, layout.total, 1), layout);
    expect(payload.length).toBeLessThanOrEqual(codec.maxPayloadBytes(layout));
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    "refuses %s at the sender and names the tensor and the place",
    (bad) => {
      const input = new Float32Array(layout.total);
      input[layout.tensors[1]!.offset + 4] = bad;
      expect(() => codec.encode(input, layout)).toThrow(
        expect.objectContaining({ code: "UPDATE_NOT_FINITE", tensor: layout.tensors[1]!.name, index: 4 }),
      );
      expect(() => codec.encode(input, layout)).toThrow(NonFiniteUpdateError);
    },
  );

  it("refuses values of another layout at the sender", () => {
    expect(() => codec.encode(new Float32Array(layout.total + 1), layout)).toThrow(LengthMismatchError);
  });

  it("rejects a payload for another model, codec, version or format", () => {
    const payload = codec.encode(new Float32Array(layout.total), layout);
    for (let at = 0; at < HEADER_BYTES; at++) {
      const other = payload.slice();
      other[at]! ^= 1;
      expect(codec.decode(other, layout)).toMatchObject({
        ok: false,
        rejection: { offence: "undecodable-payload" },
      });
    }
  });

  it("rejects a payload that is cut off at any byte, or longer by one", () => {
    const payload = codec.encode(pseudoRandom(3, layout.total, 1), layout);
    const longer = new Uint8Array(payload.length + 1);
    longer.set(payload);
    const cut = Array.from(payload, (_, length) => payload.slice(0, length));
    for (const other of [...cut, longer]) {
      expect(codec.decode(other, layout)).toMatchObject({
        ok: false,
        rejection: { offence: "undecodable-payload" },
      });
    }
  });

  it("never throws and never lets a value beyond the bound through, whatever the bytes", () => {
    const payload = codec.encode(pseudoRandom(3, layout.total, 1), layout);
    const flips = fc.array(fc.tuple(fc.nat(payload.length - 1), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 20,
    });
    let accepted = 0;
    fc.assert(
      fc.property(flips, (changes) => {
        const other = payload.slice();
        for (const [at, byte] of changes) other[at] = byte;
        const result = codec.decode(other, layout);
        if (!result.ok) return;
        accepted++;
        for (const value of gridValues(result.update)) {
          expect(Number.isInteger(value)).toBe(true);
          expect(Math.abs(value)).toBeLessThanOrEqual(MAX_UPDATE_VALUE * GRID_UNITS);
        }
      }),
      { numRuns: 300 },
    );
    expect(accepted).toBeGreaterThan(0);
    fc.assert(fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => !codec.decode(bytes, layout).ok));
  });

  it("never throws on any bytes behind its own header, however many", () => {
    const header = codec.encode(new Float32Array(layout.total), layout).subarray(0, HEADER_BYTES);
    const most = codec.maxPayloadBytes(layout) - HEADER_BYTES;
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: most + 8, size: "max" }), (bytes) => {
        const result = codec.decode(Uint8Array.from([...header, ...bytes]), layout);
        if (!result.ok) {
          expect(result.rejection.detail).not.toBe("");
          return;
        }
        expect(Math.max(...gridValues(result.update).map(Math.abs))).toBeLessThanOrEqual(
          MAX_UPDATE_VALUE * GRID_UNITS,
        );
      }),
      { numRuns: 200 },
    );
  });

  it("hands out chunks that cover the update once and in order, also where tensors exceed a chunk", () => {
    const large = parameterLayout(
      [
        { name: "vector", shape: [CHUNK_VALUES + 7] },
        { name: "matrix", shape: [3, CHUNK_VALUES - 5] },
      ],
      sha256,
    );
    const input = pseudoRandom(5, large.total, 1);
    const result = codec.decode(codec.encode(input, large), large);
    if (!result.ok) throw new Error(result.rejection.detail);
    let next = 0;
    result.update.forEachChunk((offset, grid) => {
      expect(offset).toBe(next);
      next += grid.length;
      for (let at = 0; at < grid.length; at += 97) {
        const error = Math.abs(grid[at]! / GRID_UNITS - input[offset + at]!);
        expect(error).toBeLessThanOrEqual(codec.errorBound(1));
      }
    });
    expect(next).toBe(large.total);
  });
});

describe.each(all.filter(({ name }) => name !== "topk"))("codec $name, which sends every value,", (codec) => {
  it("saturates values beyond the bound instead of dropping or wrapping them", () => {
    const input = new Float32Array(layout.total).map((_, index) => (index % 2 ? 1e30 : -1e30));
    const grid = decodeGrid(codec, codec.encode(input, layout));
    grid.forEach((value, index) => {
      expect(Math.sign(value)).toBe(index % 2 ? 1 : -1);
      expect(Math.abs(value)).toBeLessThanOrEqual(MAX_UPDATE_VALUE * GRID_UNITS);
      expect(Math.abs(value)).toBeGreaterThan(0.9999 * MAX_UPDATE_VALUE * GRID_UNITS);
    });
  });
});

describe("what a decoder finds inside a whole payload", () => {
  const floatAt = (payload: Uint8Array, offset: number, value: number): Uint8Array => {
    const other = payload.slice();
    new DataView(other.buffer).setFloat32(offset, value, true);
    return other;
  };
  const dense = codecs.float32.encode(new Float32Array(layout.total), layout);
  const blocks = codecs.int8.encode(pseudoRandom(3, layout.total, 1), layout);
  const scales = HEADER_BYTES + 4 * 3;
  const codes = scales + 4 * 3;

  it("is a NaN or an infinity: non-finite-update", () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      expect(offence(codecs.float32, floatAt(dense, HEADER_BYTES + 4 * 7, bad))).toBe("non-finite-update");
      expect(offence(codecs.int8, floatAt(blocks, HEADER_BYTES, bad))).toBe("non-finite-update");
      expect(offence(codecs.int8, floatAt(blocks, scales + 8, bad))).toBe("non-finite-update");
    }
  });

  it("is a magnitude just beyond the bound: out-of-bounds-update; at the bound it is accepted", () => {
    const beyond = 4 + 2 ** -21;
    for (const sign of [1, -1]) {
      expect(offence(codecs.float32, floatAt(dense, HEADER_BYTES, 4 * sign))).toBe("accepted");
      expect(offence(codecs.float32, floatAt(dense, HEADER_BYTES, beyond * sign))).toBe(
        "out-of-bounds-update",
      );
      expect(offence(codecs.int8, floatAt(blocks, HEADER_BYTES + 8, beyond * sign))).toBe(
        "out-of-bounds-update",
      );
    }
    expect(offence(codecs.int8, floatAt(blocks, scales, 4 / 127 - 2 ** -28))).toBe("accepted");
    expect(offence(codecs.int8, floatAt(blocks, scales, 4 / 127 + 2 ** -28))).toBe("out-of-bounds-update");
  });

  it("is a negative scale or the code -128: out-of-bounds-update", () => {
    expect(offence(codecs.int8, floatAt(blocks, scales + 4, -0.001))).toBe("out-of-bounds-update");
    const code = blocks.slice();
    code[codes + 5] = 0x80;
    expect(offence(codecs.int8, code)).toBe("out-of-bounds-update");
  });

  it("is the code -128 wherever it stands, from whichever address the payload begins", () => {
    for (let shift = 0; shift < 4; shift++) {
      const bytes = new Uint8Array(shift + blocks.length);
      const payload = bytes.subarray(shift);
      payload.set(blocks);
      expect(offence(codecs.int8, payload)).toBe("accepted");
      for (let at = codes; at < payload.length; at++) {
        const [before] = payload.subarray(at, at + 1).slice();
        payload[at] = 0x80;
        expect(offence(codecs.int8, payload)).toBe("out-of-bounds-update");
        // Its neighbours in value are codes like any other.
        for (const used of [0x7f, 0x81, 0x00]) {
          payload[at] = used;
          expect(offence(codecs.int8, payload)).toBe("accepted");
        }
        payload[at] = before!;
      }
    }
  });

  it("is read the same from the middle of a larger buffer", () => {
    const padded = Buffer.concat([Buffer.alloc(3, 0xff), blocks, Buffer.alloc(2, 0xff)]);
    const inside = padded.subarray(3, 3 + blocks.length);
    expect(decodeGrid(codecs.int8, inside)).toEqual(decodeGrid(codecs.int8, blocks));
  });
});

describe("codes that int4 and sign do not use", () => {
  const codes = HEADER_BYTES + 4 * 3;

  it("are the nibble 8, in either half of a byte, and padding that is not 0: out-of-bounds-update", () => {
    const payload = codecs.int4.encode(pseudoRandom(3, layout.total, 1), layout);
    // Five blocks of the first matrix, one of the second; no code has the value 8 yet.
    const at = codes + 4 * 6;
    for (const nibble of [0x08, 0x80]) {
      const other = payload.slice();
      other[at + 3] = nibble;
      expect(offence(codecs.int4, other)).toBe("out-of-bounds-update");
    }
    const odd = parameterLayout([{ name: "odd", shape: [3, 3] }], sha256);
    const padded = codecs.int4.encode(new Float32Array(9), odd);
    padded[padded.length - 1] = 0x10;
    expect(codecs.int4.decode(padded, odd)).toMatchObject({
      rejection: { offence: "out-of-bounds-update" },
    });
  });

  it("are bits behind the last sign of a block: out-of-bounds-update", () => {
    const payload = codecs.sign.encode(pseudoRandom(3, layout.total, 1), layout);
    payload[payload.length - 1]! |= 0x80;
    expect(offence(codecs.sign, payload)).toBe("out-of-bounds-update");
  });
});

describe("the sign codec", () => {
  it("sends every value as the mean magnitude of its block", () => {
    const pair = parameterLayout([{ name: "w", shape: [2, 2] }], sha256);
    const result = codecs.sign.decode(codecs.sign.encode(Float32Array.of(1, -2, 0.5, -0.5), pair), pair);
    if (!result.ok) throw new Error(result.rejection.detail);
    expect([...gridValues(result.update)]).toEqual([1, -1, 1, -1].map((sign) => sign * GRID_UNITS));
  });
});

describe("the codec of a run", () => {
  it("is the one named, with the k of the run", () => {
    for (const codec of CODEC_NAMES) expect(codecFor({ codec, topK: 64 }).name).toBe(codec);
    const values = pseudoRandom(3, layout.total, 1);
    const payload = codecFor({ codec: "topk", topK: 100 }).encode(values, layout);
    expect(codecFor({ codec: "topk", topK: 100 }).decode(payload, layout).ok).toBe(true);
    expect(offence(codecs.topk, payload)).toBe("undecodable-payload");
  });

  it("is known by an id that no other codec has", () => {
    expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
  });
});

describe("blocks of int8", () => {
  it("do not cross tensors: a large tensor beside a small one does not coarsen it", () => {
    const pair = parameterLayout(
      [
        { name: "large", shape: [1, 5] },
        { name: "small", shape: [1, 5] },
      ],
      sha256,
    );
    const input = Float32Array.of(1, -1, 1, -1, 1, 1e-4, 2e-4, 3e-4, 4e-4, 5e-4);
    const result = int8Codec(256).decode(int8Codec(256).encode(input, pair), pair);
    if (!result.ok) throw new Error(result.rejection.detail);
    const small = gridValues(result.update).subarray(5);
    small.forEach((value, at) => {
      expect(Math.abs(value / GRID_UNITS - input[5 + at]!)).toBeLessThanOrEqual(5e-4 / 253);
    });
  });

  it("cost one byte a value and one float32 a block", () => {
    const wide = parameterLayout([{ name: "w", shape: [64, 64] }], sha256);
    expect(codecs.int8.maxPayloadBytes(wide)).toBe(HEADER_BYTES + 4096 + 4 * (4096 / 256));
  });

  it("of another size are another format", () => {
    const payload = int8Codec(64).encode(new Float32Array(layout.total), layout);
    expect(codecs.int8.decode(payload, layout)).toMatchObject({ ok: false });
  });
});
