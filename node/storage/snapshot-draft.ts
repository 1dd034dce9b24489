// Tiles of a body on their way, at their place in one file: what a kill leaves is whole tiles and at most one torn one. Whoever
// reads checks hashes, so nothing is flushed, and a file that no longer fits does no harm. At most one body large.
import { constants, open, rm } from "node:fs/promises";
import { TILE_BYTES } from "#protocol/core/merkle.ts";
import type { SnapshotDraft } from "#protocol/ports.ts";
import { storageError } from "./errors.ts";

export class SnapshotDraftFile implements SnapshotDraft {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async tile(index: number): Promise<Uint8Array | undefined> {
    const file = await open(this.#path, "r").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (file === undefined) return undefined;
    try {
      const position = index * TILE_BYTES;
      const { buffer, bytesRead } = await file.read(new Uint8Array(TILE_BYTES), { position });
      return bytesRead === 0 ? undefined : buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  }

  /** Throws DiskFullError and StateNotWritableError. */
  async keep(index: number, tile: Uint8Array): Promise<void> {
    try {
      const file = await open(this.#path, constants.O_RDWR | constants.O_CREAT, 0o644);
      try {
        let written = 0;
        while (written < tile.byteLength) {
          const position = index * TILE_BYTES + written;
          written += (await file.write(tile, written, undefined, position)).bytesWritten;
        }
      } finally {
        await file.close();
      }
    } catch (error) {
      throw storageError(error, this.#path);
    }
  }

  async drop(): Promise<void> {
    await rm(this.#path, { force: true });
  }

  /** Drops it to make room; false where there is none. */
  async yieldSpace(): Promise<boolean> {
    try {
      await rm(this.#path);
      return true;
    } catch {
      return false;
    }
  }
}
