// Moves one large object by pull: the asking side names chunks and keeps a few requests in flight, the serving side
// answers them one by one. So neither side ever holds more than a few chunks of the other's, the transfer resumes
// anywhere, and several holders can serve one object.
import type { PeerId } from "../core/types.ts";
import type { BulkHead } from "../wire/bulk.ts";
import { MAX_CHUNK_BYTES } from "../wire/bulk.ts";
import type { WireMessages } from "../wire/messages.ts";
import { decodeMessage, encodeMessage } from "../wire/messages.ts";
import type { StreamName } from "../wire/topics.ts";
import { FRAME_OVERHEAD_BYTES, FrameError, type Frames } from "./frames.ts";
import type { Streams } from "./streams.ts";
import { FRAME_TIMEOUT_MS, within } from "./streams.ts";

/** Requests in flight: at 256 KiB a chunk, W = 1 / 4 / 16 gave 156 / 193 / 195 MB/s on loopback. */
export const CHUNKS_IN_FLIGHT = 4;
/** The most bytes asked for at a time, over a long way: 100 Mbit/s with 300 ms there and back. */
export const MAX_BYTES_IN_FLIGHT: number = 4 * MAX_CHUNK_BYTES;
/** For one chunk, in either direction: 256 KiB in this time is 13 kB/s, below which another holder is tried. */
export const CHUNK_TIMEOUT_MS = 20_000;
/** How long a served stream may stay idle between two chunk requests. */
export const IDLE_TIMEOUT_MS = 60_000;
/** A stream may ask for each chunk this often; a transfer that needs more is not a transfer. */
const MAX_ASKS_PER_CHUNK = 2;

const PULL_BOUNDS = {
  maxFrameBytes: MAX_CHUNK_BYTES,
  maxBufferedBytes: (CHUNKS_IN_FLIGHT + 1) * (MAX_CHUNK_BYTES + FRAME_OVERHEAD_BYTES),
};

export type BulkStream = "payload" | "tiles" | "asset";
const OPENING = { payload: "payloadOpen", tiles: "tilesOpen", asset: "assetOpen" } as const;
export type OpeningOf<Name extends BulkStream> = WireMessages[(typeof OPENING)[Name]];

/** What is served: `chunk` may stop giving chunks while it is read, when the object is gone. */
export interface BulkObject {
  readonly lengthBytes: number;
  readonly chunkBytes: number;
  chunk(index: number): Uint8Array | undefined | Promise<Uint8Array | undefined>;
  /** Sends a chunk when it may be sent. */
  pace?(send: () => Promise<void>, signal: AbortSignal): Promise<void>;
  /** Called once when the transfer is over, however it ended. */
  close?(): Promise<void>;
}

export function serveBulk<Name extends BulkStream>(
  streams: Streams,
  name: Name,
  find: (opening: OpeningOf<Name>, peer: PeerId) => Promise<BulkObject | undefined>,
): Promise<void> {
  return streams.serve(name, OPENING[name], async (frames, opening, peer, signal) => {
    const object = await find(opening as OpeningOf<Name>, peer);
    const head: BulkHead =
      object === undefined
        ? { found: false, lengthBytes: 0, chunkBytes: 0 }
        : { found: true, lengthBytes: object.lengthBytes, chunkBytes: object.chunkBytes };
    try {
      await frames.write(encodeMessage("bulkHead", head), within(signal, FRAME_TIMEOUT_MS));
      if (object !== undefined) await serveChunks(frames, name, object, signal);
    } finally {
      await object?.close?.();
    }
  });
}

/** Answers chunk requests until the other side closes. */
async function serveChunks(
  frames: Frames,
  name: StreamName,
  object: BulkObject,
  signal: AbortSignal,
): Promise<void> {
  for (let asked = 0; ; asked++) {
    const bytes = await frames.read(within(signal, IDLE_TIMEOUT_MS));
    if (bytes === undefined) return;
    if (asked >= chunkCount(object) * MAX_ASKS_PER_CHUNK) {
      throw new FrameError("rate-exceeded", `${name} asks for the same chunks again`, undefined);
    }
    await answerChunkRequest(frames, name, object, bytes, signal);
  }
}

