import { describe, expect, it } from "vitest";
import { floatBytes, readFloats, swapWords, writeFloats } from "./float-bytes.ts";

describe("float32 as bytes", () => {
  it("is little-endian", () => {
    expect([...floatBytes(Float32Array.of(1, -2))]).toEqual([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
  });

  it("keeps every bit, also of NaN, infinities, denormals and negative zero", () => {
    const bits = Uint32Array.of(0x7fc00001, 0x7f800000, 0xff800000, 1, 0x80000000, 0x007fffff);
    const values = new Float32Array(bits.buffer);
    expect(new Uint32Array(readFloats(floatBytes(values), 0, 6).buffer)).toEqual(bits);
  });

  it("takes a range only", () => {
    expect(readFloats(floatBytes(Float32Array.of(1, 2, 3, 4), 1, 3), 0, 2)).toEqual(Float32Array.of(2, 3));
  });

  it("reads from an unaligned offset of a Node buffer without sharing its memory", () => {
    const target = Buffer.alloc(11);
    writeFloats(target, 3, Float32Array.of(0.5, 7));
    const read = readFloats(target, 3, 2);
    target.fill(0);
    expect(read).toEqual(Float32Array.of(0.5, 7));
  });

  it("is swapped word by word on a host of the other byte order", () => {
    const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    swapWords(bytes);
    expect([...bytes]).toEqual([4, 3, 2, 1, 8, 7, 6, 5]);
  });
});
