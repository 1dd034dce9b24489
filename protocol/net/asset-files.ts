// Run assets on this machine as they are served: opened when asked for, read chunk by chunk, and only while the file still
// hashes to its name. Reads files, writes none.
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import type { ContentId } from "../core/types.ts";
import { CHUNK_BYTES } from "../wire/bulk.ts";
import { type BulkObject, chunkLength } from "./bulk.ts";

/** Transfers at once, all askers together: each holds a file handle and one chunk. */
const MAX_OPEN_FILES = 64;

export class AssetFiles {
  /** Which state of a file has been hashed: path -> size, time and hash, so that 20 MB are not hashed for every asker. */
  readonly #checked = new Map<string, { readonly stamp: string; readonly contentId: ContentId }>();
  #open = 0;

  /** The file at `path`, if it is there and its SHA-256 is `contentId`. Throws where too many are being read. */
  async open(path: string, contentId: ContentId): Promise<BulkObject | undefined> {
    if (this.#open >= MAX_OPEN_FILES) throw new Error("too many assets are being served");
    this.#open++;
    let file: FileHandle | undefined;
    const close = async () => {
      this.#open--;
      await file?.close();
    };
    try {
      file = await open(path, "r");
      const { size, mtimeMs, ino } = await file.stat();
      const stamp = `${size}/${mtimeMs}/${ino}`;
      if (this.#checked.get(path)?.stamp !== stamp) {
        this.#checked.set(path, { stamp, contentId: await hashOf(file, size) });
      }
      if (size > 0 && this.#checked.get(path)?.contentId === contentId) return objectOf(file, size, close);
    } catch {
      // Gone or unreadable: same as not here.
    }
    await close();
    return undefined;
  }

  forget(path: string): void {
    this.#checked.delete(path);
  }
}

function objectOf(file: FileHandle, lengthBytes: number, close: () => Promise<void>): BulkObject {
  const cut = { lengthBytes, chunkBytes: CHUNK_BYTES };
  return {
    ...cut,
    async chunk(index) {
      const chunk = new Uint8Array(chunkLength(cut, index));
      return (await readAt(file, chunk, index * CHUNK_BYTES)) ? chunk : undefined;
    },
    close,
  };
}

/** Fills `into` from `position` on; false where the file is shorter. */
async function readAt(file: FileHandle, into: Uint8Array, position: number): Promise<boolean> {
  for (let done = 0; done < into.byteLength; ) {
    const { bytesRead } = await file.read(into, done, into.byteLength - done, position + done);
    if (bytesRead === 0) return false;
    done += bytesRead;
  }
  return true;
}

async function hashOf(file: FileHandle, size: number): Promise<ContentId> {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (let at = 0; at < size; at += CHUNK_BYTES) {
    const chunk = buffer.subarray(0, Math.min(CHUNK_BYTES, size - at));
    if (!(await readAt(file, chunk, at))) break;
    hash.update(chunk);
  }
  return hash.digest("hex");
}
