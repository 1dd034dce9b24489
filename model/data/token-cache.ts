// Text to token files, once: tokenised data is kept on disk under a key of data and tokenizer, and used again. Owns which
// document goes where; cache-entry.ts owns the files.
import { createHash } from "node:crypto";
import { mkdir, open } from "node:fs/promises";
import { resolve } from "node:path";
import {
  CacheEntry,
  cacheEntries,
  cacheKey,
  type Part,
  removeLeftovers,
  type TokenDataset,
} from "./cache-entry.ts";
import { HeldOutText, type Stretch } from "./held-out-text.ts";
import { holdOutEnough, isHeldOut } from "./hold-out.ts";
import { type DataFile, listDataFiles, orDataError } from "./list-data-files.ts";
import { DEFAULT_TEXT_FIELD, readDocuments } from "./read-documents.ts";
import { TokenFileWriter, type TokenSource, type TokenSplit } from "./token-file.ts";

export type { TokenDataset } from "./cache-entry.ts";

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
  /**
   * The directory is for this text alone, which may be another than it was: what was held out of it stays held out where it
   * is still there, and the files of what it was go. Default false.
   */
  readonly follows?: boolean | undefined;
  /** The key of a dataset that is to be taken as it is, where it is there: without a look at the text. */
  readonly prepared?: string | undefined;
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

/**
 * Tokenises the text behind `paths`, or finds it done. Every document ends with the end-of-text token; the split
 * between training and validation is hold-out.ts'. A cache that is cut short or damaged is made anew.
 * @throws DataError: of reading, TokenCacheUnwritableError, CorpusTooSmallForSequenceError; the signal's reason
 */
export async function prepareTokens(options: PrepareTokensOptions): Promise<TokenDataset> {
  const { paths, tokenizer, cacheDirectory, signal } = options;
  const prepared = options.prepared && (await new CacheEntry(cacheDirectory, options.prepared).load());
  if (prepared) return { ...prepared, wasCached: true };
  const textField = options.textField ?? DEFAULT_TEXT_FIELD;
  const fraction = options.validationFraction ?? DEFAULT_VALIDATION_FRACTION;
  const minimum = options.minimumValidationTokens ?? 1;
  const facts = {
    dataFingerprint: await fingerprintData(await listDataFiles(paths)),
    tokenizerFingerprint: tokenizer.fingerprint,
  };
  const cache = new CacheEntry(cacheDirectory, cacheKey({ ...facts, textField, fraction, minimum }));

  const cached = await cache.load();
  if (cached !== undefined) return { ...cached, wasCached: true };
  signal?.throwIfAborted();
  await cache.reporting(mkdir(cacheDirectory, { recursive: true }));
  await removeLeftovers(cacheDirectory);
  const before = options.follows ? await latestOf(cacheDirectory, tokenizer) : undefined;
  try {
    const heldOut = before && (await HeldOutText.of(before, tokenizer.endOfText, signal));
    const written = await tokenize(cache, { ...options, textField, validationFraction: fraction, heldOut });
    const { textDigest } = written;
    const isSameText = before !== undefined && before.textDigest === textDigest;
    const splits = isSameText
      ? before
      : await cache.reporting(
          holdOutEnough(written.train, written.validation, tokenizer, { minimumTokens: minimum, fraction }),
        );
    const dataset = await cache.reporting(cache.commit(splits, { ...facts, textDigest }));
    if (options.follows) await removeOthers(cacheDirectory, cache);
    return { ...dataset, wasCached: false };
  } finally {
    await cache.discardTemporaries();
  }
}

/** What was made last with this tokenizer, if it is whole. */
async function latestOf(
  cacheDirectory: string,
  { fingerprint }: TokenEncoder,
): Promise<Omit<TokenDataset, "wasCached"> | undefined> {
  for (const entry of await cacheEntries(cacheDirectory)) {
    const dataset = await entry.load();
    if (dataset?.tokenizerFingerprint === fingerprint) return dataset;
  }
  return undefined;
}

/** What another text or another tokenizer has left there. */
export async function removeOthers(cacheDirectory: string, { key }: CacheEntry): Promise<void> {
  for (const entry of await cacheEntries(cacheDirectory)) if (entry.key !== key) await entry.remove();
}

interface TokenizeOptions extends PrepareTokensOptions {
  readonly validationFraction: number;
  readonly heldOut: HeldOutText | undefined;
}

/** One pass over the text into two temporary files. */
async function tokenize(
  cache: CacheEntry,
  options: TokenizeOptions,
): Promise<{ train: TokenSplit; validation: TokenSplit; textDigest: string }> {
  const { tokenizer, heldOut, signal, onProgress } = options;
  const textHash = createHash("sha256");
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
    const partsOf = (document: string, tokens: Uint32Array): readonly Stretch[] =>
      isHeldOut(document, options.validationFraction)
        ? [{ from: 0, to: tokens.length, heldOut: true }]
        : (heldOut?.stretches(tokens) ?? [{ from: 0, to: tokens.length, heldOut: false }]);
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
      textHash.update(`${document.length}\n`).update(document);
      const tokens = tokenizer.encode(document);
      for (const { from, to, heldOut } of partsOf(document, tokens)) {
        const writer = heldOut ? validation : train;
        await cache.reporting(writer.append(tokens.subarray(from, to)));
        await cache.reporting(writer.append(endOfText));
      }
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
      textDigest: textHash.digest("hex"),
    };
  } finally {
    await Promise.all(writers.map((writer) => writer.close()));
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
