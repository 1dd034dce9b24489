// What can be wrong with the data a person gives us. Each error names the place, the cause and the remedy.

export type DataErrorCode =
  | "DATA_PATH_MISSING"
  | "DATA_UNREADABLE"
  | "DATA_FORMAT_UNKNOWN"
  | "DATA_EMPTY"
  | "DATA_BINARY"
  | "DATA_NOT_UTF8"
  | "JSONL_MALFORMED"
  | "TEXT_FIELD_MISSING"
  | "PARQUET_UNREADABLE"
  | "CORPUS_TOO_SMALL_FOR_SEQUENCE"
  | "TOKEN_CACHE_UNWRITABLE"
  | "TOKEN_CACHE_CORRUPT"
  | "DATA_POSITION_MISMATCH";

export class DataError extends Error {
  readonly code: DataErrorCode;

  constructor(code: DataErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

export class DataPathMissingError extends DataError {
  readonly path: string;

  constructor(path: string) {
    super("DATA_PATH_MISSING", `There is no file or folder ${path}: check the path given as data.`);
    this.path = path;
  }
}

/** The file system or the decompressor refused: permissions, a truncated archive, a disk error. */
export class DataUnreadableError extends DataError {
  readonly path: string;

  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(
      "DATA_UNREADABLE",
      `${path} cannot be read (${reason}): check that it is whole and that you may read it.`,
      options,
    );
    this.path = path;
  }
}

export class DataFormatUnknownError extends DataError {
  readonly path: string;

  constructor(path: string, supported: readonly string[]) {
    super(
      "DATA_FORMAT_UNKNOWN",
      `${path} has no known ending: name text files .txt, one JSON object a line .jsonl; known are ${supported.join(", ")}.`,
    );
    this.path = path;
  }
}

/** No data file in the folders, or no document in the files. */
export class DataEmptyError extends DataError {
  readonly paths: readonly string[];

  constructor(paths: readonly string[], reason: string, remedy: string) {
    super("DATA_EMPTY", `There is no text in ${paths.join(", ")} (${reason}): ${remedy}.`);
    this.paths = paths;
  }
}

export class BinaryDataError extends DataError {
  readonly path: string;
  readonly byteOffset: number;

  constructor(path: string, byteOffset: number) {
    super(
      "DATA_BINARY",
      `${path} is not text (a NUL byte at offset ${byteOffset}): give UTF-8 text, and name compressed files .gz or .zst.`,
    );
    this.path = path;
    this.byteOffset = byteOffset;
  }
}

export class NotUtf8Error extends DataError {
  readonly path: string;
  readonly invalidSequences: number;

  constructor(path: string, invalidSequences: number, characters: number) {
    super(
      "DATA_NOT_UTF8",
      `${path} is not UTF-8 (${invalidSequences} invalid sequences in the first ${characters} characters): convert it first, for example with iconv -t UTF-8.`,
    );
    this.path = path;
    this.invalidSequences = invalidSequences;
  }
}

export class MalformedJsonlError extends DataError {
  readonly path: string;
  readonly line: number;

  constructor(path: string, line: number, reason: string) {
    super(
      "JSONL_MALFORMED",
      `${path}:${line} is not a JSON object (${reason}): each line of a .jsonl file must be one; repair or remove the line.`,
    );
    this.path = path;
    this.line = line;
  }
}

/** A record lacks the field that should hold the text, or holds something else in it. */
export class TextFieldMissingError extends DataError {
  readonly path: string;
  readonly record: number;
  readonly field: string;
  readonly present: readonly string[];

  /** `record` is a line of a .jsonl or a row of a Parquet file, from 1. */
  constructor(path: string, record: number, field: string, present: readonly string[]) {
    const fields = present.length > 0 ? `it has ${present.slice(0, 12).join(", ")}` : "it has no fields";
    super(
      "TEXT_FIELD_MISSING",
      `${path}:${record} has no text in the field "${field}" (${fields}): name the field that holds the text.`,
    );
    this.path = path;
    this.record = record;
    this.field = field;
    this.present = present;
  }
}

export class ParquetUnreadableError extends DataError {
  readonly path: string;

  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(
      "PARQUET_UNREADABLE",
      `${path} is no readable Parquet file (${reason}): check that it is whole, or convert it to .jsonl.`,
      options,
    );
    this.path = path;
  }
}

/** Too few tokens for one batch of sequences. */
export class CorpusTooSmallForSequenceError extends DataError {
  readonly tokens: number;
  readonly neededTokens: number;

  constructor(what: string, tokens: number, neededTokens: number) {
    super(
      "CORPUS_TOO_SMALL_FOR_SEQUENCE",
      `The text has ${tokens} ${what} tokens, but the run's sequence length needs at least ${neededTokens}: give more text.`,
    );
    this.tokens = tokens;
    this.neededTokens = neededTokens;
  }
}

export class TokenCacheUnwritableError extends DataError {
  readonly directory: string;

  constructor(directory: string, cause: NodeJS.ErrnoException) {
    const isFull = cause.code === "ENOSPC" || cause.code === "EDQUOT";
    super(
      "TOKEN_CACHE_UNWRITABLE",
      `Tokens cannot be written to ${directory} (${isFull ? "the disk is full" : cause.message}): ${isFull ? "free some space" : "make it writable"} or choose another state directory.`,
      { cause },
    );
    this.directory = directory;
  }
}

export class TokenCacheCorruptError extends DataError {
  readonly path: string;

  constructor(path: string, reason: string) {
    super("TOKEN_CACHE_CORRUPT", `The token file ${path} is damaged (${reason}): delete it and start again.`);
    this.path = path;
  }
}

/** A saved position belongs to other tokens or to another sequence length. */
export class DataPositionMismatchError extends DataError {
  constructor(reason: string) {
    super(
      "DATA_POSITION_MISMATCH",
      `The saved position does not fit the data (${reason}): restore the data it was saved with, or start afresh in another place.`,
    );
  }
}
