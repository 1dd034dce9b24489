// Verifies the update log of a peer, stopped or running: from a body that it kept (or the one of the run's seed) through every
// update since to the body that it holds now. Takes no lock and changes nothing.
import { join } from "node:path";
import { bodyRoot } from "#protocol/core/merkle.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { verifyOpened } from "#protocol/net/signatures.ts";
import type { ProtocolCheckpoint } from "#protocol/ports.ts";
import { openUpdate } from "#protocol/wire/signed.ts";
import { readSnapshot, type SnapshotFile, snapshotPath } from "../storage/body-snapshots.ts";
import { StateCorruptError } from "../storage/errors.ts";
import { readProtocolCheckpoint } from "../storage/protocol-store.ts";
import { type BodyMark, headOf, type Lineage, rootAt } from "../storage/update-log-history.ts";
import {
  LOG_RUN_FILE,
  logSnapshots,
  type ReadLog,
  readLogRun,
  readUpdateLog,
  UPDATE_LOG_DIRECTORY,
} from "../storage/update-log-reader.ts";
import { LogNotFoundError, NothingToVerifyError, VerificationFailedError } from "./errors.ts";
import { PayloadFiles } from "./payload-files.ts";
import { type OpenedUpdate, Replay } from "./replay.ts";
import { type LogTerms, readTerms } from "./run-terms.ts";

export interface VerifyOptions {
  /** Closed round of the snapshot to start from; the oldest one where it is left out. */
  readonly from?: number | undefined;
  readonly signal: AbortSignal;
  readonly onProgress?: (now: VerifyProgress) => void;
}

export interface VerifyProgress {
  readonly round: number;
  readonly fromRound: number;
  readonly toRound: number;
  readonly updates: number;
}

export interface Verified {
  readonly runId: string;
  readonly runName: string;
  readonly group: string | undefined;
  /** `seed`: the body that every peer computes; `snapshot`: one that this peer kept. */
  readonly start: "seed" | "snapshot";
  readonly startRoot: string;
  /** Whether the start is the run's beginning, as its manifest says it. */
  readonly isGenesis: boolean;
  /** First round, and the one after the last: what was verified is the body at its start. */
  readonly fromRound: number;
  readonly toRound: number;
  readonly updates: number;
  readonly authors: readonly string[];
  readonly root: string;
  /** Closed rounds of the snapshots that were compared on the way. */
  readonly snapshots: readonly number[];
  /** Closed round of the body that the peer holds, where it was met and equal. */
  readonly heldRound: number | undefined;
  /** Bytes of a last record that is not whole: being written, or torn by a crash. */
  readonly tornBytes: number;
}

/** A peer prunes while it is read: what was to be started from may be gone before it is read. */
const MAX_TRIES = 4;

/** @throws {VerificationFailedError} {NothingToVerifyError} {LogNotFoundError} {StateCorruptError} */
export async function verifyLog(stateDirectory: string, options: VerifyOptions): Promise<Verified> {
  const bound = await readLogRun(stateDirectory);
  if (bound === undefined) throw new LogNotFoundError(`in ${stateDirectory}`, "start the peer once");
  const terms = readTerms(
    bound.runId,
    bound.manifest,
    join(stateDirectory, UPDATE_LOG_DIRECTORY, LOG_RUN_FILE),
  );
  for (let tries = 1; ; tries++) {
    const before = await logSnapshots(stateDirectory);
    try {
      return await verifyOnce(stateDirectory, terms, options);
    } catch (error) {
      const isPruned = error instanceof VerificationFailedError || error instanceof NothingToVerifyError;
      const hasMoved = (await logSnapshots(stateDirectory))[0]?.path !== before[0]?.path;
      if (!isPruned || !hasMoved || options.from !== undefined || tries === MAX_TRIES) throw error;
    }
  }
}

