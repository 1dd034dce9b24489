// The files of one tokenised text in a cache directory. Owns their names and their atomicity: KEY.train.bin,
// KEY.validation.bin and KEY.json, which comes last and vouches for both. What is in them is token-cache.ts' business.
import { hash } from "node:crypto";
import { open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { DataError, TokenCacheUnwritableError } from "./errors.ts";
import { sampledDigest, type TokenSplit } from "./token-file.ts";

/** Part of every key: a change of this format, or of how documents are cut, makes new files. */
const FORMAT = "glossa-tokens-1";

/** Tokenised data, as plain data: it may be sent to a worker, which opens the files itself. */
export interface TokenDataset {
  /** Name of this data under this tokenizer; the stem of the files. */
  readonly key: string;
  readonly tokenizerFingerprint: string;
  readonly dataFingerprint: string;
  /** Equal where every document is, in the same order; absent for data that was prepared before it was kept. */
  readonly textDigest?: string | undefined;
  readonly train: TokenSplit;
  readonly validation: TokenSplit;
  /** Whether the files were there already. */
  readonly wasCached: boolean;
}

/** KEY.json: the dataset without paths (they follow from the key), and the digests that tell damage. */
interface CacheHeader extends Facts {
  readonly format: string;
  readonly train: SplitHeader;
  readonly validation: SplitHeader;
}
type SplitHeader = Omit<TokenSplit, "path"> & { readonly digest: string };

/** What a dataset was made of. */
interface Facts {
  readonly tokenizerFingerprint: string;
  readonly dataFingerprint: string;
  /** Over the documents in order; absent in headers that were written before it was kept. */
  readonly textDigest?: string | undefined;
}

/** What tokens depend on. */
export interface CacheIdentity {
  readonly dataFingerprint: string;
  readonly tokenizerFingerprint: string;
  readonly textField: string;
  readonly fraction: number;
  readonly minimum: number;
}

export function cacheKey(identity: CacheIdentity): string {
  const { dataFingerprint, tokenizerFingerprint, textField, fraction, minimum } = identity;
  const parts = [FORMAT, dataFingerprint, tokenizerFingerprint, textField, fraction, minimum];
  return hash("sha256", JSON.stringify(parts)).slice(0, 32);
}

export type Part = "train" | "validation";

/** The files of one key. */
export class CacheEntry {
  readonly #directory: string;
  readonly key: string;

  constructor(directory: string, key: string) {
    this.#directory = directory;
    this.key = key;
  }

  /** Temporary files bear the process' id, so that two processes do not write into each other's. */
  temporary(part: Part | "header"): string {
    return join(this.#directory, `${this.key}.${part}.${process.pid}.tmp`);
  }

  /** The dataset, if it is there and whole. */
  async load(): Promise<Omit<TokenDataset, "wasCached"> | undefined> {
    try {
      const header = JSON.parse(await readFile(this.#path("json"), "utf8")) as CacheHeader;
      if (header.format !== FORMAT) return undefined;
      for (const part of ["train", "validation"] as const) {
        if ((await sampledDigest(this.#path(`${part}.bin`))) !== header[part].digest) return undefined;
      }
      return this.#dataset(header);
    } catch {
      return undefined; // missing, unreadable or no JSON: all mean that it has to be made
    }
  }

  /** Puts the temporary files in place, the header last: before it, nothing counts. */
  async commit(
    splits: { readonly train: TokenSplit; readonly validation: TokenSplit },
    facts: Facts,
  ): Promise<Omit<TokenDataset, "wasCached">> {
    await rm(this.#path("json"), { force: true });
    const place = async (part: Part): Promise<SplitHeader> => {
      const { path, ...split } = splits[part];
      const digest = await sampledDigest(path);
      await rename(path, this.#path(`${part}.bin`));
      return { ...split, digest };
    };
    const header: CacheHeader = {
      format: FORMAT,
      ...facts,
      train: await place("train"),
      validation: await place("validation"),
    };
    const file = await open(this.temporary("header"), "w");
    try {
      await file.writeFile(`${JSON.stringify(header, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(this.temporary("header"), this.#path("json"));
    return this.#dataset(header);
  }

  /** Once another one stands in its place. The header goes first: without it, nothing counts. */
  async remove(): Promise<void> {
    for (const ending of ["json", "train.bin", "validation.bin"]) {
      await rm(this.#path(ending), { force: true });
    }
  }

  async discardTemporaries(): Promise<void> {
    for (const part of ["train", "validation", "header"] as const) {
      await rm(this.temporary(part), { force: true });
    }
  }

  /** Turns what the file system refuses into an error that says what to do. */
  async reporting<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (cause) {
      if (cause instanceof DataError) throw cause;
      throw new TokenCacheUnwritableError(this.#directory, cause as NodeJS.ErrnoException);
    }
  }

  #path(ending: string): string {
    return join(this.#directory, `${this.key}.${ending}`);
  }

  #dataset(header: CacheHeader): Omit<TokenDataset, "wasCached"> {
    const split = (part: Part): TokenSplit => {
      return { path: this.#path(`${part}.bin`), ...header[part] };
    };
    return {
      key: this.key,
      tokenizerFingerprint: header.tokenizerFingerprint,
      dataFingerprint: header.dataFingerprint,
      textDigest: header.textDigest,
      train: split("train"),
      validation: split("validation"),
    };
  }
}

/** Every entry of the directory, the one written last first. */
export async function cacheEntries(directory: string): Promise<CacheEntry[]> {
  const entries: { entry: CacheEntry; writtenMs: number }[] = [];
  for (const name of await readdir(directory).catch(() => [])) {
    const key = /^([0-9a-f]{32})\.json$/.exec(name)?.[1];
    if (key === undefined) continue;
    const { mtimeMs } = await stat(join(directory, name));
    entries.push({ entry: new CacheEntry(directory, key), writtenMs: mtimeMs });
  }
  return entries.sort((a, b) => b.writtenMs - a.writtenMs).map(({ entry }) => entry);
}

/** Removes temporary files of processes that died. */
export async function removeLeftovers(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const pid = /^[0-9a-f]{32}\.\w+\.(\d+)\.tmp$/.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) await rm(join(directory, name), { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
