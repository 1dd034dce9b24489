// Inventories and snapshots: what a peer asks another of the same run for, one response each.
import { MAX_BODY_VALUES } from "../core/layout.ts";
import { tileCount } from "../core/merkle.ts";
import type { Inventory, RunId, SignedUpdate, SnapshotManifest } from "../core/types.ts";
import type { UpdateId } from "../core/update-set.ts";
import type { Codec } from "./codec.ts";
import { protoCodec } from "./codec.ts";
import { FieldError } from "./decoded.ts";
import { readHex32, readInt31, readList, SHA256_BYTES, writeHex32, writeInt31, writeList } from "./fields.ts";
import {
  InventoryRequestSchema,
  InventoryResponseSchema,
  OfferRequestSchema,
  OfferResponseSchema,
  SnapshotRequestSchema,
  SnapshotResponseSchema,
} from "./generated/glossa_pb.ts";
import { peerIdOfKey, writePeer } from "./peer-key.ts";
import { openUpdate } from "./signed.ts";

/** Two open rounds of a thousand peers. A longer inventory comes in pages. */
export const MAX_INVENTORY_UPDATES = 2048;
/** An update log's 32 rounds and the body that they lead to. */
export const MAX_CLOSED_ROOTS = 33;
export const MAX_SNAPSHOT_TILES = tileCount(MAX_BODY_VALUES);

export interface InventoryRequest {
  readonly runId: RunId;
  readonly fromRound: number;
  /** The last update of the page before. */
  readonly after?: UpdateId | undefined;
}

/** The updates are bounded but their signatures are unchecked until protocol/net has verified each. */
export interface InventoryResponse extends Inventory {
  readonly more: boolean;
}

export interface SnapshotRequest {
  readonly runId: RunId;
}

export interface SnapshotResponse {
  /** Undefined where the responder has nothing to serve yet. */
  readonly snapshot: SnapshotManifest | undefined;
}

/** The author of an update asks a peer to have its payload before others hear of it. */
export interface OfferRequest {
  readonly update: SignedUpdate;
}

export interface OfferResponse {
  readonly held: boolean;
}

const writeUpdates = (updates: readonly SignedUpdate[]) =>
  writeList(updates, "updates", MAX_INVENTORY_UPDATES, ({ envelope }) => new Uint8Array(envelope));

const readUpdates = (envelopes: readonly Uint8Array[]) =>
  readList(envelopes, "updates", MAX_INVENTORY_UPDATES, (bytes) => {
    const opened = openUpdate(bytes);
    if (!opened.ok) throw new FieldError(opened.rejection.detail, opened.rejection.offence);
    return opened.value.message;
  });

export const offerRequestCodec: Codec<OfferRequest> = protoCodec(OfferRequestSchema, {
  write: ({ update }) => ({ update: new Uint8Array(update.envelope) }),
  read: ({ update }) => ({ update: readUpdates([update])[0]! }),
});

export const offerResponseCodec: Codec<OfferResponse> = protoCodec(OfferResponseSchema, {
  write: ({ held }) => ({ held }),
  read: ({ held }) => ({ held }),
});

export const inventoryRequestCodec: Codec<InventoryRequest> = protoCodec(InventoryRequestSchema, {
  write: ({ runId, fromRound, after }) => ({
    runId: writeHex32(runId, "runId"),
    fromRound: writeInt31(fromRound, "fromRound"),
    ...(after !== undefined && {
      after: {
        round: writeInt31(after.round, "after"),
        author: writePeer(after.author, "after"),
        statement: writeHex32(after.statement, "after"),
      },
    }),
  }),
  read: ({ runId, fromRound, after }) => ({
    runId: readHex32(runId, "runId"),
    fromRound: readInt31(fromRound, "fromRound"),
    ...(after !== undefined && {
      after: {
        round: readInt31(after.round, "after"),
        author: peerIdOfKey(after.author, "after"),
        statement: readHex32(after.statement, "after"),
      },
    }),
  }),
});