async function verifyOnce(directory: string, terms: LogTerms, options: VerifyOptions): Promise<Verified> {
  const { signal, onProgress } = options;
  const { log, lineage, head, held } = await readState(directory, signal);
  const snapshots = new Map(
    (await logSnapshots(directory))
      .filter((file) => isOf(lineage, file, directory))
      .map((file) => [file.closedRound, file] as const),
  );
  const start = await startOf({ terms, lineage, head, snapshots }, options);
  const heldRoot = held && bodyRoot(held.closedBody, sha256);
  const payloads = new PayloadFiles(directory);
  const { runId, config, layout } = terms;
  const replay = new Replay(
    { runId, config, layout, open: openSigned, payload: (id) => payloads.find(id) },
    start.closedRound,
    start.body,
  );
  const records = new Map(lineage.rounds.map((record) => [record.round, record]));
  const compared: number[] = [];
  let heldRound: number | undefined;
  for (;;) {
    signal.throwIfAborted();
    const { closedRound, root, updates } = replay;
    const file = snapshots.get(closedRound);
    if (file !== undefined && closedRound !== start.closedRound) {
      await requireSnapshot(file, root);
      compared.push(closedRound);
    }
    if (held?.closedRound === closedRound) {
      const found = `the peer's checkpoint has the body ${heldRoot} where the log leads to ${root}`;
      if (heldRoot !== root) throw new VerificationFailedError("body", closedRound, found);
      heldRound = closedRound;
    }
    onProgress?.({ round: closedRound, fromRound: start.closedRound, toRound: head.closedRound, updates });
    if (closedRound === head.closedRound) break;
    const record = records.get(closedRound);
    if (record === undefined) throw damagedRecord(closedRound, log);
    await replay.apply(record);
  }
  return {
    runId,
    runName: config.name,
    group: terms.group,
    ...{ start: start.from, startRoot: start.root, isGenesis: start.isGenesis },
    ...{ fromRound: start.closedRound, toRound: replay.closedRound },
    ...{ updates: replay.updates, authors: [...replay.authors], root: replay.root },
    snapshots: compared,
    heldRound,
    tornBytes: log.tail?.bytes ?? 0,
  };
}

interface LoggedState {
  readonly log: ReadLog;
  readonly lineage: Lineage;
  readonly head: BodyMark;
  readonly held: ProtocolCheckpoint | undefined;
}

/** The checkpoint is read first: the log is written before it, so that it reaches as far at least. */
async function readState(directory: string, signal: AbortSignal): Promise<LoggedState> {
  for (let tries = 1; ; tries++) {
    const held = (await readProtocolCheckpoint(directory, signal))?.checkpoint;
    const log = await readUpdateLog(directory);
    const lineage = log?.history.newest;
    const head = lineage && headOf(lineage);
    if (log === undefined || lineage === undefined || head === undefined) {
      const damaged = log?.damage[0] ?? log?.tail;
      if (damaged !== undefined) throw damagedRecord(held?.closedRound ?? 0, log!);
      throw new LogNotFoundError(`in ${directory}`, "it begins with the peer's first body");
    }
    const reaches =
      held === undefined ||
      (held.closedRound <= head.closedRound && held.closedRound >= (lineage.start?.closedRound ?? 0));
    if (reaches) return { log, lineage, head, held };
    // Another body may have been taken between the two reads.
    if (tries < MAX_TRIES) continue;
    if (log.tail !== undefined || log.damage.length > 0) throw damagedRecord(head.closedRound, log);
    const found = `the log ends here, and the peer holds the body of round ${held.closedRound}`;
    throw new VerificationFailedError("record", head.closedRound, found);
  }
}

interface Start extends BodyMark {
  readonly body: Float32Array;
  readonly from: "seed" | "snapshot";
  readonly isGenesis: boolean;
}

interface StartChoice {
  readonly terms: LogTerms;
  readonly lineage: Lineage;
  readonly head: BodyMark;
  readonly snapshots: ReadonlyMap<number, SnapshotFile>;
}

