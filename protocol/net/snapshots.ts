// A newcomer's way in: the snapshot manifest of one peer, then the body's tiles from every peer that serves the same root
// (tile-transfer.ts). The manifest is checked against its root, its size against the run; tiles that are here are not fetched.
import { setImmediate } from "node:timers/promises";
import { rootOfTiles, TILE_BYTES, tileBytes, tileCount, tileLength, writeTile } from "../core/merkle.ts";
import type { ContentId, PeerId, RunId, SnapshotManifest } from "../core/types.ts";
import type { ClockPort, FetchedSnapshot, ServedContent, SnapshotAids } from "../ports.ts";
import { MAX_INVENTORY_UPDATES } from "../wire/transfer.ts";
import { serveBulk } from "./bulk.ts";
import type { DonorRates } from "./donor-rates.ts";
import { NetworkError } from "./errors.ts";
import { sha256, sha256Hex } from "./hash.ts";
import { verifyUpdates } from "./inventories.ts";
import type { StreamModules, Streams } from "./streams.ts";
import { MisbehaviourError } from "./streams.ts";
import { TileTransfer } from "./tile-transfer.ts";
import type { UploadGate } from "./upload-gate.ts";

/** Tiles hashed before the event loop gets a turn: about 5 ms of work. */
const HASH_BATCH = 16;

export async function serveSnapshots(
  streams: Streams,
  find: (runId: RunId) => { readonly bodyValues: number; readonly content: ServedContent } | undefined,
  gate: UploadGate,
): Promise<void> {
  await streams.answer("snapshot", async ({ runId }) => {
    const snapshot = find(runId)?.content.snapshot();
    // The rest is in the inventory, which is asked for next.
    const updates = snapshot?.updates.slice(0, MAX_INVENTORY_UPDATES) ?? [];
    return { snapshot: snapshot && { ...snapshot, updates } };
  });
  await serveBulk(streams, "tiles", async ({ runId, root }, peer) => {
    const run = find(runId);
    if (run?.content.tile(root, 0) === undefined) return undefined;
    const leave = gate.admit(peer);
    if (leave === undefined) return undefined;
    return {
      lengthBytes: 4 * run.bodyValues,
      chunkBytes: TILE_BYTES,
      // Asked again for each tile: the body may be replaced meanwhile.
      chunk: (index) => run.content.tile(root, index),
      pace: gate.tile,
      close: async () => leave(),
    };
  });
}

export interface SnapshotRequest {
  readonly runId: RunId;
  readonly bodyValues: number;
  /** Gives the manifest, and is asked for tiles before the others. */
  readonly peer: PeerId;
  /** Who else is connected; asked anew as the transfer goes on. */
  readonly others: () => readonly PeerId[];
  readonly onProgress: (bytes: number, totalBytes: number) => void;
  readonly aids: SnapshotAids;
}

export interface SnapshotModules {
  readonly streams: Streams;
  readonly clock: ClockPort;
  readonly rates: DonorRates;
  readonly penalise: StreamModules["penalise"];
}

/** Throws NetworkError `SNAPSHOT_UNAVAILABLE`, `PEER_MISBEHAVED` or as `Streams.ask`, and what `aids.accept` throws. */
export async function fetchSnapshot(
  { streams, clock, rates, penalise }: SnapshotModules,
  request: SnapshotRequest,
  signal: AbortSignal,
): Promise<FetchedSnapshot> {
  const { runId, peer, aids, onProgress } = request;
  const manifest = await fetchManifest(streams, request, penalise, signal);
  const { root, closedRound, tiles } = manifest;
  aids.accept?.(manifest);
  const body = new Float32Array(request.bodyValues);
  const totalBytes = 4 * body.length;
  let doneBytes = 0;
  const count = (index: number) => {
    doneBytes += tileLength(body.length, index);
    onProgress(doneBytes, totalBytes);
  };
  const { missing, held, kept } = await tilesAtHand(manifest, body, aids, count, signal);
  const transfer = new TileTransfer(streams, clock, {
    runId,
    root,
    tiles,
    body,
    missing,
    draft: aids.draft,
    donors: () => rates.rank([...new Set([peer, ...request.others()])], root, closedRound),
    onTile: count,
  });
  let complete: boolean;
  try {
    complete = await transfer.run(signal);
  } finally {
    for (const share of transfer.shares) rates.measured(share.peer, share.bytesPerSecond);
  }
  if (complete) return { manifest, body, tiles: { held, kept, fetched: transfer.shares } };
  throw new NetworkError(
    "SNAPSHOT_UNAVAILABLE",
    `Only ${doneBytes} of ${totalBytes} bytes of the body at round ${closedRound} could be fetched; a newer snapshot is asked for next.`,
    { peer, attempts: transfer.failures },
  );
}

/** Takes over what need not be fetched: tiles of a body at hand, and those that an earlier attempt has kept. */
async function tilesAtHand(
  { tiles }: SnapshotManifest,
  body: Float32Array,
  { held, draft }: SnapshotAids,
  onTile: (index: number) => void,
  signal: AbortSignal,
): Promise<{ missing: number[]; held: number; kept: number }> {
  const known = held?.body.length === body.length ? held : undefined;
  const missing: number[] = [];
  const from = { held: 0, kept: 0 };
  for (const [index, id] of tiles.entries()) {
    if (index % HASH_BATCH === HASH_BATCH - 1) await setImmediate();
    const own = known?.tiles[index] === id ? tileBytes(known.body, index) : undefined;
    // The own body is hashed again: memory that has failed may be why it is being repaired.
    const tile = isTile(own, id) ? own : await draft?.tile(index).catch(() => undefined);
    signal.throwIfAborted();
    if (!isTile(tile, id) || !writeTile(body, index, tile)) {
      missing.push(index);
      continue;
    }
    from[tile === own ? "held" : "kept"]++;
    onTile(index);
  }
  return { missing, ...from };
}

const isTile = (bytes: Uint8Array | undefined, id: ContentId): bytes is Uint8Array =>
  bytes !== undefined && sha256Hex(bytes) === id;

async function fetchManifest(
  streams: Streams,
  { runId, bodyValues, peer }: SnapshotRequest,
  penalise: StreamModules["penalise"],
  signal: AbortSignal,
): Promise<SnapshotManifest> {
  const { snapshot } = await streams.ask(peer, "snapshot", { runId }, signal);
  if (snapshot === undefined) {
    throw new NetworkError(
      "SNAPSHOT_UNAVAILABLE",
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
