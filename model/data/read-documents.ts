// Documents out of files of any supported format, as one stream. Owns the order and the sample; memory stays at a few
// MiB whatever the files' size, because nothing is read before it is asked for.
import { DataEmptyError, MalformedJsonlError, TextFieldMissingError } from "./errors.ts";
import { type DataFile, listDataFiles } from "./list-data-files.ts";
import { readParquet } from "./read-parquet.ts";
import { type ReadOptions, readText } from "./read-text.ts";
import { LONGEST_LINE_CHARACTERS, parts, splitAtBlankLines, splitLines } from "./split-documents.ts";
import { pickText } from "./text-field.ts";

export const DEFAULT_TEXT_FIELD = "text";

export interface ReadDocumentsOptions {
  /** Field of .jsonl and Parquet records that holds the text; dots lead into nested ones. Default "text". */
  readonly textField?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Bytes on disk read so far and in all. */
  readonly onProgress?: ((bytesRead: number, bytesTotal: number) => void) | undefined;
}

/**
 * Every document of the files and folders `paths`, in the order of `listDataFiles`. None is blank and none is longer
 * than LONGEST_DOCUMENT_CHARACTERS: what is longer comes in parts.
 * @throws DataError (see errors.ts) at the first thing wrong; DataEmptyError where there is no document at all
 */
export async function* readDocuments(
  paths: readonly string[],
  options: ReadDocumentsOptions = {},
): AsyncGenerator<string> {
  const files = await listDataFiles(paths);
  let isEmpty = true;
  for await (const document of readFiles(files, options)) {
    isEmpty = false;
    yield document;
  }
  if (isEmpty) throw new DataEmptyError(paths, "no document in any file", "give files that hold text");
}

/**
 * The first documents of every file, up to `maxBytes` of UTF-8 in all: enough to train a tokenizer on, with each file
 * present in equal share. What a small file leaves over goes to those after it.
 * @throws as readDocuments
 */
export async function* sampleDocuments(
  paths: readonly string[],
  options: ReadDocumentsOptions & { readonly maxBytes: number },
): AsyncGenerator<string> {
  const files = await listDataFiles(paths);
  let bytesLeft = options.maxBytes;
  for (const [index, file] of files.entries()) {
    let share = Math.ceil(bytesLeft / (files.length - index));
    for await (const document of readFiles([file], options)) {
      yield document;
      const bytes = Buffer.byteLength(document);
      bytesLeft -= bytes;
      share -= bytes;
      if (share <= 0) break;
    }
  }
  if (bytesLeft === options.maxBytes) {
    throw new DataEmptyError(paths, "no document in any file", "give files that hold text");
  }
}

async function* readFiles(
  files: readonly DataFile[],
  { textField = DEFAULT_TEXT_FIELD, signal, onProgress }: ReadDocumentsOptions,
): AsyncGenerator<string> {
  const bytesTotal = files.reduce((sum, file) => sum + file.bytes, 0);
  let bytesRead = 0;
  const onBytesRead = (bytes: number): void => {
    bytesRead += bytes;
    onProgress?.(bytesRead, bytesTotal);
  };
  for (const file of files) {
    signal?.throwIfAborted();
    yield* readFile(file, textField, { signal, onBytesRead });
  }
}

async function* readFile(file: DataFile, textField: string, options: ReadOptions): AsyncGenerator<string> {
  switch (file.format) {
    case "text":
      yield* splitAtBlankLines(readText(file, options));
      return;
    case "jsonl":
      yield* readJsonl(file, textField, options);
      return;
    case "parquet":
      for await (const document of readParquet(file, textField, options)) yield* parts(document);
  }
}

async function* readJsonl(file: DataFile, textField: string, options: ReadOptions): AsyncGenerator<string> {
  for await (const { line, number } of splitLines(readText(file, options))) {
    if (line === undefined) {
      throw new MalformedJsonlError(file.path, number, `longer than ${LONGEST_LINE_CHARACTERS} characters`);
    }
    if (line.trim() === "") continue;
    const record = parseRecord(file.path, number, line);
    const text = pickText(record, textField);
    if (text === undefined) {
      throw new TextFieldMissingError(file.path, number, textField, Object.keys(record));
    }
    if (text !== null) yield* parts(text);
  }
}

function parseRecord(path: string, line: number, json: string): Record<string, unknown> {
  let record: unknown;
  try {
    record = JSON.parse(json);
  } catch (error) {
    throw new MalformedJsonlError(path, line, (error as Error).message);
  }
  if (typeof record !== "object" || record === null || Array.isArray(record)) {
    throw new MalformedJsonlError(path, line, "another JSON value");
  }
  return record as Record<string, unknown>;
}
