// Files of runs on disk, each named by run and SHA-256: taken only where a manifest names them, bounded in bytes, gone with
// the manifest. What is kept under a name hashed to it when it was written, and is checked again before it is served.
import { createHash, randomUUID } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import type { ContentId, PeerId, RunId } from "#protocol/core/types.ts";
import { AssetFiles } from "#protocol/net/asset-files.ts";
import type { AssetDraft } from "#protocol/net/assets.ts";
import type { BulkObject } from "#protocol/net/bulk.ts";
import type { StoreAssetAnswer, StoreAssetOpen } from "#protocol/wire/assets.ts";

const FILE_NAME = /^([0-9a-f]{64})\.([0-9a-f]{64})\.asset$/;
const DRAFT_SUFFIX = ".tmp";
/** Being taken at once: each may hold a few chunks in memory and its whole length of the quota. */
const MAX_DRAFTS = 8;

const STORED: StoreAssetAnswer = { stored: true, wanted: false, reason: "" };
const refused = (reason: string): StoreAssetAnswer => ({ stored: false, wanted: false, reason });

export interface AssetStoreModules {
  /** Whether the run is known here and its manifest names the file. */
  readonly isNamed: (runId: RunId, contentId: ContentId) => Promise<boolean>;
}

export class AssetStore {
  readonly #directory: string;
  readonly #maxBytes: number;
  readonly #modules: AssetStoreModules;
  readonly #files = new AssetFiles();
  /** Bytes by file name, by last use, oldest first. */
  readonly #kept = new Map<string, number>();
  /** Whoever gives a file now, and how long it will be. */
  readonly #drafts = new Map<PeerId, number>();

  private constructor(directory: string, maxBytes: number, modules: AssetStoreModules) {
    this.#directory = directory;
    this.#maxBytes = maxBytes;
    this.#modules = modules;
  }

  static async open(directory: string, maxBytes: number, modules: AssetStoreModules): Promise<AssetStore> {
    await mkdir(directory, { recursive: true });
    const store = new AssetStore(directory, maxBytes, modules);
    const found: { name: string; bytes: number; usedMs: number }[] = [];
    for (const name of await readdir(directory)) {
      const path = join(directory, name);
      const [, runId, contentId] = FILE_NAME.exec(name) ?? [];
      if (runId !== undefined && contentId !== undefined && (await modules.isNamed(runId, contentId))) {
        const { size, mtimeMs } = await stat(path);
        found.push({ name, bytes: size, usedMs: mtimeMs });
      } else if (runId !== undefined || name.endsWith(DRAFT_SUFFIX)) {
        await rm(path, { force: true });
      }
    }
    for (const { name, bytes } of found.sort((a, b) => a.usedMs - b.usedMs)) store.#kept.set(name, bytes);
    await store.#makeRoom(0);
    return store;
  }

  /** Bytes on disk, drafts not counted. */
  get bytes(): number {
    return sum(this.#kept.values());
  }

  /** The file, if it is here and whole. The caller closes it. */
  async get(runId: RunId, contentId: ContentId): Promise<BulkObject | undefined> {
    const name = fileName(runId, contentId);
    const bytes = this.#kept.get(name);
    if (bytes === undefined) return undefined;
    const object = await this.#files.open(this.#path(name), contentId);
    if (object === undefined) {
      await this.#drop(name);
      return undefined;
    }
    this.#kept.delete(name);
    this.#kept.set(name, bytes);
    await utimes(this.#path(name), new Date(), new Date()).catch(() => {});
    return object;
  }

  /** Begins to take a file from `peer`, or says that it is here, or why it is not taken. */
  async begin(offer: StoreAssetOpen, peer: PeerId): Promise<AssetDraft | StoreAssetAnswer> {
    const { runId, contentId, lengthBytes } = offer;
    if (!(await this.#modules.isNamed(runId, contentId))) {
      return refused("no manifest here names this file for the run");
    }
    if (this.#kept.has(fileName(runId, contentId))) return STORED;
    if (this.#drafts.has(peer)) return refused("a file is being taken from this peer already");
    if (this.#drafts.size >= MAX_DRAFTS) return refused("too many files are being taken, try again");
    if (lengthBytes > this.#maxBytes) return refused("the file is larger than all that may be kept");
    this.#drafts.set(peer, lengthBytes);
    const path = join(this.#directory, `${randomUUID()}${DRAFT_SUFFIX}`);
    try {
      return this.#draft(await open(path, "wx"), path, offer, peer);
    } catch {
      this.#drafts.delete(peer);
      return refused("the rendezvous cannot write to its disk");
    }
  }

  /** The run is no longer here: nor are its files. */
  async forget(runId: RunId): Promise<void> {
    for (const name of [...this.#kept.keys()]) if (name.startsWith(runId)) await this.#drop(name);
  }

  #draft(file: FileHandle, path: string, offer: StoreAssetOpen, peer: PeerId): AssetDraft {
    const hash = createHash("sha256");
    return {
      async write(chunk) {
        hash.update(chunk);
        for (let done = 0; done < chunk.byteLength; ) {
          done += (await file.write(chunk, done)).bytesWritten;
        }
      },
      finish: async () => {
        if (hash.digest("hex") !== offer.contentId)
          return refused("the bytes do not hash to the file's name");
        await file.sync();
        return this.#keep(path, offer);
      },
      discard: async () => {
        this.#drafts.delete(peer);
        await file.close();
        await rm(path, { force: true });
      },
    };
  }

  async #keep(draft: string, { runId, contentId, lengthBytes }: StoreAssetOpen): Promise<StoreAssetAnswer> {
    // Asked again: the run may have been pushed out while its file came.
    if (!(await this.#modules.isNamed(runId, contentId))) return refused("the run was dropped meanwhile");
    const name = fileName(runId, contentId);
    await this.#makeRoom(lengthBytes);
    await rename(draft, this.#path(name));
    this.#files.forget(this.#path(name));
    this.#kept.set(name, lengthBytes);
    return STORED;
  }

  /** Drops what was unused for longest until `bytes` more fit. */
  async #makeRoom(bytes: number): Promise<void> {
    for (const name of [...this.#kept.keys()]) {
      if (this.bytes + bytes <= this.#maxBytes) return;
      await this.#drop(name);
    }
  }

  async #drop(name: string): Promise<void> {
    this.#kept.delete(name);
    this.#files.forget(this.#path(name));
    await rm(this.#path(name), { force: true });
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}

const fileName = (runId: RunId, contentId: ContentId): string => `${runId}.${contentId}.asset`;

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