async function startOf(
  { terms, lineage, head, snapshots }: StartChoice,
  options: VerifyOptions,
): Promise<Start> {
  const rounds = [...snapshots.keys()].sort((a, b) => a - b);
  const isFromSeed = lineage.start?.closedRound === 0 && terms.config.initialBody === undefined;
  const wanted = options.from ?? rounds[0] ?? (isFromSeed ? 0 : undefined);
  const kept = rounds.length === 0 ? "none" : `those of rounds ${rounds.join(", ")}`;
  if (wanted === undefined || (!snapshots.has(wanted) && !(wanted === 0 && isFromSeed))) {
    throw new NothingToVerifyError(
      `the log since round ${lineage.start?.closedRound ?? 0} has no snapshot${wanted === undefined ? "" : ` of round ${wanted}`} ` +
        `(it keeps ${kept}); snapshots follow the first closed round, unless the peer was started with --keep-log none`,
    );
  }
  const recorded = rootAt(lineage, wanted);
  const file = snapshots.get(wanted);
  const seed = wanted === 0 ? terms.genesis() : undefined;
  const snapshot = file === undefined ? undefined : await requireSnapshot(file, recorded);
  if (snapshot !== undefined && snapshot.runId !== terms.runId) {
    throw new VerificationFailedError("snapshot", wanted, `${file!.path} is of another run`, file);
  }
  const body = snapshot?.body ?? seed!;
  if (body.length !== terms.layout.total) {
    throw new VerificationFailedError("snapshot", wanted, `it has ${body.length} values`, file);
  }
  const root = bodyRoot(body, sha256);
  const genesisRoot =
    wanted !== 0 ? undefined : seed === undefined ? terms.config.initialBody : bodyRoot(seed, sha256);
  if (genesisRoot !== undefined && genesisRoot !== (recorded ?? root)) {
    const found = `the run starts from the body ${genesisRoot} and the log from ${recorded ?? root}`;
    throw new VerificationFailedError("genesis", 0, found);
  }
  if (wanted > head.closedRound) throw new NothingToVerifyError(`the log ends at round ${head.closedRound}`);
  return {
    ...{ closedRound: wanted, root, body },
    from: file === undefined ? "seed" : "snapshot",
    isGenesis: genesisRoot !== undefined,
  };
}

/** The snapshot, whole and with the root that is due. */
async function requireSnapshot(file: SnapshotFile, root: string | undefined) {
  const { closedRound, path } = file;
  const wrong = (found: string) => new VerificationFailedError("snapshot", closedRound, found, { path });
  try {
    const snapshot = await readSnapshot(path);
    if (snapshot === undefined) throw wrong(`the snapshot ${path} is not there any more`);
    const actual = bodyRoot(snapshot.body, sha256);
    if (actual !== snapshot.root || actual !== (root ?? actual) || snapshot.closedRound !== closedRound) {
      throw wrong(`the snapshot ${path} holds the body ${actual}, not ${root ?? snapshot.root}`);
    }
    return snapshot;
  } catch (error) {
    throw error instanceof StateCorruptError
      ? wrong(`the snapshot ${path} is damaged (${error.reason})`)
      : error;
  }
}

/** Whether a file is of the lineage, by the root in its name; where that root's record is damaged, by its round alone. */
function isOf(lineage: Lineage, file: SnapshotFile, directory: string): boolean {
  const root = rootAt(lineage, file.closedRound);
  if (root === undefined) {
    const [first, last] = [lineage.start?.closedRound ?? 0, headOf(lineage)?.closedRound ?? 0];
    return file.closedRound > first && file.closedRound < last;
  }
  const snapshots = join(directory, UPDATE_LOG_DIRECTORY, "snapshots");
  return snapshotPath(snapshots, { closedRound: file.closedRound, root }) === file.path;
}

function damagedRecord(round: number, { damage, tail }: ReadLog): VerificationFailedError {
  const place = damage[0] ?? tail;
  const where =
    place === undefined ? "" : ` (${place.bytes} bytes at ${place.at} of ${place.path} are not a record)`;
  const found = `the log has no whole record of this round${where}`;
  return new VerificationFailedError("record", round, found, { path: place?.path });
}

async function openSigned(envelope: Uint8Array): Promise<OpenedUpdate> {
  const opened = openUpdate(envelope);
  if (!opened.ok) return { problem: opened.rejection.detail };
  return { announcement: opened.value.message.announcement, isSigned: await verifyOpened(opened.value) };
}
