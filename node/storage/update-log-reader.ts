// Reads the update log of a peer that runs or not: takes no lock and changes nothing. A record that is being written is not
// there yet; one that was torn or has changed is reported, never trusted.
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { readIfPresent } from "./atomic-file.ts";
import { listSnapshots, type SnapshotFile } from "./body-snapshots.ts";
import { StateCorruptError } from "./errors.ts";
import { readJson } from "./state-directory.ts";
import { UpdateHistory } from "./update-log-history.ts";
import { type LogRecord, scanRecords } from "./update-log-records.ts";
import { listSegments, segmentPath } from "./update-log-segments.ts";

export const UPDATE_LOG_DIRECTORY = "log";
export const SNAPSHOT_DIRECTORY = "snapshots";
export const LOG_RUN_FILE = "run.json";

const FOLLOW_MS = 250;

const boundRun = z.object({ runId: z.string(), manifest: z.string() });

/** Where records were and are not any more. */
export interface DamagedPlace {
  readonly path: string;
  readonly at: number;
  readonly bytes: number;
}

export interface LogPosition {
  readonly segment: number;
  readonly offset: number;
}

export interface ReadLog {
  readonly history: UpdateHistory;
  /** In the order they were written. */
  readonly records: readonly LogRecord[];
  readonly damage: readonly DamagedPlace[];
  /** After the last whole record: one being written, or torn by a crash, or damaged. */
  readonly tail: DamagedPlace | undefined;
  readonly end: LogPosition;
}

/** `undefined` where no log was ever begun. */
export async function readUpdateLog(stateDirectory: string): Promise<ReadLog | undefined> {
  const directory = join(stateDirectory, UPDATE_LOG_DIRECTORY);
  const segments = await listSegments(directory);
  if (segments.length === 0) return undefined;
  const history = new UpdateHistory();
  const records: LogRecord[] = [];
  const damage: DamagedPlace[] = [];
  let tail: DamagedPlace | undefined;
  let end: LogPosition = { segment: segments[0]!, offset: 0 };
  for (const segment of segments) {
    const path = segmentPath(directory, segment);
    // Dropped since it was listed.
    const bytes = await readIfPresent(path);
    if (bytes === undefined) continue;
    if (tail !== undefined) damage.push(tail);
    const scanned = scanRecords(bytes);
    damage.push(...scanned.damage.map((place) => ({ path, ...place })));
    for (const { record } of scanned.records) {
      history.add(record);
      records.push(record);
    }
    tail =
      scanned.end < bytes.length ? { path, at: scanned.end, bytes: bytes.length - scanned.end } : undefined;
    end = { segment, offset: scanned.end };
  }
  return { history, records, damage, tail, end };
}

/** Records as they are written, from `position` on, until the signal fires. */
export async function* followUpdateLog(
  stateDirectory: string,
  position: LogPosition,
  signal: AbortSignal,
): AsyncGenerator<LogRecord> {
  const directory = join(stateDirectory, UPDATE_LOG_DIRECTORY);
  let { segment, offset } = position;
  while (!signal.aborted) {
    const next = (await listSegments(directory)).find((number) => number > segment);
    const bytes = (await readIfPresent(segmentPath(directory, segment))) ?? new Uint8Array();
    // Cut at a restart: what comes next stands where the torn record was.
    const scanned = scanRecords(bytes, Math.min(offset, bytes.length));
    for (const { record } of scanned.records) yield record;
    offset = scanned.end;
    if (next === undefined) await delay(FOLLOW_MS, undefined, { signal }).catch(() => {});
    else if (scanned.records.length === 0) [segment, offset] = [next, 0];
  }
}

/** Of the run or group that the log is of, as it was joined: enough to verify the log without asking anyone. */
export async function readLogRun(
  stateDirectory: string,
): Promise<{ runId: string; manifest: Uint8Array } | undefined> {
  const path = join(stateDirectory, UPDATE_LOG_DIRECTORY, LOG_RUN_FILE);
  const read = await readJson<unknown>(path);
  if (read === undefined) return undefined;
  const bound = boundRun.safeParse(read);
  if (!bound.success) throw new StateCorruptError(path, "it names no run");
  return { runId: bound.data.runId, manifest: new TextEncoder().encode(bound.data.manifest) };
}

export const logSnapshots = (stateDirectory: string): Promise<SnapshotFile[]> =>
  listSnapshots(join(stateDirectory, UPDATE_LOG_DIRECTORY, SNAPSHOT_DIRECTORY));
