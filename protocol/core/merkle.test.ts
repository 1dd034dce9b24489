import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { pseudoRandom, vectors } from "./golden/vectors.ts";
import { type Hash, hexSha256 } from "./hash.ts";
import {
  bodyRoot,
  rootOfTiles,
  TILE_BYTES,
  TILE_VALUES,
  tileBytes,
  tileCount,
  tileIds,
  tileLength,
  writeTile,
} from "./merkle.ts";

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();
const hexIds = (count: number) =>
  Array.from({ length: count }, (_, at) => hexSha256(Uint8Array.of(at), sha256));

describe("a body's root", () => {
  it.each(vectors.merkle.bodies)("is that of an independent implementation for $values values", (golden) => {
    const body = pseudoRandom(golden.values, golden.values, vectors.merkle.amplitude);
    expect(tileIds(body, sha256)).toEqual(golden.tiles);
    expect(bodyRoot(body, sha256)).toBe(golden.root);
  });

  it("changes with a single bit anywhere, even with the sign of a zero", () => {
    const body = new Float32Array(TILE_VALUES + 10);
    const root = bodyRoot(body, sha256);
    for (const index of [0, TILE_VALUES - 1, TILE_VALUES, TILE_VALUES + 9]) {
      const other = body.slice();
      other[index] = -0;
      expect(bodyRoot(other, sha256)).not.toBe(root);
    }
  });

  it("differs for every number of tiles, and a leaf can never pass for a node", () => {
    const ids = hexIds(9);
    const roots = ids.map((_, at) => rootOfTiles(ids.slice(0, at + 1), sha256));
    expect(new Set(roots).size).toBe(9);
    expect(rootOfTiles([roots[1]!], sha256)).not.toBe(roots[1]);
  });

  it("depends on the order of tiles", () => {
    const [a, b] = hexIds(2) as [string, string];
    expect(rootOfTiles([a, b], sha256)).not.toBe(rootOfTiles([b, a], sha256));
  });

  it("does not exist for no tiles", () => {
    expect(() => rootOfTiles([], sha256)).toThrow(RangeError);
  });
});

describe("tiles", () => {
  it("carry a body over piece by piece, in any order", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3 * TILE_VALUES }),
        fc.infiniteStream(fc.nat()),
        (values, random) => {
          const body = pseudoRandom(values, values, 1);
          const order = Array.from({ length: tileCount(values) }, (_, index) => index).sort(
            () => (random.next().value % 3) - 1,
          );
          const copy = new Float32Array(values);
          for (const index of order) expect(writeTile(copy, index, tileBytes(body, index)!)).toBe(true);
          expect(copy).toEqual(body);
        },
      ),
      { numRuns: 10 },
    );
  });

  it("end with a shorter one", () => {
    const body = new Float32Array(TILE_VALUES + 1);
    expect([tileLength(body.length, 0), tileLength(body.length, 1)]).toEqual([TILE_BYTES, 4]);
    expect(tileBytes(body, 1)).toHaveLength(4);
  });

  it.each([-1, 2, 0.5, Number.NaN])("do not exist at index %s of two", (index) => {
    const body = new Float32Array(TILE_VALUES + 1);
    expect(tileBytes(body, index)).toBeUndefined();
    expect(writeTile(body, index, new Uint8Array(4))).toBe(false);
  });

  it("of a wrong length leave the body as it is", () => {
    const body = new Float32Array(2);
    expect(writeTile(body, 0, new Uint8Array(12).fill(1))).toBe(false);
    expect(body).toEqual(new Float32Array(2));
  });
});
