// The frames around bulk data: one open frame names the object, one head describes it, then each chunk is asked for by
// index and answered by its raw bytes. Payloads and body tiles travel this way.
import { TILE_BYTES } from "../core/merkle.ts";
import type { BodyRoot, ContentId, RunId } from "../core/types.ts";
import type { Codec } from "./codec.ts";
import { protoCodec } from "./codec.ts";
import { FieldError } from "./decoded.ts";
import { readCount, readHex32, readInt31, writeCount, writeHex32, writeInt31 } from "./fields.ts";
import {
  BulkHeadSchema,
  ChunkRequestSchema,
  PayloadOpenSchema,
  TilesOpenSchema,
} from "./generated/glossa_pb.ts";

/** One chunk is one tile, and payloads are cut alike: 256 KiB keeps per-frame costs small and several in flight cheap. */
export const CHUNK_BYTES = TILE_BYTES;
/** Whoever serves may choose other chunk sizes up to this. */
export const MAX_CHUNK_BYTES = 1024 * 1024;

export interface PayloadOpen {
  readonly runId: RunId;
  readonly contentId: ContentId;
}

export interface TilesOpen {
  readonly runId: RunId;
  readonly root: BodyRoot;
}

/** Chunk i of the object has `chunkBytes` bytes, the last one what remains of `lengthBytes`. */
export interface BulkHead {
  readonly found: boolean;
  readonly lengthBytes: number;
  readonly chunkBytes: number;
}

export interface ChunkRequest {
  readonly index: number;
}

export const payloadOpenCodec: Codec<PayloadOpen> = protoCodec(PayloadOpenSchema, {
  write: ({ runId, contentId }) => ({
    runId: writeHex32(runId, "runId"),
    contentId: writeHex32(contentId, "contentId"),
  }),
  read: ({ runId, contentId }) => ({
    runId: readHex32(runId, "runId"),
    contentId: readHex32(contentId, "contentId"),
  }),
});

export const tilesOpenCodec: Codec<TilesOpen> = protoCodec(TilesOpenSchema, {
  write: ({ runId, root }) => ({ runId: writeHex32(runId, "runId"), root: writeHex32(root, "root") }),
  read: ({ runId, root }) => ({ runId: readHex32(runId, "runId"), root: readHex32(root, "root") }),
});

export const bulkHeadCodec: Codec<BulkHead> = protoCodec(BulkHeadSchema, {
  write: ({ found, lengthBytes, chunkBytes }) => ({
    found,
    lengthBytes: writeCount(lengthBytes, "lengthBytes"),
    chunkBytes: writeInt31(chunkBytes, "chunkBytes"),
  }),
  read({ found, lengthBytes, chunkBytes }) {
    if (found && chunkBytes === 0) throw new FieldError("chunkBytes is 0");
    if (chunkBytes > MAX_CHUNK_BYTES)
      throw new FieldError(`chunkBytes is above ${MAX_CHUNK_BYTES}`, "oversized");
    return { found, lengthBytes: readCount(lengthBytes, "lengthBytes"), chunkBytes };
  },
});

export const chunkRequestCodec: Codec<ChunkRequest> = protoCodec(ChunkRequestSchema, {
  write: ({ index }) => ({ index: writeInt31(index, "index") }),
  read: ({ index }) => ({ index: readInt31(index, "index") }),
});
