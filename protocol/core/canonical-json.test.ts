import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalJson, type Json } from "./canonical-json.ts";
import { vectors } from "./golden/vectors.ts";

describe("canonical JSON", () => {
  it("writes numbers as an independent implementation does", () => {
    const numbers = [
      0,
      -0,
      1,
      -1.5,
      1e21,
      123456789012345680000,
      1e-6,
      1e-7,
      5e-324,
      0.1,
      0.0006,
      1e-8,
      Number.MAX_VALUE,
    ];
    expect(numbers.map(canonicalJson)).toEqual(vectors.canonicalNumbers);
  });

  it("sorts keys by code units at every depth and leaves absent fields out", () => {
    expect(canonicalJson({ b: [{ z: 1, a: null }], "10": true, "9": "ü\n", B: undefined })).toBe(
      '{"10":true,"9":"ü\\n","b":[{"a":null,"z":1}]}',
    );
  });

  it("does not depend on the order in which keys were set", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
        const reversed = Object.fromEntries(Object.entries(value).reverse()) as Json;
        expect(canonicalJson(reversed)).toBe(canonicalJson(value as Json));
      }),
    );
  });

  it("reads back as the same value", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = canonicalJson(value as Json);
        expect(canonicalJson(JSON.parse(text))).toBe(text);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])("refuses %s", (value) => {
    expect(() => canonicalJson([value])).toThrow(TypeError);
  });
});
