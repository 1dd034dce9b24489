import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HeldRowsError } from "../errors.ts";
import { bytesFromHex, vectors } from "./golden/vectors.ts";
import { type Hash, toHex } from "./hash.ts";
import { decodeRows, encodeRows, forEachRowRun, maxRowsBytes, requireRows } from "./rows.ts";

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();

/** Sizes up to the largest vocabulary; sets from a single row to all rows, in clusters or strewn. */
const rowSet = fc
  .tuple(
    fc.constantFrom(2, 9, 300, 5_000, 50_257, 1_048_576),
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.integer({ min: 1, max: 400 }),
    fc.integer(),
  )
  .map(([size, share, cluster, seed]) => {
    let state = seed | 1;
    const rows: number[] = [];
    for (let row = 0; row < size; row++) {
      state = Math.imul(state, 1664525) + 1013904223;
      if ((state >>> 8) / 2 ** 24 >= share ** 4) continue;
      for (const end = Math.min(size, row + cluster); row < end; row++) rows.push(row);
    }
    return { size, rows: Int32Array.from(rows.length === 0 ? [size - 1] : rows) };
  });

describe("a set of rows", () => {
  it.each(vectors.rows.sets)(
    "of $held in $size is spelt as an independent implementation spells it",
    (set) => {
      const rows = decodeRows(bytesFromHex(set.encoded), set.held, set.size);
      if (typeof rows === "string") throw new Error(rows);
      expect(toHex(sha256(new Uint8Array(rows.buffer)))).toBe(set.rowsDigest);
      expect(toHex(encodeRows(rows, set.size))).toBe(set.encoded);
    },
  );

  it("is read as it was written, and never takes more than a bitmap", () => {
    fc.assert(
      fc.property(rowSet, ({ size, rows }) => {
        const bytes = encodeRows(rows, size);
        expect(bytes.length).toBeLessThanOrEqual(maxRowsBytes(size));
        expect(decodeRows(bytes, rows.length, size)).toEqual(rows);
      }),
      { numRuns: 60 },
    );
  });

  it("has exactly one spelling: of all short byte strings as many are read as there are sets", () => {
    const size = 9;
    const read = new Map<string, number>();
    for (let length = 0; length <= 2; length++) {
      for (let value = 0; value < 256 ** length; value++) {
        const bytes = Uint8Array.from({ length }, (_, at) => value >> (8 * at));
        for (let held = 1; held <= size; held++) {
          const rows = decodeRows(bytes, held, size);
          if (typeof rows !== "string") read.set(`${rows}`, (read.get(`${rows}`) ?? 0) + 1);
        }
      }
    }
    expect(read.size).toBe(2 ** size - 1);
    expect(new Set(read.values())).toEqual(new Set([1]));
  });

  it("is either refused or spelt as it would be written, whatever the bytes are", () => {
    const bytes = fc.uint8Array({ maxLength: 40 });
    fc.assert(
      fc.property(bytes, fc.integer({ min: 1, max: 300 }), fc.nat(300), (given, held, more) => {
        const size = held + more;
        const rows = decodeRows(given, held, size);
        if (typeof rows === "string") return;
        requireRows(rows, size);
        expect(encodeRows(rows, size)).toEqual(given);
      }),
      { numRuns: 3_000 },
    );
  });

  it("is cheap where a few of many rows are held", () => {
    const rows = Int32Array.from({ length: 1_000 }, (_, at) => 1_000 * at);
    expect(encodeRows(rows, 1_048_576).length).toBeLessThan(1_500);
  });

  it.each([
    ["cut short", (bytes: Uint8Array) => bytes.slice(0, -1)],
    ["with a byte too many", (bytes: Uint8Array) => Uint8Array.of(...bytes, 0)],
    ["with padding that is not 0", (bytes: Uint8Array) => bytes.with(-1, bytes.at(-1)! | 0x80)],
    ["of nothing but zeros", (bytes: Uint8Array) => new Uint8Array(bytes.length)],
    ["of nothing", () => new Uint8Array()],
  ])("%s is refused", (_, change) => {
    const rows = Int32Array.of(3, 4, 90, 290);
    expect(typeof decodeRows(change(encodeRows(rows, 300)), 4, 300)).toBe("string");
  });

  it("is not given memory for rows that its bytes cannot name", () => {
    expect(decodeRows(new Uint8Array(3), 1_000_000, 1_048_576)).toBe("1000000 rows in 3 bytes");
  });

  it.each([
    ["none", []],
    ["one twice", [1, 1]],
    ["a descending one", [2, 1]],
    ["a negative one", [-1, 1]],
    ["one beyond the last", [0, 10]],
  ])("of %s is no set that a peer can hold", (_, rows) => {
    expect(() => requireRows(Int32Array.from(rows), 10)).toThrow(HeldRowsError);
  });

  it("falls into runs of neighbours", () => {
    const runs: number[][] = [];
    forEachRowRun(Int32Array.of(0, 1, 2, 7, 9, 10), (...run) => runs.push(run));
    expect(runs).toEqual([
      [0, 0, 3],
      [3, 7, 1],
      [4, 9, 2],
    ]);
  });
});