export const inventoryResponseCodec: Codec<InventoryResponse> = protoCodec(InventoryResponseSchema, {
  write: ({ updates, closedRoots, more, opposed = [] }) => ({
    more,
    opposed: writePositions(opposed, updates),
    updates: writeUpdates(updates),
    closedRound: writeInt31(Math.max(0, ...closedRoots.keys()), "closedRound"),
    // Without a gap: the number of each follows from the newest.
    closedRoots: writeHashes([...closedRoots.values()], "closedRoots", MAX_CLOSED_ROOTS),
  }),
  read: ({ updates: envelopes, closedRound, closedRoots, more, opposed }) => {
    const newest = readInt31(closedRound, "closedRound");
    const roots = readHashes(closedRoots, "closedRoots", MAX_CLOSED_ROOTS);
    if (roots.length > newest + 1) throw new FieldError("closedRoots has roots of rounds before the first");
    const oldest = newest + 1 - roots.length;
    const updates = readUpdates(envelopes);
    return {
      more,
      updates,
      opposed: readPositions(opposed, updates),
      closedRoots: new Map(roots.map((root, at) => [oldest + at, root])),
    };
  },
});

export const snapshotRequestCodec: Codec<SnapshotRequest> = protoCodec(SnapshotRequestSchema, {
  write: ({ runId }) => ({ runId: writeHex32(runId, "runId") }),
  read: ({ runId }) => ({ runId: readHex32(runId, "runId") }),
});

export const snapshotResponseCodec: Codec<SnapshotResponse> = protoCodec(SnapshotResponseSchema, {
  write: ({ snapshot }) =>
    snapshot === undefined
      ? {}
      : {
          snapshot: {
            runId: writeHex32(snapshot.runId, "runId"),
            closedRound: writeInt31(snapshot.closedRound, "closedRound"),
            root: writeHex32(snapshot.root, "root"),
            tiles: writeHashes(snapshot.tiles, "tiles", MAX_SNAPSHOT_TILES),
            updates: writeUpdates(snapshot.updates),
          },
        },
  read: ({ snapshot }) => ({
    snapshot: snapshot && {
      runId: readHex32(snapshot.runId, "runId"),
      closedRound: readInt31(snapshot.closedRound, "closedRound"),
      root: readHex32(snapshot.root, "root"),
      tiles: readHashes(snapshot.tiles, "tiles", MAX_SNAPSHOT_TILES),
      updates: readUpdates(snapshot.updates),
    },
  }),
});

function writePositions(some: readonly SignedUpdate[], of: readonly SignedUpdate[]): number[] {
  const chosen = new Set(some);
  return [...of.keys()].filter((at) => chosen.has(of[at]!));
}

function readPositions(positions: readonly number[], of: readonly SignedUpdate[]): readonly SignedUpdate[] {
  return positions.map((position, at) => {
    const update = of[position];
    if (update === undefined || position <= (positions[at - 1] ?? -1)) {
      throw new FieldError("opposed has positions that are out of order or of no update");
    }
    return update;
  });
}

function writeHashes(hashes: readonly string[], field: string, most: number): Uint8Array<ArrayBuffer> {
  if (hashes.length > most) throw new RangeError(`more than ${most} ${field}`);
  const bytes = new Uint8Array(hashes.length * SHA256_BYTES);
  for (const [index, hash] of hashes.entries()) bytes.set(writeHex32(hash, field), index * SHA256_BYTES);
  return bytes;
}

function readHashes(bytes: Uint8Array, field: string, most: number): readonly string[] {
  const count = bytes.byteLength / SHA256_BYTES;
  if (!Number.isInteger(count)) throw new FieldError(`${field} is not a whole number of hashes`);
  if (count > most) throw new FieldError(`more than ${most} ${field}`, "oversized");
  return Array.from({ length: count }, (_, index) =>
    readHex32(bytes.subarray(index * SHA256_BYTES, (index + 1) * SHA256_BYTES), field),
  );
}
