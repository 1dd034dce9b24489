// The body's root: a Merkle tree over tiles of 256 KiB, so that peers can compare bodies in 32 bytes and repair or
// download them tile by tile from anyone, checking each tile on its own. Must not know where tiles come from.
//
//   tile id  = SHA-256(tile bytes)              a content id like any other
//   leaf     = SHA-256(0x00 || tile id)
//   node     = SHA-256(0x01 || left || right)   a node without a sibling moves up unchanged (the shape of RFC 6962)
import { fromString } from "uint8arrays/from-string";
import { floatBytes, readFloats, viewFloatBytes } from "./float-bytes.ts";
import type { Hash } from "./hash.ts";
import { hexSha256, toHex } from "./hash.ts";
import type { BodyRoot, ContentId } from "./types.ts";

/** 256 KiB: small enough to retry, large enough that a 1.2e9-value body has only 18,500 of them. */
export const TILE_BYTES = 256 * 1024;
/** float32 values in a tile; the last tile of a body may be shorter. */
export const TILE_VALUES = TILE_BYTES / 4;

const LEAF = 0;
const NODE = 1;

/** Tiles of a body of `values` float32 values. */
export const tileCount = (values: number): number => Math.ceil(values / TILE_VALUES);

/** Bytes of tile `index` of a body of `values` values: TILE_BYTES, or what is left for the last one. */
export const tileLength = (values: number, index: number): number =>
  4 * Math.min(TILE_VALUES, values - index * TILE_VALUES);

/** float32 little-endian bytes of one tile, as a copy; undefined where the body has no such tile. */
export function tileBytes(body: Float32Array, index: number): Uint8Array | undefined {
  if (!Number.isInteger(index) || index < 0 || index >= tileCount(body.length)) return undefined;
  const from = index * TILE_VALUES;
  return floatBytes(body, from, Math.min(from + TILE_VALUES, body.length));
}

/** Puts a tile's bytes into the body; false, with the body untouched, where index or length do not fit. */
export function writeTile(body: Float32Array, index: number, bytes: Uint8Array): boolean {
  if (!Number.isInteger(index) || index < 0 || index >= tileCount(body.length)) return false;
  if (bytes.length !== tileLength(body.length, index)) return false;
  body.set(readFloats(bytes, 0, bytes.length / 4), index * TILE_VALUES);
  return true;
}

/** Content ids of all tiles in order. After a repair only the changed tile needs hashing again. */
export function tileIds(body: Float32Array, hash: Hash): ContentId[] {
  return Array.from({ length: tileCount(body.length) }, (_, index) => {
    const from = index * TILE_VALUES;
    return hexSha256(viewFloatBytes(body, from, Math.min(from + TILE_VALUES, body.length)), hash);
  });
}

/** The root that the tiles hash to. A body has at least one tile; ids must be hexadecimal SHA-256. */
export function rootOfTiles(tiles: readonly ContentId[], hash: Hash): BodyRoot {
  if (tiles.length === 0) throw new RangeError("a body has at least one tile");
  let level = tiles.map((id) => hash(tagged(LEAF, fromString(id, "base16"))));
  while (level.length > 1) {
    const above: Uint8Array[] = [];
    for (let at = 0; at < level.length; at += 2) {
      const left = level[at]!;
      const right = level[at + 1];
      above.push(right === undefined ? left : hash(tagged(NODE, left, right)));
    }
    level = above;
  }
  return toHex(level[0]!);
}

/** Root of a whole body: equal iff every bit of every value is equal. */
export const bodyRoot = (body: Float32Array, hash: Hash): BodyRoot => rootOfTiles(tileIds(body, hash), hash);

function tagged(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(1 + parts.length * 32);
  bytes[0] = tag;
  parts.forEach((part, position) => {
    bytes.set(part, 1 + position * 32);
  });
  return bytes;
}
