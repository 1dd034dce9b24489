// Run assets over streams, both ways: pulled by whoever joins, given to a rendezvous that pulls them itself and so decides
// how fast and how far. Knows neither where assets lie nor who may have which.
import type { ContentId, RunId } from "../core/types.ts";
import type { StoreAssetAnswer, StoreAssetOpen } from "../wire/assets.ts";
import { MAX_ASSET_BYTES } from "../wire/assets.ts";
import { CHUNK_BYTES } from "../wire/bulk.ts";
import { decodeMessage, encodeMessage, MESSAGES } from "../wire/messages.ts";
import type { BulkObject } from "./bulk.ts";
import {
  answerChunkRequest,
  CHUNK_TIMEOUT_MS,
  CHUNKS_IN_FLIGHT,
  chunkCount,
  chunkLength,
  IDLE_TIMEOUT_MS,
  serveBulk,
} from "./bulk.ts";
import { SLOWEST_BYTES_PER_SECOND, TRANSFER_BASE_MS, type Wanted } from "./download.ts";
import { FRAME_OVERHEAD_BYTES, FrameError, type Frames } from "./frames.ts";
import type { Streams, Target } from "./streams.ts";
import { FRAME_TIMEOUT_MS, within } from "./streams.ts";

/** A file of a run: what it is called there, and where it lies here. */
export interface RunAsset {
  readonly contentId: ContentId;
  readonly file: string;
}

/** What to ask a `Download` for, to get an asset. */
export const wantedAsset = (
  runId: RunId,
  contentId: ContentId,
  onProgress: (bytes: number, totalBytes: number) => void,
): Wanted<"asset"> => ({
  stream: "asset",
  opening: { runId, contentId },
  contentId,
  what: "asset",
  length: { atMost: MAX_ASSET_BYTES },
  onProgress,
});

export function serveAssets(
  streams: Streams,
  find: (runId: RunId, contentId: ContentId) => Promise<BulkObject | undefined>,
): Promise<void> {
  return serveBulk(streams, "asset", ({ runId, contentId }) => find(runId, contentId));
}

/** Where an asset that is being given goes. Each chunk is written once and in order; `finish` decides. */
export interface AssetDraft {
  write(chunk: Uint8Array): Promise<void>;
  /** Keeps it, if what was written hashes to its name. */
  finish(): Promise<StoreAssetAnswer>;
  /** Called in any case, last. */
  discard(): Promise<void>;
}

const GIVING_BOUNDS = {
  maxFrameBytes: CHUNK_BYTES,
  maxBufferedBytes: (CHUNKS_IN_FLIGHT + 1) * (CHUNK_BYTES + FRAME_OVERHEAD_BYTES),
};

/** How long the whole may take. */
const transferMs = (lengthBytes: number): number =>
  TRANSFER_BASE_MS + Math.ceil((lengthBytes / SLOWEST_BYTES_PER_SECOND) * 1000);

/** Takes assets that `begin` wants. A giver that is slower than 32 KiB/s over the whole is cut off. */
export function takeAssets(
  streams: Streams,
  begin: (offer: StoreAssetOpen, peer: string) => Promise<AssetDraft | StoreAssetAnswer>,
): Promise<void> {
  const converse = async (frames: Frames, offer: StoreAssetOpen, peer: string, stopped: AbortSignal) => {
    const { lengthBytes } = offer;
    const signal = within(stopped, transferMs(lengthBytes));
    const answer = (value: StoreAssetAnswer) =>
      frames.write(encodeMessage("storeAssetAnswer", value), within(signal, FRAME_TIMEOUT_MS));
    const draft = await begin(offer, peer);
    if ("stored" in draft) return answer(draft);
    try {
      await answer({ stored: false, wanted: true, reason: "" });
      await takeChunks(frames, lengthBytes, draft, signal);
      const outcome = await draft.finish();
      await answer(outcome);
    } finally {
      await draft.discard();
    }
  };
  return streams.serve("store-asset", "storeAssetOpen", converse, GIVING_BOUNDS);
}

async function takeChunks(
  frames: Frames,
  lengthBytes: number,
  draft: AssetDraft,
  signal: AbortSignal,
): Promise<void> {
  const cut = { lengthBytes, chunkBytes: CHUNK_BYTES };
  const count = chunkCount(cut);
  let asked = 0;
  for (let taken = 0; taken < count; taken++) {
    for (; asked < Math.min(count, taken + CHUNKS_IN_FLIGHT); asked++) {
      const request = encodeMessage("chunkRequest", { index: asked });
      await frames.write(request, within(signal, FRAME_TIMEOUT_MS));
    }
    const chunk = await frames.read(within(signal, CHUNK_TIMEOUT_MS));
    if (chunk === undefined) throw new Error("the giver closed the stream");
    if (chunk.byteLength !== chunkLength(cut, taken)) {
      throw new FrameError("malformed-message", "a chunk has the wrong length", undefined);
    }
    await draft.write(chunk);
  }
}

/**
 * Gives an asset to `target`, unless it has it already. Returns the last answer: stored, or a reason. Throws as `Streams.ask`; `NOT_SERVED` by peers, which keep no assets but their own.
 */
export function giveAsset(
  streams: Streams,
  target: Target,
  offer: StoreAssetOpen,
  object: BulkObject,
  callerSignal: AbortSignal,
): Promise<StoreAssetAnswer> {
  const signal = within(callerSignal, transferMs(offer.lengthBytes));
  const { maxBytes } = MESSAGES.storeAssetAnswer;
  const bounds = { maxFrameBytes: maxBytes, maxBufferedBytes: maxBytes + 4096 };
  return streams.open(target, "store-asset", bounds, signal, async (frames) => {
    await frames.write(encodeMessage("storeAssetOpen", offer), within(signal, FRAME_TIMEOUT_MS));
    const first = await readAnswer(frames, within(signal, FRAME_TIMEOUT_MS));
    if (!first.wanted) return first;
    for (let sent = 0; sent < chunkCount(object); sent++) {
      const request = await frames.read(within(signal, IDLE_TIMEOUT_MS));
      if (request === undefined) throw new Error("the taker closed the stream");
      await answerChunkRequest(frames, "store-asset", object, request, signal);
    }
    const last = await readAnswer(frames, within(signal, CHUNK_TIMEOUT_MS));
    if (last.wanted) throw new FrameError("malformed-message", "wants more than there is", undefined);
    return last;
  });
}

async function readAnswer(frames: Frames, signal: AbortSignal): Promise<StoreAssetAnswer> {
  const bytes = await frames.read(signal);
  if (bytes === undefined) throw new Error("the taker closed the stream");
  const answer = decodeMessage("storeAssetAnswer", bytes);
  if (!answer.ok) throw new FrameError(answer.rejection.offence, answer.rejection.detail, undefined);
  return answer.value;
}
