// What can go wrong with the state on disk, as typed errors. Every message names cause and remedy in one sentence.

/** The disk is full. Whatever was saved before is whole. */
export class DiskFullError extends Error {
  readonly code = "DISK_FULL";
  readonly path: string;
  /** Bytes that were wanted, and bytes there were, where known. */
  readonly bytesNeeded: number | undefined;
  readonly bytesAvailable: number | undefined;

  constructor(path: string, options: ErrorOptions & { bytesNeeded?: number; bytesAvailable?: number } = {}) {
    const { bytesNeeded, bytesAvailable } = options;
    const amounts =
      bytesNeeded === undefined || bytesAvailable === undefined
        ? ""
        : ` (${mebibytes(bytesNeeded)} needed, ${mebibytes(bytesAvailable)} available)`;
    super(
      `The disk is full at ${path}${amounts}: free some space and start again, the last saved state is intact.`,
      options,
    );
    this.name = "DiskFullError";
    this.path = path;
    this.bytesNeeded = bytesNeeded;
    this.bytesAvailable = bytesAvailable;
  }
}

export class StateNotWritableError extends Error {
  readonly code = "STATE_NOT_WRITABLE";
  readonly path: string;

  constructor(path: string, options?: ErrorOptions) {
    super(`${path} cannot be written: change its permissions or give another --state-dir.`, options);
    this.name = "StateNotWritableError";
    this.path = path;
  }
}

/** A file is to be where none can be: its folder is not there, or a folder has its name. */
export class PathUnfitError extends Error {
  readonly code = "PATH_UNFIT";
  readonly path: string;

  constructor(path: string, why: string, options?: ErrorOptions) {
    super(`${path} cannot be a file: ${why}; give another path.`, options);
    this.name = "PathUnfitError";
    this.path = path;
  }
}

export class StateInUseError extends Error {
  readonly code = "STATE_IN_USE";
  readonly directory: string;
  readonly pid: number;
  readonly host: string;

  constructor(directory: string, holder: { pid: number; host: string }, here: string) {
    const where = holder.host === here ? "" : ` on ${holder.host}`;
    const foreign = holder.host === here ? "" : `, or delete ${directory}/lock if that machine is gone`;
    super(
      `The state directory ${directory} is in use by process ${holder.pid}${where}: ` +
        `stop that one or give another --state-dir${foreign}.`,
    );
    this.name = "StateInUseError";
    this.directory = directory;
    this.pid = holder.pid;
    this.host = holder.host;
  }
}

export class StateOfAnotherRunError extends Error {
  readonly code = "STATE_OF_ANOTHER_RUN";
  readonly directory: string;
  readonly runId: string;
  readonly wantedRunId: string;

  constructor(directory: string, runId: string, wantedRunId: string) {
    super(
      `The state directory ${directory} belongs to run ${runId.slice(0, 12)}, not to ${wantedRunId.slice(0, 12)}: ` +
        "give another --state-dir or the invite of that run.",
    );
    this.name = "StateOfAnotherRunError";
    this.directory = directory;
    this.runId = runId;
    this.wantedRunId = wantedRunId;
  }
}

export class StateCorruptError extends Error {
  readonly code = "STATE_CORRUPT";
  readonly path: string;
  readonly reason: string;

  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(
      `${path} is damaged (${reason}): restore it from a copy or start afresh in another --state-dir.`,
      options,
    );
    this.name = "StateCorruptError";
    this.path = path;
    this.reason = reason;
  }
}

/** What the file system refused, in our terms; anything else comes back as it was. */
export function storageError(error: unknown, path: string): unknown {
  switch ((error as NodeJS.ErrnoException | null)?.code) {
    case "ENOSPC":
    case "EDQUOT":
    case "EFBIG":
      return new DiskFullError(path, { cause: error });
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new StateNotWritableError(path, { cause: error });
    case "EISDIR":
      return new PathUnfitError(path, "it is a folder", { cause: error });
    case "ENOTDIR":
      return new PathUnfitError(path, "a file is in the place of its folder", { cause: error });
    default:
      return error;
  }
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
