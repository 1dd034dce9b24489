// Run assets: files that every peer of a run needs and its manifest names by their hash, such as a common tokenizer.
// Pulled from whoever has them, given to a rendezvous that pulls them itself.
import type { ContentId, RunId } from "../core/types.ts";
import type { Codec } from "./codec.ts";
import { protoCodec } from "./codec.ts";
import { FieldError } from "./decoded.ts";
import { readCount, readHex32, readText, writeCount, writeHex32, writeText } from "./fields.ts";
import { AssetOpenSchema, StoreAssetAnswerSchema, StoreAssetOpenSchema } from "./generated/glossa_pb.ts";

/** A tokenizer.json of 250,112 tokens has about 20 MB. */
export const MAX_ASSET_BYTES: number = 32 * 1024 * 1024;
const MAX_REASON_BYTES = 200;

export interface AssetOpen {
  readonly runId: RunId;
  readonly contentId: ContentId;
}

export interface StoreAssetOpen extends AssetOpen {
  readonly lengthBytes: number;
}

/** `stored`: it is kept. `wanted`: chunk requests follow. Neither: `reason` says why not. Never both. */
export interface StoreAssetAnswer {
  readonly stored: boolean;
  readonly wanted: boolean;
  readonly reason: string;
}

export const assetOpenCodec: Codec<AssetOpen> = protoCodec(AssetOpenSchema, {
  write: ({ runId, contentId }) => ({
    runId: writeHex32(runId, "runId"),
    contentId: writeHex32(contentId, "contentId"),
  }),
  read: ({ runId, contentId }) => ({
    runId: readHex32(runId, "runId"),
    contentId: readHex32(contentId, "contentId"),
  }),
});

export const storeAssetOpenCodec: Codec<StoreAssetOpen> = protoCodec(StoreAssetOpenSchema, {
  write: ({ runId, contentId, lengthBytes }) => ({
    runId: writeHex32(runId, "runId"),
    contentId: writeHex32(contentId, "contentId"),
    lengthBytes: writeAssetLength(lengthBytes),
  }),
  read: ({ runId, contentId, lengthBytes }) => ({
    runId: readHex32(runId, "runId"),
    contentId: readHex32(contentId, "contentId"),
    lengthBytes: readAssetLength(lengthBytes),
  }),
});

export const storeAssetAnswerCodec: Codec<StoreAssetAnswer> = protoCodec(StoreAssetAnswerSchema, {
  write({ stored, wanted, reason }) {
    if (stored && wanted) throw new RangeError("an asset is either stored or wanted");
    return { stored, wanted, reason: writeText(reason, "reason", MAX_REASON_BYTES) };
  },
  read({ stored, wanted, reason }) {
    if (stored && wanted) throw new FieldError("an asset is wanted that is stored");
    return { stored, wanted, reason: readText(reason, "reason", MAX_REASON_BYTES) };
  },
});

function readAssetLength(value: bigint): number {
  const lengthBytes = readCount(value, "lengthBytes");
  if (lengthBytes === 0) throw new FieldError("lengthBytes is 0");
  if (lengthBytes > MAX_ASSET_BYTES)
    throw new FieldError(`lengthBytes is above ${MAX_ASSET_BYTES}`, "oversized");
  return lengthBytes;
}

function writeAssetLength(lengthBytes: number): bigint {
  if (lengthBytes < 1 || lengthBytes > MAX_ASSET_BYTES) {
    throw new RangeError(`an asset has 1..${MAX_ASSET_BYTES} bytes, not ${lengthBytes}`);
  }
  return writeCount(lengthBytes, "lengthBytes");
}
