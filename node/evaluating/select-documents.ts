// The documents of one source that an evaluation looks at: all or the held-out ones, up to a number of bytes. Owns the
// selection, which depends on the text alone, so that every model is asked about the same documents.
import { DataEmptyError } from "#model/data/errors.ts";
import { isHeldOut } from "#model/data/hold-out.ts";
import { listDataFiles } from "#model/data/list-data-files.ts";
import { readDocuments } from "#model/data/read-documents.ts";
import { DEFAULT_VALIDATION_FRACTION } from "#model/data/token-cache.ts";

export interface SelectDocumentsOptions {
  readonly textField: string;
  /** held-out: by the rule that training leaves documents out by, which looks at a document's own hash. */
  readonly split: "all" | "held-out";
  /** UTF-8 bytes; the document that reaches it still counts. Files of a folder have equal shares. */
  readonly maxBytes?: number | undefined;
  /** Bytes on disk, read so far and in all. */
  readonly onProgress?: ((bytesRead: number, bytesTotal: number) => void) | undefined;
  readonly signal: AbortSignal;
}

/** No document of the source is held out: it has too few. */
export class NothingHeldOutError extends Error {
  readonly code = "NOTHING_HELD_OUT";
  readonly path: string;

  constructor(path: string) {
    super(
      `None of the documents in ${path} is held out: give more text, or leave --split out to evaluate on all of it.`,
    );
    this.name = "NothingHeldOutError";
    this.path = path;
  }
}

/** @throws DataError of reading, NothingHeldOutError, the signal's reason */
export async function* selectDocuments(
  path: string,
  { textField, split, maxBytes = Number.POSITIVE_INFINITY, onProgress, signal }: SelectDocumentsOptions,
): AsyncGenerator<string> {
  const files = await listDataFiles([path]);
  const bytesTotal = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let bytesLeft = maxBytes;
  let bytesOfFilesBefore = 0;
  let isEmpty = true;
  let hasText = false;
  for (const [index, file] of files.entries()) {
    // What a file leaves of its share goes to those after it.
    let share = bytesLeft / (files.length - index);
    if (share <= 0) break;
    const before = bytesOfFilesBefore;
    const reading = {
      textField,
      signal,
      onProgress: (read: number) => onProgress?.(before + read, bytesTotal),
    };
    try {
      for await (const document of readDocuments([file.path], reading)) {
        hasText = true;
        if (split === "held-out" && !isHeldOut(document, DEFAULT_VALIDATION_FRACTION)) continue;
        isEmpty = false;
        yield document;
        const bytes = Buffer.byteLength(document);
        bytesLeft -= bytes;
        share -= bytes;
        if (share <= 0) break;
      }
    } catch (error) {
      if (!(error instanceof DataEmptyError)) throw error; // one file among others may be empty
    }
    bytesOfFilesBefore += file.bytes;
  }
  if (!isEmpty) return;
  if (hasText) throw new NothingHeldOutError(path);
  throw new DataEmptyError([path], "no document in any file", "give files that hold text");
}
