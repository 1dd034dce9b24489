import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CheckpointError, type CheckpointFault } from "./errors.ts";
import { type CheckpointTensor, decodeCheckpoint, encodeCheckpoint } from "./safetensors.ts";

const tensors = new Map<string, CheckpointTensor>([
  ["bytes", { shape: [3], data: Uint8Array.of(1, 2, 255) }],
  ["halves", { shape: [3, 1], data: Uint16Array.of(1, 65_535, 3) }],
  ["singles", { shape: [2, 2], data: Float32Array.of(1.5, -0, Number.NaN, 1e-45) }],
  ["doubles", { shape: [2], data: Float64Array.of(Math.PI, -Infinity) }],
  ["longs", { shape: [1], data: BigInt64Array.of(-(2n ** 63n)) }],
  ["scalar", { shape: [], data: Int32Array.of(-7) }],
  ["empty", { shape: [0, 4], data: new Float32Array(0) }],
]);
const metadata = new Map([
  ["kind", "test"],
  ["7", 'keys like "integers" and quotes \u2028 stay in place'],
]);

function faultOf(act: () => unknown): CheckpointFault | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    if (error instanceof CheckpointError) return error.fault;
    throw error;
  }
}

/** A file with this header and data, its checksum made right, so that only what the header says is on trial. */
function forge(header: string, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const text = new TextEncoder().encode(header.padEnd(Math.ceil(header.length / 8) * 8));
  const bytes = new Uint8Array(8 + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  bytes.set(data, 8 + text.length);
  const digest = createHash("sha256").update(bytes).digest("hex");
  const at = header.indexOf("0".repeat(64));
  if (at >= 0) bytes.set(new TextEncoder().encode(digest), 8 + at);
  return bytes;
}
const checksum = `"__metadata__":{"sha256":"${"0".repeat(64)}"}`;

describe("encodeCheckpoint and decodeCheckpoint", () => {
  test("give back every type, shape and bit, and the metadata", () => {
    const decoded = decodeCheckpoint(encodeCheckpoint(tensors, metadata));
    expect(new Map(decoded.tensors)).toEqual(tensors);
    expect(decoded.metadata).toEqual(metadata);
  });

  test("give back arbitrary names, texts and arrays, whatever the alignment of the bytes they are read from", () => {
    const name = fc.oneof(
      fc.string({ unit: "grapheme" }),
      fc.constantFrom("0", "__proto__", "constructor", "sha256"),
    );
    const data = fc.oneof(
      fc.float32Array(),
      fc.float64Array(),
      fc.int8Array(),
      fc.uint8Array(),
      fc.int16Array(),
      fc.uint32Array(),
      fc.bigUint64Array(),
    );
    const text = fc.dictionary(name, fc.string({ unit: "grapheme" })).map((record) => {
      const map = new Map(Object.entries(record));
      map.delete("sha256");
      return map;
    });
    fc.assert(
      fc.property(fc.array(fc.tuple(name, data)), text, fc.nat(9), (pairs, texts, shift) => {
        const written = new Map(pairs.map(([key, array]) => [key, { shape: [array.length], data: array }]));
        const bytes = encodeCheckpoint(written, texts);
        const shifted = new Uint8Array(bytes.length + shift).subarray(shift);
        shifted.set(bytes);
        const read = decodeCheckpoint(shifted);
        expect(new Map(read.tensors)).toEqual(written);
        expect(read.metadata).toEqual(texts);
      }),
      { numRuns: 200 },
    );
  });

  test("write the same bytes for the same content, laid out as the format says", () => {
    const bytes = encodeCheckpoint(new Map([["x", { shape: [2], data: Uint16Array.of(0x0102, 0xfffe) }]]));
    expect(encodeCheckpoint(new Map([["x", { shape: [2], data: Uint16Array.of(0x0102, 0xfffe) }]]))).toEqual(
      bytes,
    );
    const headerLength = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    expect(headerLength % 8).toBe(0);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerLength)));
    expect(header.x).toEqual({ dtype: "U16", shape: [2], data_offsets: [0, 4] });
    expect([...bytes.subarray(8 + headerLength)]).toEqual([2, 1, 0xfe, 0xff]);
  });

  test("refuse a file cut at any length as truncated", () => {
    const bytes = encodeCheckpoint(tensors, metadata);
    for (let length = 0; length < bytes.length; length++) {
      expect(
        faultOf(() => decodeCheckpoint(bytes.subarray(0, length))),
        `cut at ${length}`,
      ).toBe("truncated");
    }
  });

  test("refuse a file in which any one bit of any byte has changed", () => {
    const bytes = encodeCheckpoint(tensors, metadata);
    for (let index = 0; index < bytes.length; index++) {
      const damaged = bytes.slice();
      damaged[index]! ^= 1 << (index % 8);
      expect(
        faultOf(() => decodeCheckpoint(damaged)),
        `byte ${index}`,
      ).toBeDefined();
    }
    const damagedData = bytes.slice();
    damagedData[bytes.length - 1]! ^= 1;
    expect(faultOf(() => decodeCheckpoint(damagedData))).toBe("checksum");
  });

  test("refuse bytes that follow the last tensor", () => {
    const bytes = encodeCheckpoint(tensors, metadata);
    const longer = new Uint8Array(bytes.length + 1);
    longer.set(bytes);
    expect(faultOf(() => decodeCheckpoint(longer))).toBe("layout");
  });

  test("refuse a header length that no header has, before anything is allocated for it", () => {
    const bytes = encodeCheckpoint(tensors);
    new DataView(bytes.buffer).setBigUint64(0, 2n ** 63n, true);
    expect(faultOf(() => decodeCheckpoint(bytes))).toBe("header");
  });

  const x = (fields: object) => `{${checksum},"x":${JSON.stringify(fields)}}`;
  const good = { dtype: "F32", shape: [1], data_offsets: [0, 4] };
  const forgeries: { what: string; header: string; data?: number; fault: CheckpointFault | undefined }[] = [
    { what: "nothing wrong", header: x(good), data: 4, fault: undefined },
    { what: "no checksum", header: `{"x":${JSON.stringify(good)}}`, data: 4, fault: "header" },
    { what: "text that is not JSON", header: `{${checksum},`, fault: "header" },
    { what: "a list for a header", header: `[${checksum}]`, fault: "header" },
    { what: "metadata that is not text", header: `{${checksum.slice(0, -1)},"n":1}}`, fault: "header" },
    { what: "an unknown element type", header: x({ ...good, dtype: "BF16" }), data: 4, fault: "header" },
    {
      what: "an inherited property for a type",
      header: x({ ...good, dtype: "toString" }),
      data: 4,
      fault: "header",
    },
    { what: "a negative size", header: x({ ...good, shape: [-1, -1] }), data: 4, fault: "header" },
    { what: "a fractional size", header: x({ ...good, shape: [0.5, 2] }), data: 4, fault: "header" },
    { what: "a text for a shape", header: x({ ...good, shape: "1" }), data: 4, fault: "header" },
    { what: "three offsets", header: x({ ...good, data_offsets: [0, 4, 8] }), data: 4, fault: "header" },
    { what: "no description", header: `{${checksum},"x":null}`, fault: "header" },
    { what: "a shape larger than its bytes", header: x({ ...good, shape: [2] }), data: 4, fault: "layout" },
    {
      what: "a shape that overflows",
      header: x({ ...good, shape: [2 ** 52, 2 ** 52] }),
      data: 4,
      fault: "layout",
    },
    { what: "offsets back to front", header: x({ ...good, data_offsets: [4, 0] }), data: 4, fault: "layout" },
    {
      what: "a gap before the first tensor",
      header: x({ ...good, data_offsets: [4, 8] }),
      data: 8,
      fault: "layout",
    },
    {
      what: "two tensors in one place",
      header: `{${checksum},"x":${JSON.stringify(good)},"y":${JSON.stringify(good)}}`,
      data: 4,
      fault: "layout",
    },
  ];
  test.each(forgeries)("a well-signed header with $what gives $fault", ({ header, data = 0, fault }) => {
    expect(faultOf(() => decodeCheckpoint(forge(header, new Uint8Array(data))))).toBe(fault);
  });

  test("refuse to write what could not be read back", () => {
    const wrongShape = new Map([["x", { shape: [3], data: new Float32Array(2) }]]);
    const reservedName = new Map([["__metadata__", { shape: [0], data: new Float32Array(0) }]]);
    const clamped = new Map<string, CheckpointTensor>([
      ["x", { shape: [1], data: new Uint8ClampedArray(1) as object as Uint8Array }],
    ]);
    expect(faultOf(() => encodeCheckpoint(wrongShape))).toBe("content");
    expect(faultOf(() => encodeCheckpoint(reservedName))).toBe("content");
    expect(faultOf(() => encodeCheckpoint(new Map(), new Map([["sha256", ""]])))).toBe("content");
    expect(faultOf(() => encodeCheckpoint(clamped))).toBe("content");
  });
});
