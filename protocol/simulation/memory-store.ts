// A disk in memory that outlives its peer: what was saved before a cut of power is there afterwards, whole.
import type { ContentId } from "../core/types.ts";
import type { ProtocolCheckpoint, StorePort } from "../ports.ts";
import type { Power } from "./power.ts";

export type StoreOperation = "save" | "putPayload" | "prunePayloads" | "keepTile";

export class DiskFullError extends Error {
  readonly code = "ENOSPC";
}

export class MemoryDisk {
  checkpoint: ProtocolCheckpoint | undefined;
  readonly payloads = new Map<ContentId, { readonly round: number; readonly bytes: Uint8Array }>();
  /** Tiles of an unfinished snapshot. */
  readonly draft = new Map<number, Uint8Array>();
  full = false;
  /** Every payload ever written, for tests that add up what was sent. */
  readonly archive = new Map<ContentId, Uint8Array>();
  readonly archives: boolean;

  constructor({ archives = true }: { readonly archives?: boolean } = {}) {
    this.archives = archives;
  }

  /** Called after each write is durable: a test cuts the power here. */
  onWritten: (operation: StoreOperation) => void = () => {};
}

export function memoryStore(disk: MemoryDisk, power: Power): StorePort {
  const write = (operation: StoreOperation, change: () => void): Promise<void> => {
    if (power.on && disk.full) return Promise.reject(new DiskFullError());
    if (power.on) {
      change();
      disk.onWritten(operation);
    }
    return power.through(Promise.resolve());
  };
  return {
    // Nothing that a checkpoint holds is written to afterwards: its arrays are replaced, never changed.
    load: async () => disk.checkpoint,
    save: (checkpoint) =>
      write("save", () => {
        disk.checkpoint = checkpoint;
      }),
    putPayload: (id, round, bytes) =>
      write("putPayload", () => {
        // A payload is never changed: ten thousand peers may hold the same.
        const kept = disk.payloads.get(id);
        if (kept === undefined || kept.round < round) disk.payloads.set(id, { round, bytes });
        if (disk.archives) disk.archive.set(id, bytes);
      }),
    payload: async (id) => disk.payloads.get(id)?.bytes,
    prunePayloads: (below) =>
      write("prunePayloads", () => {
        for (const [id, { round }] of [...disk.payloads]) if (round < below) disk.payloads.delete(id);
      }),
    snapshotDraft: {
      tile: async (index) => disk.draft.get(index),
      keep: (index, tile) =>
        write("keepTile", () => {
          disk.draft.set(index, tile.slice());
        }),
      drop: () => {
        if (power.on) disk.draft.clear();
        return power.through(Promise.resolve());
      },
    },
  };
}
