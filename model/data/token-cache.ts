// Text to token files, once: tokenised data is kept on disk under a key of data and tokenizer, and used again. Owns the
// cache's layout and its atomicity: KEY.train.bin, KEY.validation.bin and KEY.json, which comes last and vouches for both.
import { createHash, hash } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { DataError, TokenCacheUnwritableError } from "./errors.ts";
import { holdOutEnough, isHeldOut } from "./hold-out.ts";
import { type DataFile, listDataFiles, orDataError } from "./list-data-files.ts";
import { DEFAULT_TEXT_FIELD, readDocuments } from "./read-documents.ts";
import { sampledDigest, TokenFileWriter, type TokenSource, type TokenSplit } from "./token-file.ts";

/** Part of every key: a change of this format, or of how documents are cut, makes new files. */
const FORMAT = "glossa-tokens-1";
const FINGERPRINT_BLOCK_BYTES = 1 << 16;
/** Share of documents held out where nothing else is asked for. */
export const DEFAULT_VALIDATION_FRACTION = 0.05;

/** What prepareTokens needs of a tokenizer; model/tokenizer's Tokenizer is one. */
export interface TokenEncoder extends TokenSource {
  readonly fingerprint: string;
  encode(text: string): Uint32Array;
}

export interface PrepareTokensOptions {
  /** Files and folders of text. */
  readonly paths: readonly string[];
  readonly tokenizer: TokenEncoder;
  readonly cacheDirectory: string;
  /** Field of .jsonl and Parquet records. Default "text". */
  readonly textField?: string | undefined;
  /** Share of documents held out for validation. Default 0.05. */
  readonly validationFraction?: number | undefined;
  /** Tokens that training and validation each need at least: one batch has batchSize · sequenceLength + 1. Default 1. */
  readonly minimumValidationTokens?: number | undefined;
  readonly onProgress?: ((progress: TokenizingProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface TokenizingProgress {
  /** Bytes on disk, compressed as they are. */
  readonly bytesRead: number;
  readonly bytesTotal: number;
  readonly documents: number;
  readonly tokens: number;
}

/** Tokenised data, as plain data: it may be sent to a worker, which opens the files itself. */
export interface TokenDataset {
  /** Name of this data under this tokenizer; the stem of the files. */
  readonly key: string;
  readonly tokenizerFingerprint: string;
  readonly dataFingerprint: string;
  readonly train: TokenSplit;
  readonly validation: TokenSplit;
  /** Whether the files were there already. */
  readonly wasCached: boolean;
}

/** KEY.json: the dataset without paths (they follow from the key), and the digests that tell damage. */
interface CacheHeader {
  readonly format: string;
  readonly tokenizerFingerprint: string;
  readonly dataFingerprint: string;
  readonly train: SplitHeader;
  readonly validation: SplitHeader;
}
type SplitHeader = Omit<TokenSplit, "path"> & { readonly digest: string };

/**
 * Tokenises the text behind `paths`, or finds it done. Every document ends with the end-of-text token; the split
 * between training and validation is hold-out.ts'. A cache that is cut short or damaged is made anew.
 * @throws DataError: of reading, TokenCacheUnwritableError, CorpusTooSmallForSequenceError; the signal's reason
 */
export async function prepareTokens(options: PrepareTokensOptions): Promise<TokenDataset> {
  const { paths, tokenizer, cacheDirectory, signal } = options;
  const textField = options.textField ?? DEFAULT_TEXT_FIELD;
  const fraction = options.validationFraction ?? DEFAULT_VALIDATION_FRACTION;
  const minimum = options.minimumValidationTokens ?? 1;
  const dataFingerprint = await fingerprintData(await listDataFiles(paths));
  const identity = [FORMAT, dataFingerprint, tokenizer.fingerprint, textField, fraction, minimum];
  const key = hash("sha256", JSON.stringify(identity)).slice(0, 32);
  const cache = new CacheEntry(cacheDirectory, key);

  const cached = await cache.load();
  if (cached !== undefined) return { ...cached, wasCached: true };
  signal?.throwIfAborted();
  await cache.reporting(mkdir(cacheDirectory, { recursive: true }));
  await removeLeftovers(cacheDirectory);
  try {
    const written = await tokenize(cache, { ...options, textField, validationFraction: fraction });
    const splits = await cache.reporting(
      holdOutEnough(written.train, written.validation, tokenizer, { minimumTokens: minimum, fraction }),
    );
    const fingerprints = { tokenizerFingerprint: tokenizer.fingerprint, dataFingerprint };
    return { ...(await cache.reporting(cache.commit(splits, fingerprints))), wasCached: false };
  } finally {
    await cache.discardTemporaries();
  }
}

/** One pass over the text into two temporary files. */
async function tokenize(
  cache: CacheEntry,
  options: PrepareTokensOptions & { readonly validationFraction: number },
): Promise<{ train: TokenSplit; validation: TokenSplit }> {
  const { tokenizer, signal, onProgress } = options;
  const writers: TokenFileWriter[] = [];
  const create = async (part: Part): Promise<TokenFileWriter> => {
    const writer = await cache.reporting(TokenFileWriter.create(cache.temporary(part), tokenizer));
    writers.push(writer);
    return writer;
  };
  try {
    const train = await create("train");
    const validation = await create("validation");
    const endOfText = [tokenizer.endOfText];
    let bytesRead = 0;
    let bytesTotal = 0;
    let reported = 0;
    const documents = readDocuments(options.paths, {
      textField: options.textField,
      signal,
      onProgress(read, total) {
        bytesRead = read;
        bytesTotal = total;
      },
    });
    for await (const document of documents) {
      const writer = isHeldOut(document, options.validationFraction) ? validation : train;
      await cache.reporting(writer.append(tokenizer.encode(document)));
      await cache.reporting(writer.append(endOfText));
      if (bytesRead === reported) continue;
      reported = bytesRead;
      signal?.throwIfAborted();
      onProgress?.({
        bytesRead,
        bytesTotal,
        documents: train.documents + validation.documents,
        tokens: train.tokens + validation.tokens,
      });
    }
    return {
      train: await cache.reporting(train.finish()),
      validation: await cache.reporting(validation.finish()),
    };
  } finally {
    await Promise.all(writers.map((writer) => writer.close()));
  }
}

type Part = "train" | "validation";

/** The files of one key. */
class CacheEntry {
  readonly #directory: string;
  readonly #key: string;

  constructor(directory: string, key: string) {
    this.#directory = directory;
    this.#key = key;
  }

  /** Temporary files bear the process' id, so that two processes do not write into each other's. */
  temporary(part: Part | "header"): string {
    return join(this.#directory, `${this.#key}.${part}.${process.pid}.tmp`);
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
    fingerprints: { readonly tokenizerFingerprint: string; readonly dataFingerprint: string },
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
      ...fingerprints,
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
    return join(this.#directory, `${this.#key}.${ending}`);
  }

  #dataset(header: CacheHeader): Omit<TokenDataset, "wasCached"> {
    const split = (part: Part): TokenSplit => {
      const { digest: _, ...rest } = header[part];
      return { path: this.#path(`${part}.bin`), ...rest };
    };
    return {
      key: this.#key,
      tokenizerFingerprint: header.tokenizerFingerprint,
      dataFingerprint: header.dataFingerprint,
      train: split("train"),
      validation: split("validation"),
    };
  }
}

/** Lower-case hex SHA-256 over the files' paths, sizes, times, and their first and last 64 KiB. */
async function fingerprintData(files: readonly DataFile[]): Promise<string> {
  const digest = createHash("sha256");
  const block = Buffer.alloc(FINGERPRINT_BLOCK_BYTES);
  for (const { path, bytes, modifiedMs } of files) {
    digest.update(JSON.stringify([resolve(path), bytes, modifiedMs]));
    const handle = await orDataError(path, open(path));
    try {
      for (const position of [0, Math.max(0, bytes - block.length)]) {
        const { bytesRead } = await handle.read(block, 0, block.length, position);
        digest.update(block.subarray(0, bytesRead));
      }
    } finally {
      await handle.close();
    }
  }
  return digest.digest("hex");
}

/** Removes temporary files of processes that died. */
async function removeLeftovers(directory: string): Promise<void> {
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
