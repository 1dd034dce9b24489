// From the paths a person gives to the list of files to read. Owns which files count as data; opens none.
import { readdir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  DataEmptyError,
  DataFormatUnknownError,
  DataPathMissingError,
  DataUnreadableError,
} from "./errors.ts";

export type DataFormat = "text" | "jsonl" | "parquet";
export type Compression = "none" | "gzip" | "zstd";

export interface DataFile {
  readonly path: string;
  readonly format: DataFormat;
  readonly compression: Compression;
  /** Size on disk. */
  readonly bytes: number;
  readonly modifiedMs: number;
}

const FORMATS: Readonly<Record<string, DataFormat>> = {
  ".txt": "text",
  ".jsonl": "jsonl",
  ".ndjson": "jsonl",
  ".parquet": "parquet",
};
const COMPRESSIONS: Readonly<Record<string, Compression>> = { ".gz": "gzip", ".zst": "zstd" };
const SUPPORTED = [...Object.keys(FORMATS), ...Object.keys(COMPRESSIONS).map((ending) => `.txt${ending}`)];

/**
 * The data files behind `paths`: files as given, folders with all below them. Sorted by path within a folder, by code
 * unit, so that every machine lists them alike; a file reached twice is listed once; hidden files are left out.
 * @throws DataPathMissingError, DataUnreadableError, DataFormatUnknownError (for a file named by itself), DataEmptyError
 */
export async function listDataFiles(paths: readonly string[]): Promise<DataFile[]> {
  const files: DataFile[] = [];
  const seen = new Set<string>();
  let passedOver = 0;

  async function visit(path: string, isNamed: boolean): Promise<void> {
    const found = await orDataError(path, stat(path));
    const identity = await orDataError(path, realpath(path));
    if (seen.has(identity)) return; // also what ends a loop of links
    seen.add(identity);
    if (found.isDirectory()) {
      for (const name of (await orDataError(path, readdir(path))).sort()) {
        if (!name.startsWith(".")) await visit(join(path, name), false);
      }
      return;
    }
    const kind = kindOf(path);
    if (kind !== undefined && found.isFile()) {
      files.push({ path, ...kind, bytes: found.size, modifiedMs: found.mtimeMs });
    } else if (isNamed) {
      throw new DataFormatUnknownError(path, SUPPORTED);
    } else {
      passedOver += 1;
    }
  }

  for (const path of paths) await visit(path, true);
  if (files.length === 0) {
    const reason =
      passedOver > 0
        ? `${passedOver} ${passedOver === 1 ? "file" : "files"}, none with a known ending`
        : "no files";
    throw new DataEmptyError(paths, reason, `put files there that end in ${SUPPORTED.join(", ")}`);
  }
  return files;
}

/** Format and compression by the ending, or undefined for a file that is no data. */
export function kindOf(path: string): { format: DataFormat; compression: Compression } | undefined {
  const [, stem = "", last = ""] = /^(.*?)(\.[^./\\]*)?$/s.exec(path.toLowerCase()) ?? [];
  const compression = COMPRESSIONS[last] ?? "none";
  const ending = compression === "none" ? last : (/\.[^./\\]*$/.exec(stem)?.[0] ?? "");
  const format = FORMATS[ending];
  if (format === undefined || (format === "parquet" && compression !== "none")) return undefined;
  return { format, compression };
}

/** What the file system says of `path`, or an error that a person can act on. */
export async function orDataError<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const cause = error as NodeJS.ErrnoException;
    if (cause.code === "ENOENT" || cause.code === "ENOTDIR") throw new DataPathMissingError(path);
    throw new DataUnreadableError(path, cause.message, { cause });
  }
}