/** Sends the chunk that the frame `bytes` asks for. */
export async function answerChunkRequest(
  frames: Frames,
  name: StreamName,
  object: BulkObject,
  bytes: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const request = decodeMessage("chunkRequest", bytes);
  if (!request.ok) throw new FrameError(request.rejection.offence, request.rejection.detail, undefined);
  if (request.value.index >= chunkCount(object)) {
    throw new FrameError("malformed-message", `${name} has no such chunk`, undefined);
  }
  const chunk = await object.chunk(request.value.index);
  if (chunk === undefined) throw new Error(`the ${name} object is gone`);
  const send = () => frames.write(chunk, within(signal, CHUNK_TIMEOUT_MS));
  await (object.pace === undefined ? send() : object.pace(send, signal));
}

type Cut = Pick<BulkHead, "lengthBytes" | "chunkBytes">;

export const chunkCount = ({ lengthBytes, chunkBytes }: Cut): number =>
  chunkBytes === 0 ? 0 : Math.ceil(lengthBytes / chunkBytes);

/** Length of chunk `index` in bytes. */
export const chunkLength = ({ lengthBytes, chunkBytes }: Cut, index: number): number =>
  Math.min(chunkBytes, lengthBytes - index * chunkBytes);

/** The pulling side of one transfer from one peer. */
export interface Pull {
  /** Looks at what the peer offers, before anything is asked for. Throw to refuse. */
  accept(head: BulkHead): void;
  /** The next chunk to ask for, or undefined when there is none (now): without `idle` the transfer then ends. */
  next(): number | undefined;
  /** A chunk has come, with the right length. Throw to end the transfer. */
  receive(index: number, chunk: Uint8Array): void | Promise<void>;
  /** How many to ask for ahead, within MAX_BYTES_IN_FLIGHT; CHUNKS_IN_FLIGHT without it. */
  ahead?(): number;
  /** Nothing is in flight and there is no next: resolves when there may be one, with false when there never will. */
  idle?(): Promise<boolean>;
}

/** Pulls chunks from `peer`; returns whether it has the object at all. Errors as for `Streams.ask`. */
export function pullBulk<Name extends BulkStream>(
  streams: Streams,
  peer: PeerId,
  name: Name,
  opening: OpeningOf<Name>,
  pull: Pull,
  signal: AbortSignal,
): Promise<boolean> {
  return streams.open(peer, name, PULL_BOUNDS, signal, async (frames) => {
    await frames.write(encodeMessage(OPENING[name], opening as AnyOpening), within(signal, FRAME_TIMEOUT_MS));
    const head = await readHead(frames, signal);
    if (!head.found) return false;
    pull.accept(head);
    const inFlight: number[] = [];
    const limit = Math.max(CHUNKS_IN_FLIGHT, Math.floor(MAX_BYTES_IN_FLIGHT / head.chunkBytes));
    for (;;) {
      const ahead = Math.min(limit, pull.ahead?.() ?? CHUNKS_IN_FLIGHT);
      while (inFlight.length < ahead) {
        const index = pull.next();
        if (index === undefined) break;
        inFlight.push(index);
        await frames.write(encodeMessage("chunkRequest", { index }), within(signal, CHUNK_TIMEOUT_MS));
      }
      const index = inFlight.shift();
      if (index === undefined) {
        if ((await pull.idle?.()) === true) continue;
        return true;
      }
      const chunk = await frames.read(within(signal, CHUNK_TIMEOUT_MS));
      if (chunk === undefined) throw new Error("the holder closed the stream");
      if (chunk.byteLength !== chunkLength(head, index)) {
        throw new FrameError("malformed-message", "a chunk has the wrong length", undefined);
      }
      await pull.receive(index, chunk);
    }
  });
}

type AnyOpening = WireMessages["payloadOpen"] & WireMessages["tilesOpen"] & WireMessages["assetOpen"];

async function readHead(frames: Frames, signal: AbortSignal): Promise<BulkHead> {
  const bytes = await frames.read(within(signal, FRAME_TIMEOUT_MS));
  if (bytes === undefined) throw new Error("the holder closed the stream");
  const head = decodeMessage("bulkHead", bytes);
  if (!head.ok) throw new FrameError(head.rejection.offence, head.rejection.detail, undefined);
  return head.value;
}
