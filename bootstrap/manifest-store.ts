// Run manifests on disk, one file each, named by run id. What is stored always hashes to its name; the number is
// bounded and the run that nobody asked for the longest goes first.
import { randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { MAX_MANIFEST_BYTES } from "#protocol/core/run-manifest.ts";
import type { ContentId, RunId } from "#protocol/core/types.ts";
import { sha256Hex } from "#protocol/net/hash.ts";

const FILE_NAME = /^([0-9a-f]{64})\.manifest$/;

export type StoreOutcome =
  | { readonly stored: true; readonly runId: RunId }
  | { readonly stored: false; readonly reason: string };

export class ManifestStore {
  readonly #directory: string;
  readonly #maxManifests: number;
  readonly #onGone: (runId: RunId) => Promise<void>;
  /** Run ids by last use, oldest first. */
  readonly #runs = new Set<RunId>();

  private constructor(directory: string, maxManifests: number, onGone: (runId: RunId) => Promise<void>) {
    this.#directory = directory;
    this.#maxManifests = maxManifests;
    this.#onGone = onGone;
  }

  /** `onGone` is told when a run's manifest is no longer here. */
  static async open(
    directory: string,
    maxManifests: number,
    onGone: (runId: RunId) => Promise<void> = async () => {},
  ): Promise<ManifestStore> {
    await mkdir(directory, { recursive: true });
    const store = new ManifestStore(directory, maxManifests, onGone);
    const found: { runId: RunId; usedMs: number }[] = [];
    for (const name of await readdir(directory)) {
      const runId = FILE_NAME.exec(name)?.[1];
      if (runId === undefined) continue;
      found.push({ runId, usedMs: (await stat(join(directory, name))).mtimeMs });
    }
    for (const { runId } of found.sort((a, b) => a.usedMs - b.usedMs)) store.#runs.add(runId);
    return store;
  }

  get size(): number {
    return this.#runs.size;
  }

  has(runId: RunId): boolean {
    return this.#runs.has(runId);
  }

  /** The manifest, or undefined where it is not here or no longer hashes to its name. */
  async get(runId: RunId): Promise<Uint8Array | undefined> {
    const manifest = await this.#read(runId);
    if (manifest !== undefined) {
      this.#touch(runId);
      await utimes(this.#path(runId), new Date(), new Date()).catch(() => {});
    }
    return manifest;
  }

  /** Whether the run's manifest, if it is here, names a file with that SHA-256. Does not count as use. */
  async names(runId: RunId, contentId: ContentId): Promise<boolean> {
    const manifest = await this.#read(runId);
    return manifest !== undefined && namedFile(JSON.parse(new TextDecoder().decode(manifest))) === contentId;
  }

  async #read(runId: RunId): Promise<Uint8Array | undefined> {
    if (!this.#runs.has(runId)) return undefined;
    try {
      const bytes = await readFile(this.#path(runId));
      if (sha256Hex(bytes) === runId) return bytes;
    } catch {
      // Gone or unreadable: same as not here.
    }
    this.#runs.delete(runId);
    await this.#onGone(runId);
    return undefined;
  }

  /** Keeps `manifest` under its hash, atomically. Refuses what cannot be a manifest. */
  async put(manifest: Uint8Array): Promise<StoreOutcome> {
    if (manifest.byteLength > MAX_MANIFEST_BYTES)
      return { stored: false, reason: "the manifest is too large" };
    if (!isJsonObject(manifest)) return { stored: false, reason: "the manifest is not a JSON object" };
    const runId = sha256Hex(manifest);
    if (!this.#runs.has(runId)) {
      const draft = join(this.#directory, `${randomUUID()}.tmp`);
      try {
        const handle = await open(draft, "wx");
        try {
          await handle.writeFile(manifest);
          await handle.sync();
        } finally {
          await handle.close();
        }
        await rename(draft, this.#path(runId));
      } catch {
        await rm(draft, { force: true }).catch(() => {});
        return { stored: false, reason: "the rendezvous cannot write to its disk" };
      }
    }
    this.#touch(runId);
    await this.#evict();
    return { stored: true, runId };
  }

  async #evict(): Promise<void> {
    for (const runId of this.#runs) {
      if (this.#runs.size <= this.#maxManifests) return;
      this.#runs.delete(runId);
      await rm(this.#path(runId), { force: true });
      await this.#onGone(runId);
    }
  }

  #touch(runId: RunId): void {
    this.#runs.delete(runId);
    this.#runs.add(runId);
  }

  #path(runId: RunId): string {
    return join(this.#directory, `${runId}.manifest`);
  }
}

/** The one file that a manifest can name: the tokenizer that all peers of the run share. */
function namedFile(manifest: unknown): unknown {
  return (manifest as { config?: { vocabulary?: { tokenizer?: unknown } } }).config?.vocabulary?.tokenizer;
}

function isJsonObject(bytes: Uint8Array): boolean {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
