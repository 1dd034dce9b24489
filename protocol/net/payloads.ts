// Payloads by content id: fetched from whoever is said to hold it, in turn.
import type { PeerId, RunId, SignedUpdate } from "../core/types.ts";
import type { ServedContent } from "../ports.ts";
import { CHUNK_BYTES } from "../wire/bulk.ts";
import { serveBulk } from "./bulk.ts";
import { Download } from "./download.ts";
import { NetworkError } from "./errors.ts";
import type { StreamModules, Streams } from "./streams.ts";
import type { UploadGate } from "./upload-gate.ts";

export function servePayloads(
  streams: Streams,
  contentOf: (runId: RunId) => ServedContent | undefined,
  gate: UploadGate,
): Promise<void> {
  return serveBulk(streams, "payload", async ({ runId, contentId }) => {
    const bytes = await contentOf(runId)?.payload(contentId);
    return (
      bytes && {
        lengthBytes: bytes.byteLength,
        chunkBytes: CHUNK_BYTES,
        chunk: (index) => bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES),
        pace: gate.payload,
      }
    );
  });
}

/**
 * Fetches the payload of `update` from `sources` in order. A source whose bytes alone give a wrong hash is penalised;
 * where several contributed nobody can be blamed, and each is then tried alone.
 * Throws NetworkError `PAYLOAD_UNAVAILABLE` when all have failed.
 */
export async function fetchPayload(
  streams: Streams,
  { announcement }: SignedUpdate,
  sources: readonly PeerId[],
  penalise: StreamModules["penalise"],
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { payload, payloadBytes, runId } = announcement;
  const opening = { runId, contentId: payload };
  const download = new Download(
    streams,
    {
      stream: "payload",
      opening,
      contentId: payload,
      what: "payload",
      length: { exactly: payloadBytes },
    },
    penalise,
  );
  for (const source of sources) {
    const bytes = await download.from(source, signal);
    if (bytes !== undefined) return bytes;
  }
  if (download.needsSingleSources) {
    for (const source of sources) {
      const bytes = await download.fromAlone(source, signal);
      if (bytes !== undefined) return bytes;
    }
  }
  throw new NetworkError(
    "PAYLOAD_UNAVAILABLE",
    `Payload ${payload} of round ${announcement.round} could not be fetched from any of ${sources.length} peers; it is tried again when another holder appears.`,
    { peer: announcement.author, attempts: download.attempts },
  );
}
