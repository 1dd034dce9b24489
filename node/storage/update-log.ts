// The update log of a peer: which signed updates made its body, round by round, and what is needed to check that: closed
// bodies now and then (snapshots) and the payloads since the oldest of them. Nothing depends on it: where it cannot be
// written it says so once, training goes on, and the log begins anew as soon as it can.
//   log/<number>.log      records (update-log-records.ts)      log/run.json   the run, for whoever gets the log alone
//   log/snapshots/        closed bodies                        payloads/      kept from `payloadFloor` on (payload-store.ts)
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { ClosedRound, LogOrigin, UpdateLogPort } from "#protocol/ports.ts";
import { openUpdate } from "#protocol/wire/signed.ts";
import { requireFreeSpace, writeJsonAtomic } from "./atomic-file.ts";
import {
  clearSnapshots,
  listSnapshots,
  openSnapshots,
  snapshotPath,
  writeSnapshot,
} from "./body-snapshots.ts";
import { type BodyMark, headOf, type Lineage, rootAt } from "./update-log-history.ts";
import {
  LOG_RUN_FILE,
  readUpdateLog,
  SNAPSHOT_DIRECTORY,
  UPDATE_LOG_DIRECTORY,
} from "./update-log-reader.ts";
import type { LogRecord, RoundRecord } from "./update-log-records.ts";
import { LogSegments } from "./update-log-segments.ts";

/** A number: rounds that can be verified at least. `auto`: 32, or as many as fit in AUTO_PAYLOAD_BYTES or four bodies. */
export type KeepLog = "auto" | "all" | "none" | number;

const AUTO_ROUNDS = 32;
/** A snapshot then costs at most a quarter of the bytes of the payloads written since the one before. */
const AUTO_PAYLOADS_PER_BODY = 4;
const AUTO_PAYLOAD_BYTES = 256 * 2 ** 20;
const ALL_ROUNDS = 64;
/** A snapshot must leave room for the checkpoint that follows: two generations of body and residual. */
const FREE_BODIES = 5;

export interface UpdateLogOptions {
  readonly runId: string;
  readonly manifest: Uint8Array;
  readonly keep: KeepLog;
  /** Told once when the log cannot be kept, and again only after it could. */
  readonly onTrouble: (error: unknown, what: string) => void;
  readonly nowMs?: () => number;
  /** After how many bytes a new segment begins. */
  readonly segmentBytes?: number;
}

interface Base extends BodyMark {
  readonly body: Float32Array;
}

export class UpdateLog implements UpdateLogPort {
  readonly #options: UpdateLogOptions;
  readonly #directory: string;
  readonly #snapshotDirectory: string;
  readonly #segments: LogSegments;
  /** As the files say since they were opened. Undefined: the next thing to write is a beginning. */
  #lineage: Lineage | undefined;
  /** A body to write once the rounds after it begin to count. */
  #base: Base | undefined;
  /** Closed rounds of the snapshots of this lineage, ascending. */
  #snapshots: readonly number[] = [];
  #writing: { readonly closedRound: number; readonly done: Promise<void> } | undefined;
  #lastTriedRound = 0;
  #payloadBytes = 0;
  readonly #troubled = new Set<"records" | "snapshot">();
  readonly #names = new Map<string, string>();
  readonly #saidNames = new Map<string, string>();

  private constructor(stateDirectory: string, options: UpdateLogOptions) {
    this.#options = options;
    this.#directory = join(stateDirectory, UPDATE_LOG_DIRECTORY);
    this.#snapshotDirectory = join(this.#directory, SNAPSHOT_DIRECTORY);
    const { runId, keep, segmentBytes } = options;
    this.#segments = new LogSegments(this.#directory, { runId, drops: keep !== "all", segmentBytes });
  }

  /** The directory is locked already. Never rejects: what cannot be opened is told and begun anew later. */
  static async open(stateDirectory: string, options: UpdateLogOptions): Promise<UpdateLog> {
    const log = new UpdateLog(stateDirectory, options);
    await log.#guard("opened", async () => {
      await mkdir(log.#directory, { recursive: true });
      await openSnapshots(log.#snapshotDirectory);
      await writeJsonAtomic(join(log.#directory, LOG_RUN_FILE), {
        runId: options.runId,
        manifest: new TextDecoder().decode(options.manifest),
      });
      const torn = await log.#segments.open();
      if (torn > 0)
        options.onTrouble(undefined, `the update log ended in ${torn} torn bytes; they are cut off`);
      log.#lineage = (await readUpdateLog(stateDirectory))?.history.newest;
    });
    return log;
  }

