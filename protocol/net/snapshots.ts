// A newcomer's way in: the snapshot manifest of one peer, then its body tile by tile from every peer that serves the
// same root. Each tile is checked against the manifest, the manifest against its root, its size against the run.
import { rootOfTiles, TILE_BYTES, tileCount, tileLength, writeTile } from "../core/merkle.ts";
import type { PeerId, RunId, SnapshotManifest } from "../core/types.ts";
import type { ServedContent } from "../ports.ts";
import { pullBulk, serveBulk } from "./bulk.ts";
import { NetworkError, reasonOf } from "./errors.ts";
import { FrameError } from "./frames.ts";
import { sha256, sha256Hex } from "./hash.ts";
import { verifyUpdates } from "./inventories.ts";
import type { StreamModules, Streams } from "./streams.ts";
import { MisbehaviourError } from "./streams.ts";

/** Peers pulled from at once; more would share the same downlink. */
const MAX_SOURCES_AT_ONCE = 4;
/** How often the remaining tiles are offered to all honest sources again before giving up. */
const MAX_PASSES = 3;

export interface Snapshot {
  readonly manifest: SnapshotManifest;
  readonly body: Float32Array;
}

export async function serveSnapshots(
  streams: Streams,
  find: (runId: RunId) => { readonly bodyValues: number; readonly content: ServedContent } | undefined,
): Promise<void> {
  await streams.answer("snapshot", async ({ runId }) => ({ snapshot: find(runId)?.content.snapshot() }));
  await serveBulk(streams, "tiles", async ({ runId, root }) => {
    const run = find(runId);
    if (run?.content.tile(root, 0) === undefined) return undefined;
    return {
      lengthBytes: 4 * run.bodyValues,
      chunkBytes: TILE_BYTES,
      // Asked again for each tile: the body may be replaced meanwhile.
      chunk: (index) => run.content.tile(root, index),
    };
  });
}

export interface SnapshotRequest {
  readonly runId: RunId;
  readonly bodyValues: number;
  readonly peer: PeerId;
  /** Others that may hold the same body. */
  readonly helpers: readonly PeerId[];
  readonly onProgress: (bytes: number, totalBytes: number) => void;
}

/** Throws NetworkError `snapshot-unavailable`, `peer-misbehaved` or as `Streams.ask`. */
export async function fetchSnapshot(
  streams: Streams,
  request: SnapshotRequest,
  penalise: StreamModules["penalise"],
  signal: AbortSignal,
): Promise<Snapshot> {
  const manifest = await fetchManifest(streams, request, penalise, signal);
  const body = new Float32Array(request.bodyValues);
  const missing = Array.from(manifest.tiles.keys()).reverse(); // popped from the end: in order
  const totalBytes = 4 * body.length;
  const liars = new Set<PeerId>();
  const failures: string[] = [];
  let doneBytes = 0;

  const pullFrom = async (source: PeerId): Promise<void> => {
    const asked = new Set<number>();
    try {
      const found = await pullBulk(
        streams,
        source,
        "tiles",
        { runId: request.runId, root: manifest.root },
        {
          accept(head) {
            if (head.lengthBytes === totalBytes && head.chunkBytes === TILE_BYTES) return;
            throw new FrameError(
              "malformed-message",
              "the tiles offered do not fit the run's body",
              undefined,
            );
          },
          next() {
            const index = missing.pop();
            if (index !== undefined) asked.add(index);
            return index;
          },
          receive(index, tile) {
            if (sha256Hex(tile) !== manifest.tiles[index] || !writeTile(body, index, tile)) {
              throw new FrameError("hash-mismatch", `tile ${index} has another hash`, undefined);
            }
            asked.delete(index);
            doneBytes += tileLength(body.length, index);
            request.onProgress(doneBytes, totalBytes);
          },
        },
        signal,
      );
      if (!found) failures.push(`${source}: does not serve this body`);
    } catch (error) {
      failures.push(`${source}: ${reasonOf(error)}`);
      if (error instanceof MisbehaviourError) liars.add(source);
      signal.throwIfAborted();
    } finally {
      missing.push(...asked);
    }
  };

  for (let pass = 0; pass < MAX_PASSES && doneBytes < totalBytes; pass++) {
    const sources = [request.peer, ...request.helpers].filter((source) => !liars.has(source));
    const queue = [...sources];
    const worker = async () => {
      for (let source = queue.shift(); source !== undefined && missing.length > 0; source = queue.shift()) {
        await pullFrom(source);
      }
    };
    await Promise.all(Array.from({ length: Math.min(MAX_SOURCES_AT_ONCE, sources.length) }, worker));
  }
  if (doneBytes === totalBytes) return { manifest, body };
  throw new NetworkError(
    "snapshot-unavailable",
    `Only ${doneBytes} of ${totalBytes} bytes of the body at round ${manifest.closedRound} could be fetched; a newer snapshot is asked for next.`,
    { peer: request.peer, attempts: failures },
  );
}

async function fetchManifest(
  streams: Streams,
  { runId, bodyValues, peer }: SnapshotRequest,
  penalise: StreamModules["penalise"],
  signal: AbortSignal,
): Promise<SnapshotManifest> {
  const { snapshot } = await streams.ask(peer, "snapshot", { runId }, signal);
  if (snapshot === undefined) {
    throw new NetworkError(
      "snapshot-unavailable",
      `${peer} has no snapshot to serve yet; ask another peer.`,
      { peer },
    );
  }
  const refuse = (offence: "wrong-run" | "out-of-bounds-update" | "hash-mismatch", detail: string): never => {
    penalise(peer, offence, detail);
    throw new MisbehaviourError(peer, detail);
  };
  if (snapshot.runId !== runId) refuse("wrong-run", "a snapshot of another run");
  if (snapshot.tiles.length !== tileCount(bodyValues)) {
    refuse("out-of-bounds-update", "a snapshot of another body size");
  }
  if (rootOfTiles(snapshot.tiles, sha256) !== snapshot.root) {
    refuse("hash-mismatch", "the snapshot's tiles do not hash to its root");
  }
  await verifyUpdates(snapshot.updates, runId, peer, penalise);
  return snapshot;
}
