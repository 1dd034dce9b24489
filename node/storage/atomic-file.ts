// Files that are whole or absent: written aside, flushed, renamed into place, and the directory flushed too.
// After a crash at any point the old content or the new one is there, never a mixture.
import { randomBytes } from "node:crypto";
import { type FileHandle, open, rename, rm, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { DiskFullError, PathUnfitError, storageError } from "./errors.ts";

export interface AtomicWriteOptions {
  /** Permissions of a new file; secrets take 0o600. */
  readonly mode?: number;
  /**
   * false: no flush. For content that is checked by hash when read, where a torn file after a power cut counts as
   * absent.
   */
  readonly durable?: boolean;
  /** Called when the new content is safe on disk beside the old one, just before it takes the name. */
  readonly beforeRename?: () => Promise<void>;
}

/** Suffix of files being written; whatever carries it after a crash is rubbish (see `isLeftover`). */
const PARTIAL = ".partial";

/**
 * Writes `chunks` one after another as the new content of `path`.
 * @throws {DiskFullError} {StateNotWritableError} {PathUnfitError} with the old content intact
 */
export async function writeAtomic(
  path: string,
  chunks: string | Uint8Array | Iterable<Uint8Array>,
  { mode = 0o644, durable = true, beforeRename }: AtomicWriteOptions = {},
): Promise<void> {
  const partial = `${path}.${randomBytes(6).toString("hex")}${PARTIAL}`;
  try {
    const file = await open(partial, "wx", mode);
    try {
      for (const chunk of listOf(chunks)) await writeWhole(file, chunk);
      if (durable) await file.sync();
    } finally {
      await file.close();
    }
    await beforeRename?.();
    await rename(partial, path);
    if (durable) await syncDirectory(dirname(path));
  } catch (error) {
    await rm(partial, { force: true }).catch(() => {});
    if ((error as NodeJS.ErrnoException).code === "ENOENT") {
      throw new PathUnfitError(path, "its folder is not there", { cause: error });
    }
    throw storageError(error, path);
  }
}

export async function writeJsonAtomic(
  path: string,
  value: unknown,
  options?: AtomicWriteOptions,
): Promise<void> {
  await writeAtomic(path, `${JSON.stringify(value, null, 2)}\n`, options);
}

/** Content of a file, `undefined` where there is none. */
export async function readIfPresent(path: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    const file = await open(path, "r");
    try {
      return await readWhole(file);
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw storageError(error, path);
  }
}

/** In pieces: readFile refuses more than 2 GiB, which the checkpoint of a 24-block model exceeds. */
async function readWhole(file: FileHandle): Promise<Uint8Array<ArrayBuffer>> {
  const { size } = await file.stat();
  const bytes = new Uint8Array(size);
  let filled = 0;
  while (filled < size) {
    const { bytesRead } = await file.read(bytes, filled, Math.min(size - filled, 2 ** 30), filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

/** True for a file that an interrupted write has left behind. */
export function isLeftover(name: string): boolean {
  return name.endsWith(PARTIAL);
}

/**
 * Refuses early when a save of `bytes` will not fit, so that no training is done that cannot be kept.
 * @throws {DiskFullError}
 */
export async function requireFreeSpace(directory: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  const bytesAvailable = bavail * bsize;
  if (bytesAvailable < bytes) throw new DiskFullError(directory, { bytesNeeded: bytes, bytesAvailable });
}

/** Makes renames in `directory` survive a power cut. Windows neither allows nor needs it. */
export async function syncDirectory(directory: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function listOf(chunks: string | Uint8Array | Iterable<Uint8Array>): Iterable<Uint8Array> {
  if (typeof chunks === "string") return [Buffer.from(chunks, "utf8")];
  return chunks instanceof Uint8Array ? [chunks] : chunks;
}

/** One write call moves at most 2 GiB and may move less than asked. */
async function writeWhole(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let offset = 0; offset < chunk.byteLength; ) {
    const { bytesWritten } = await file.write(chunk, offset, Math.min(chunk.byteLength - offset, 2 ** 30));
    offset += bytesWritten;
  }
}