  /** Payloads of this round and later are still needed. */
  get payloadFloor(): number {
    const [oldest] = this.#snapshots;
    const needed = [oldest, this.#writing?.closedRound, this.#base?.closedRound];
    return Math.min(...needed.filter((round) => round !== undefined), Number.POSITIVE_INFINITY);
  }

  /** What a peer calls itself; written with the next record that is about it. */
  named(peer: string, name: string): void {
    this.#names.set(peer, name);
  }

  begin(origin: LogOrigin): Promise<void> {
    return this.#guard("begun", async () => {
      const isOwn = origin.cause === "genesis" || origin.cause === "resumed";
      if (isOwn && (await this.#resume(origin))) return;
      await this.#beginAnew(origin, origin.cause, origin.donor);
    });
  }

  closed({ round, root, updates, body }: ClosedRound): Promise<void> {
    return this.#guard("written", async () => {
      const head = this.#lineage && headOf(this.#lineage);
      if (this.#lineage === undefined || head?.closedRound !== round) {
        return this.#beginAnew({ closedRound: round + 1, root, body }, "gap", undefined);
      }
      const record: RoundRecord = {
        kind: "round",
        round,
        root,
        timeMs: this.#nowMs(),
        updates: updates.map(({ update, late, heldRows, restraint }) => ({
          envelope: Buffer.from(update.envelope).toString("base64"),
          ...(late && { late }),
          ...(heldRows !== undefined && { heldRows }),
          ...(restraint !== undefined && { restraint: { why: restraint.why, kept: restraint.kept } }),
        })),
      };
      await this.#append(
        record,
        updates.map(({ update }) => update.announcement.author),
      );
      // Memory holds no envelopes: a run may have a hundred thousand rounds.
      this.#lineage.rounds.push({ ...record, updates: [] });
      for (const { update } of updates) this.#payloadBytes += update.announcement.payloadBytes;
      this.#snapshotIfDue({ closedRound: round + 1, root, body });
    });
  }

  /** Gives up what is kept for verifying, because the disk is full; false where there is nothing to give up. */
  async yieldSpace(): Promise<boolean> {
    const isNothing = (await listSnapshots(this.#snapshotDirectory)).length === 0;
    if (isNothing && this.payloadFloor === Number.POSITIVE_INFINITY) return false;
    this.#snapshots = [];
    this.#base = undefined;
    this.#lastTriedRound = (this.#lineage && headOf(this.#lineage)?.closedRound) ?? 0;
    this.#options.onTrouble(undefined, "the disk is full: what was kept for glossa verify is given up");
    await this.#writing?.done;
    this.#snapshots = [];
    await clearSnapshots(this.#snapshotDirectory, () => false).catch(() => {});
    return true;
  }

  /** Resolves when a snapshot that is being written is there. */
  async idle(): Promise<void> {
    await this.#writing?.done;
  }

  async close(): Promise<void> {
    await this.idle();
    await this.#segments.close();
  }

  /** Goes on where the files end, or before it where they are ahead of the checkpoint. */
  async #resume(origin: LogOrigin): Promise<boolean> {
    const lineage = this.#lineage;
    const { closedRound } = origin;
    if (lineage === undefined || rootAt(lineage, closedRound) !== origin.root) return false;
    if (headOf(lineage)?.closedRound !== closedRound) {
      await this.#append({ kind: "undone", fromRound: closedRound, timeMs: this.#nowMs() }, []);
      while (lineage.rounds.length > 0 && lineage.rounds.at(-1)!.round >= closedRound) lineage.rounds.pop();
    }
    await this.#keepSnapshotsOf(lineage);
    const newest = this.#snapshots.at(-1);
    if (newest === undefined) this.#base = origin;
    this.#lastTriedRound = newest ?? closedRound;
    this.#payloadBytes = payloadBytesSince(lineage, this.#lastTriedRound);
    this.#lineage = { ...lineage, rounds: lineage.rounds.map((record) => ({ ...record, updates: [] })) };
    return true;
  }

  async #beginAnew(base: Base, cause: LogOrigin["cause"] | "gap", donor: string | undefined): Promise<void> {
    const { closedRound, root } = base;
    const record = {
      ...{ kind: "began" as const, cause, ...(donor !== undefined && { donor }) },
      ...{ closedRound, root, timeMs: this.#nowMs() },
    };
    await this.#append(record, donor === undefined ? [] : [donor]);
    this.#lineage = { began: record, start: record, rounds: [] };
    this.#snapshots = [];
    this.#base = base;
    this.#lastTriedRound = closedRound;
    this.#payloadBytes = 0;
  }

  async #append(record: LogRecord, about: readonly string[]): Promise<void> {
    if (this.#segments.isFresh) this.#saidNames.clear();
    const named = [...new Set(about)].flatMap((peer): LogRecord[] => {
      const name = this.#names.get(peer);
      if (name === undefined || this.#saidNames.get(peer) === name) return [];
      return [{ kind: "named", peer, name }];
    });
    await this.#segments.append([...named, record], this.#lineage && headOf(this.#lineage));
    for (const { peer, name } of named as { peer: string; name: string }[]) this.#saidNames.set(peer, name);
  }

  /** Writes what a replay may start from, beside everything else: bodies are replaced, never changed. */
  #snapshotIfDue(current: Base): void {
    const { keep } = this.#options;
    if (keep === "none") this.#base = undefined;
    if (keep === "none" || this.#writing !== undefined) return;
    const rounds = keep === "all" ? ALL_ROUNDS : keep === "auto" ? AUTO_ROUNDS : keep;
    const autoBytes = Math.max(AUTO_PAYLOADS_PER_BODY * current.body.byteLength, AUTO_PAYLOAD_BYTES);
    const isDue =
      current.closedRound - this.#lastTriedRound >= rounds ||
      (keep === "auto" && this.#payloadBytes >= autoBytes);
    const wanted = this.#base ?? (isDue ? current : undefined);
    if (wanted === undefined) return;
    this.#base = undefined;
    this.#lastTriedRound = wanted.closedRound;
    if (wanted === current) this.#payloadBytes = 0;
    const done = this.#snapshot(wanted, this.#lineage).finally(() => {
      this.#writing = undefined;
    });
    this.#writing = { closedRound: wanted.closedRound, done };
  }

  #snapshot({ closedRound, root, body }: Base, lineage: Lineage | undefined): Promise<void> {
    const path = snapshotPath(this.#snapshotDirectory, { closedRound, root });
    return this.#guard(
      "given a snapshot",
      async () => {
        await requireFreeSpace(this.#snapshotDirectory, FREE_BODIES * body.byteLength);
        await writeSnapshot(path, { runId: this.#options.runId, closedRound, root, body });
        if (lineage !== this.#lineage) return;
        await this.#keepSnapshotsOf(lineage);
        await this.#segments.prune(this.#snapshots[0] ?? closedRound);
      },
      "snapshot",
    );
  }

  /** The two newest snapshots of the lineage, with `all` also the oldest; removes the other files. */
  async #keepSnapshotsOf(lineage: Lineage | undefined): Promise<void> {
    const isOfLineage = ({ closedRound, path }: { closedRound: number; path: string }) => {
      const root = lineage && rootAt(lineage, closedRound);
      return root !== undefined && snapshotPath(this.#snapshotDirectory, { closedRound, root }) === path;
    };
    const { keep } = this.#options;
    const whole = (await listSnapshots(this.#snapshotDirectory)).filter(isOfLineage);
    const kept =
      keep === "none" ? [] : [...(keep === "all" ? whole.slice(0, -2).slice(0, 1) : []), ...whole.slice(-2)];
    await clearSnapshots(this.#snapshotDirectory, ({ path }) => kept.some((file) => file.path === path));
    this.#snapshots = kept.map(({ closedRound }) => closedRound);
  }

  /** Runs what may fail without harm. Lost records leave a log that begins anew, a lost snapshot an older one. */
  async #guard(
    what: string,
    work: () => Promise<void>,
    part: "records" | "snapshot" = "records",
  ): Promise<void> {
    try {
      await work();
      this.#troubled.delete(part);
    } catch (error) {
      if (part === "records") this.#lose();
      if (this.#troubled.has(part)) return;
      this.#troubled.add(part);
      this.#options.onTrouble(error, `the update log could not be ${what}; training goes on`);
    }
  }

  #lose(): void {
    this.#lineage = undefined;
    this.#snapshots = [];
    this.#base = undefined;
  }

  #nowMs(): number {
    return (this.#options.nowMs ?? Date.now)();
  }
}

function payloadBytesSince({ rounds }: Lineage, closedRound: number): number {
  let bytes = 0;
  for (const { round, updates } of rounds) {
    if (round < closedRound) continue;
    for (const { envelope } of updates) {
      const opened = openUpdate(new Uint8Array(Buffer.from(envelope, "base64")));
      if (opened.ok) bytes += opened.value.message.announcement.payloadBytes;
    }
  }
  return bytes;
}
