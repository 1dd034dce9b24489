// Payloads by content id: fetched from the author first, then from any holder, resumed where the last one broke off,
// and believed only when length and SHA-256 agree.
import type { ContentId, PeerId, RunId, SignedUpdate } from "../core/types.ts";
import type { ServedContent } from "../ports.ts";
import { CHUNK_BYTES } from "../wire/bulk.ts";
import { chunkCount, pullBulk, serveBulk } from "./bulk.ts";
import { NetworkError, reasonOf } from "./errors.ts";
import { sha256Hex } from "./hash.ts";
import type { StreamModules, Streams } from "./streams.ts";
import { within } from "./streams.ts";

/** A holder that has not delivered the whole payload at this rate is left for the next one, which resumes. */
const SLOWEST_BYTES_PER_SECOND = 32 * 1024;
const ATTEMPT_BASE_MS = 20_000;

export function servePayloads(
  streams: Streams,
  runId: RunId,
  payload: ServedContent["payload"],
): Promise<void> {
  return serveBulk(streams, "payload", async (opening) => {
    if (opening.runId !== runId) return undefined;
    const bytes = await payload(opening.contentId);
    return (
      bytes && {
        lengthBytes: bytes.byteLength,
        chunkBytes: CHUNK_BYTES,
        chunk: (index) => bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES),
      }
    );
  });
}

/** A payload on its way: what has come so far and who gave it. */
interface Draft {
  readonly bytes: Uint8Array;
  received: number;
  readonly givers: Set<PeerId>;
}

/**
 * Fetches the payload of `update` from `sources` in order. A source whose bytes alone give a wrong hash is penalised;
 * where several contributed nobody can be blamed, and each is then tried alone.
 * Throws NetworkError `payload-unavailable` when all have failed.
 */
export async function fetchPayload(
  streams: Streams,
  { announcement }: SignedUpdate,
  sources: readonly PeerId[],
  penalise: StreamModules["penalise"],
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { payload, payloadBytes, runId } = announcement;
  const attempts: string[] = [];
  const liars = new Set<PeerId>();
  let someMixed = false;
  const draft: Draft = { bytes: new Uint8Array(payloadBytes), received: 0, givers: new Set() };
  for (const alone of [false, true]) {
    if (alone && !someMixed) break;
    for (const source of sources) {
      if (liars.has(source)) continue;
      if (alone) restart(draft);
      try {
        await pullPayload(streams, source, { runId, contentId: payload }, draft, signal);
      } catch (error) {
        signal.throwIfAborted();
        attempts.push(`${source}: ${reasonOf(error)}`);
        continue;
      }
      if (draft.received < payloadBytes) {
        attempts.push(`${source}: does not have it`);
        continue;
      }
      if (sha256Hex(draft.bytes) === payload) return draft.bytes;
      attempts.push(`${source}: wrong hash`);
      if (draft.givers.size === 1) {
        liars.add(source);
        penalise(source, "hash-mismatch", `payload ${payload} has another hash`);
      } else {
        someMixed = true;
      }
      restart(draft);
    }
  }
  throw new NetworkError(
    "payload-unavailable",
    `Payload ${payload} of round ${announcement.round} could not be fetched from any of ${sources.length} peers; it is tried again when another holder appears.`,
    { peer: announcement.author, attempts },
  );
}

function restart(draft: Draft): void {
  draft.received = 0;
  draft.givers.clear();
}

async function pullPayload(
  streams: Streams,
  source: PeerId,
  opening: { runId: RunId; contentId: ContentId },
  draft: Draft,
  signal: AbortSignal,
): Promise<void> {
  const total = draft.bytes.byteLength;
  const missing = total - draft.received;
  const deadlineMs = ATTEMPT_BASE_MS + Math.ceil((missing / SLOWEST_BYTES_PER_SECOND) * 1000);
  let next = 0;
  let count = 0;
  let chunkBytes = 0;
  await pullBulk(
    streams,
    source,
    "payload",
    opening,
    {
      accept(head) {
        if (head.lengthBytes !== total) {
          throw new NetworkError("peer-misbehaved", `${source} offers another length than announced.`, {
            peer: source,
          });
        }
        chunkBytes = head.chunkBytes;
        count = chunkCount(head);
        // Another holder may cut differently: resume at the last whole chunk of this one.
        next = Math.floor(draft.received / chunkBytes);
        draft.received = next * chunkBytes;
      },
      next: () => (next < count ? next++ : undefined),
      receive(index, chunk) {
        draft.bytes.set(chunk, index * chunkBytes);
        draft.received = index * chunkBytes + chunk.byteLength;
        draft.givers.add(source);
      },
    },
    within(signal, deadlineMs),
  );
}
