// Inventories and snapshots: what a peer asks another of the same run for, one response each.
import { MAX_BODY_VALUES } from "../core/layout.ts";
import { tileCount } from "../core/merkle.ts";
import type { ContentId, RunId, SignedUpdate, SnapshotManifest } from "../core/types.ts";
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
import { openUpdate } from "./signed.ts";

/** Two open rounds of a thousand peers. A longer inventory is cut at its newest end and asked for again. */
export const MAX_INVENTORY_UPDATES = 2048;
export const MAX_SNAPSHOT_TILES = tileCount(MAX_BODY_VALUES);

export interface InventoryRequest {
  readonly runId: RunId;
  readonly fromRound: number;
}

/** The updates are bounded but their signatures are unchecked until protocol/net has verified each. */
export interface InventoryResponse {
  readonly updates: readonly SignedUpdate[];
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
  write: ({ runId, fromRound }) => ({
    runId: writeHex32(runId, "runId"),
    fromRound: writeInt31(fromRound, "fromRound"),
  }),
  read: ({ runId, fromRound }) => ({
    runId: readHex32(runId, "runId"),
    fromRound: readInt31(fromRound, "fromRound"),
  }),
});

export const inventoryResponseCodec: Codec<InventoryResponse> = protoCodec(InventoryResponseSchema, {
  write: ({ updates }) => ({ updates: writeUpdates(updates) }),
  read: ({ updates }) => ({ updates: readUpdates(updates) }),
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
            tiles: writeTiles(snapshot.tiles),
            updates: writeUpdates(snapshot.updates),
          },
        },
  read: ({ snapshot }) => ({
    snapshot: snapshot && {
      runId: readHex32(snapshot.runId, "runId"),
      closedRound: readInt31(snapshot.closedRound, "closedRound"),
      root: readHex32(snapshot.root, "root"),
      tiles: readTiles(snapshot.tiles),
      updates: readUpdates(snapshot.updates),
    },
  }),
});

function writeTiles(tiles: readonly ContentId[]): Uint8Array<ArrayBuffer> {
  if (tiles.length > MAX_SNAPSHOT_TILES) throw new RangeError(`more than ${MAX_SNAPSHOT_TILES} tiles`);
  const bytes = new Uint8Array(tiles.length * SHA256_BYTES);
  for (const [index, tile] of tiles.entries()) bytes.set(writeHex32(tile, "tile"), index * SHA256_BYTES);
  return bytes;
}

function readTiles(bytes: Uint8Array): readonly ContentId[] {
  const count = bytes.byteLength / SHA256_BYTES;
  if (!Number.isInteger(count)) throw new FieldError("tiles is not a whole number of hashes");
  if (count > MAX_SNAPSHOT_TILES) throw new FieldError(`more than ${MAX_SNAPSHOT_TILES} tiles`, "oversized");
  return Array.from({ length: count }, (_, index) =>
    readHex32(bytes.subarray(index * SHA256_BYTES, (index + 1) * SHA256_BYTES), "tile"),
  );
}
