// The files of an update log, log/<number>.log: appended to, never rewritten. A new one begins when the newest is long
// enough; the oldest go. Knows nothing of what the records mean.
import { type FileHandle, mkdir, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { readIfPresent, syncDirectory } from "./atomic-file.ts";
import { storageError } from "./errors.ts";
import type { BodyMark } from "./update-log-history.ts";
import { encodeRecord, type LogRecord, scanRecords, UPDATE_LOG_VERSION } from "./update-log-records.ts";

const NAME = /^(\d{8})\.log$/;
/** Some three thousand rounds of three peers, or eight of a thousand. */
const SEGMENT_BYTES = 4 * 2 ** 20;
/** 64 MiB of records: fifty thousand rounds of three peers. */
const MAX_SEGMENTS = 16;

export interface SegmentOptions {
  readonly runId: string;
  /** Drop the oldest segments once there are many. */
  readonly drops: boolean;
  readonly segmentBytes?: number | undefined;
}

/** Numbers of the segments in a directory, ascending; none where there is no directory. */
export async function listSegments(directory: string): Promise<number[]> {
  const names = await readdir(directory).catch(() => [] as string[]);
  return names
    .flatMap((name) => NAME.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

export const segmentPath = (directory: string, number: number): string =>
  join(directory, `${String(number).padStart(8, "0")}.log`);

export class LogSegments {
  readonly #directory: string;
  readonly #options: SegmentOptions;
  #file: FileHandle | undefined;
  #number = 0;
  #size = 0;

  constructor(directory: string, options: SegmentOptions) {
    this.#directory = directory;
    this.#options = options;
  }

  /** Opens the newest segment, cuts off what a crash has left at its end, and returns how many bytes that were. */
  async open(): Promise<number> {
    await this.close();
    await mkdir(this.#directory, { recursive: true });
    const number = (await listSegments(this.#directory)).at(-1);
    if (number === undefined) return 0;
    const path = segmentPath(this.#directory, number);
    const bytes = (await readIfPresent(path)) ?? new Uint8Array();
    const { end } = scanRecords(bytes);
    const file = await open(path, "r+");
    if (end < bytes.length) await file.truncate(end);
    this.#file = file;
    this.#number = number;
    this.#size = end;
    return bytes.length - end;
  }

  /**
   * Appends records, all or none, and has them on disk when it resolves. `head` is what all records before them have come
   * to. Returns whether they are the first of a new segment.
   */
  async append(records: readonly LogRecord[], head: BodyMark | undefined): Promise<void> {
    if (this.#file === undefined || this.#size >= (this.#options.segmentBytes ?? SEGMENT_BYTES)) {
      await this.#rotate(head);
    }
    const bytes = Buffer.concat(records.map(encodeRecord));
    const file = this.#file!;
    const path = segmentPath(this.#directory, this.#number);
    try {
      for (let offset = 0; offset < bytes.length; ) {
        const { bytesWritten } = await file.write(bytes, offset, bytes.length - offset, this.#size + offset);
        offset += bytesWritten;
      }
      await file.datasync();
    } catch (error) {
      // Half a record would be cut at the next start; now it is written over.
      await file.truncate(this.#size).catch(() => {});
      throw storageError(error, path);
    }
    this.#size += bytes.length;
  }

  /** Whether the next append goes to a segment that says nothing yet. */
  get isFresh(): boolean {
    return this.#file === undefined || this.#size >= (this.#options.segmentBytes ?? SEGMENT_BYTES);
  }

  /** Drops the oldest segments, but none with records of rounds from `floor` on. */
  async prune(floor: number): Promise<void> {
    if (!this.#options.drops) return;
    const numbers = await listSegments(this.#directory);
    for (let at = 0; numbers.length - at > MAX_SEGMENTS; at++) {
      const next = scanRecords(
        (await readIfPresent(segmentPath(this.#directory, numbers[at + 1]!))) ?? new Uint8Array(),
      );
      const first = next.records[0]?.record;
      if (first?.kind !== "segment" || (first.head?.closedRound ?? 0) > floor) return;
      await rm(segmentPath(this.#directory, numbers[at]!), { force: true });
    }
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #rotate(head: BodyMark | undefined): Promise<void> {
    await this.close();
    const number = ((await listSegments(this.#directory)).at(-1) ?? 0) + 1;
    const path = segmentPath(this.#directory, number);
    const { runId } = this.#options;
    const first = encodeRecord({
      kind: "segment",
      version: UPDATE_LOG_VERSION,
      runId,
      ...(head !== undefined && { head: { closedRound: head.closedRound, root: head.root } }),
    });
    try {
      const file = await open(path, "wx+");
      this.#file = file;
      this.#number = number;
      this.#size = 0;
      await file.write(first, 0, first.length, 0);
      this.#size = first.length;
      await syncDirectory(this.#directory);
    } catch (error) {
      await this.close();
      await rm(path, { force: true }).catch(() => {});
      throw storageError(error, path);
    }
  }
}
