import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { bodyRoot } from "#protocol/core/merkle.ts";
import { sha256 } from "#protocol/net/hash.ts";
import type { LogOrigin } from "#protocol/ports.ts";
import { listSnapshots } from "./body-snapshots.ts";
import { type KeepLog, UpdateLog } from "./update-log.ts";
import { followUpdateLog, readUpdateLog } from "./update-log-reader.ts";
import { encodeRecord, type LogRecord, scanRecords } from "./update-log-records.ts";
import { listSegments, segmentPath } from "./update-log-segments.ts";

const RUN_ID = "ab".repeat(32);
const BODY_BYTES = 40;

let directory: string;
let troubles: string[];
let open: UpdateLog[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-log-"));
  troubles = [];
});
afterEach(async () => {
  for (const log of open) await log.close();
  open = [];
  await rm(directory, { recursive: true, force: true });
});

async function openLog(keep: KeepLog = "auto", segmentBytes?: number): Promise<UpdateLog> {
  const log = await UpdateLog.open(directory, {
    ...{ runId: RUN_ID, manifest: new TextEncoder().encode("{}"), keep },
    ...(segmentBytes !== undefined && { segmentBytes }),
    onTrouble: (_, what) => troubles.push(what),
    nowMs: () => 1_000,
  });
  open.push(log);
  return log;
}

/** The body at the start of a round, another one in each history. */
const bodyAt = (round: number, history = 0) => new Float32Array(BODY_BYTES / 4).fill(round + history / 2);
const rootOf = (round: number, history = 0) => bodyRoot(bodyAt(round, history), sha256);

const origin = (closedRound: number, cause: LogOrigin["cause"], history = 0): LogOrigin => ({
  ...{ cause, donor: undefined, closedRound },
  ...{ body: bodyAt(closedRound, history), root: rootOf(closedRound, history) },
});

async function closeRounds(log: UpdateLog, from: number, to: number, history = 0): Promise<void> {
  for (let round = from; round < to; round++) {
    await log.closed({
      round,
      updates: [],
      body: bodyAt(round + 1, history),
      root: rootOf(round + 1, history),
    });
  }
}

async function lineages() {
  const log = await readUpdateLog(directory);
  return log!.history.lineages.map(({ began, rounds }) => [
    began?.cause,
    ...rounds.map(({ round }) => round),
  ]);
}

const newestSegment = async () => {
  const log = join(directory, "log");
  return segmentPath(log, (await listSegments(log)).at(-1)!);
};

describe("records", () => {
  const record: fc.Arbitrary<LogRecord> = fc.record({
    kind: fc.constant("round" as const),
    round: fc.nat(1000),
    root: fc.constant(RUN_ID),
    timeMs: fc.nat(),
    updates: fc.array(
      fc.record({
        envelope: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString("base64")),
      }),
      { maxLength: 3 },
    ),
  });
  const some = fc.array(record, { minLength: 1, maxLength: 5 });
  const bytesOf = (records: readonly LogRecord[]) => Buffer.concat(records.map(encodeRecord));
  const read = (bytes: Uint8Array) => scanRecords(bytes).records.map((found) => found.record);

  test("are read as they were written", () => {
    fc.assert(
      fc.property(some, (records) => {
        expect(read(bytesOf(records))).toEqual(records);
      }),
    );
  });

  test("cut off anywhere leave those before the cut, and say where they end", () => {
    fc.assert(
      fc.property(some, fc.nat(), (records, where) => {
        const bytes = bytesOf(records);
        const cut = bytes.subarray(0, where % bytes.length);
        const { records: found, damage, end } = scanRecords(cut);
        expect(found.map((one) => one.record)).toEqual(records.slice(0, found.length));
        expect(end).toBe(bytesOf(records.slice(0, found.length)).length);
        expect(cut.length - end).toBeLessThan(encodeRecord(records[found.length]!).length);
        expect(damage).toEqual([]);
      }),
    );
  });

  test("with one bit changed lose the record that has it, and no other", () => {
    fc.assert(
      fc.property(some, fc.nat(), fc.integer({ min: 0, max: 7 }), (records, where, bit) => {
        const bytes = bytesOf(records);
        const at = where % bytes.length;
        bytes[at]! ^= 1 << bit;
        let hit = 0;
        for (let end = 0; ; hit++) {
          end += encodeRecord(records[hit]!).length;
          if (at < end) break;
        }
        const { records: found, damage } = scanRecords(bytes);
        expect(found.map((one) => one.record)).toEqual(records.toSpliced(hit, 1));
        expect(damage).toHaveLength(hit === records.length - 1 ? 0 : 1);
      }),
    );
  });
});

describe("a log", () => {
  test("goes on where it ended after a restart", async () => {
    const first = await openLog();
    await first.begin(origin(0, "genesis"));
    await closeRounds(first, 0, 3);
    await first.close();
    const second = await openLog();
    await second.begin(origin(3, "resumed"));
    await closeRounds(second, 3, 5);
    expect(await lineages()).toEqual([["genesis", 0, 1, 2, 3, 4]]);
    expect(troubles).toEqual([]);
  });

  test("takes back rounds that the checkpoint did not close", async () => {
    const first = await openLog();
    await first.begin(origin(0, "genesis"));
    await closeRounds(first, 0, 4);
    await first.close();
    const second = await openLog();
    await second.begin(origin(3, "resumed"));
    await closeRounds(second, 3, 4);
    expect(await lineages()).toEqual([["genesis", 0, 1, 2, 3]]);
  });

  test("begins anew where it is behind the checkpoint, or has another body", async () => {
    const first = await openLog();
    await first.begin(origin(0, "genesis"));
    await closeRounds(first, 0, 2);
    await first.close();
    const second = await openLog();
    await second.begin(origin(5, "resumed"));
    await closeRounds(second, 5, 6);
    await second.close();
    const third = await openLog();
    await third.begin(origin(6, "resumed", 1));
    await third.close();
    expect(await lineages()).toEqual([["genesis", 0, 1], ["resumed", 5], ["resumed"]]);
  });

  test("says that a body was taken from another peer, and whose", async () => {
    const log = await openLog();
    log.named("peer-b", "bea");
    await log.begin(origin(0, "genesis"));
    await closeRounds(log, 0, 4);
    await log.begin({ ...origin(3, "diverged", 1), donor: "peer-b" });
    await closeRounds(log, 3, 5, 1);
    expect(await lineages()).toEqual([
      ["genesis", 0, 1, 2, 3],
      ["diverged", 3, 4],
    ]);
    const { history } = (await readUpdateLog(directory))!;
    expect(history.newest!.began).toMatchObject({ donor: "peer-b", closedRound: 3, root: rootOf(3, 1) });
    expect(history.names.get("peer-b")).toBe("bea");
  });

  test("is whole again after a torn record, wherever it was torn", async () => {
    const first = await openLog();
    await first.begin(origin(0, "genesis"));
    await closeRounds(first, 0, 2);
    await first.close();
    const whole = await readFile(await newestSegment());
    await closeRounds(await openLog(), 2, 2);
    const torn = encodeRecord({ kind: "undone", fromRound: 0, timeMs: 0 });
    for (let bytes = 1; bytes < torn.length; bytes += 7) {
      await writeFile(await newestSegment(), Buffer.concat([whole, torn.subarray(0, bytes)]));
      expect((await readUpdateLog(directory))!.tail).toMatchObject({ at: whole.length, bytes });
      const log = await openLog();
      await log.begin(origin(2, "resumed"));
      expect(await readFile(await newestSegment())).toEqual(whole);
    }
    expect(troubles[0]).toContain("1 torn bytes");
  });

  test("is read while it is written: always a beginning of it", async () => {
    const log = await openLog();
    await log.begin(origin(0, "genesis"));
    let isWriting = true;
    const writing = closeRounds(log, 0, 60).finally(() => {
      isWriting = false;
    });
    const seen: number[] = [];
    for (let goesOn = true; goesOn; ) {
      goesOn = isWriting;
      const { history, damage } = (await readUpdateLog(directory))!;
      const rounds = history.newest!.rounds.map(({ round }) => round);
      expect(rounds).toEqual(rounds.map((_, index) => index));
      expect(damage).toEqual([]);
      seen.push(rounds.length);
    }
    await writing;
    expect(seen.at(-1)).toBe(60);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  });

  test("is followed across its files", async () => {
    const log = await openLog("auto", 500);
    await log.begin(origin(0, "genesis"));
    const { end } = (await readUpdateLog(directory))!;
    const writing = closeRounds(log, 0, 20);
    const rounds: number[] = [];
    const stop = new AbortController();
    for await (const record of followUpdateLog(directory, end, stop.signal)) {
      if (record.kind === "round") rounds.push(record.round);
      if (rounds.length === 20) stop.abort();
    }
    await writing;
    expect(rounds).toEqual(Array.from({ length: 20 }, (_, round) => round));
    expect((await listSegments(join(directory, "log"))).length).toBeGreaterThan(5);
  });
});

describe("what is kept to verify from", () => {
  const snapshots = async () =>
    (await listSnapshots(join(directory, "log", "snapshots"))).map(({ closedRound }) => closedRound);

  test("is two snapshots and the payloads since the older one: of so many rounds at least", async () => {
    const log = await openLog(3);
    await log.begin(origin(0, "genesis"));
    for (let round = 0; round < 20; round++) {
      await closeRounds(log, round, round + 1);
      await log.idle();
      expect(round + 1 - log.payloadFloor).toBeGreaterThanOrEqual(Math.min(round + 1, 3));
      expect(round + 1 - log.payloadFloor).toBeLessThanOrEqual(6);
    }
    expect(await snapshots()).toEqual([15, 18]);
    expect(log.payloadFloor).toBe(15);
  });

  test("begins with a body that was taken from another peer", async () => {
    const log = await openLog(3);
    await log.begin(origin(0, "genesis"));
    await closeRounds(log, 0, 5);
    await log.idle();
    await log.begin(origin(4, "diverged", 1));
    expect(log.payloadFloor).toBe(4);
    await closeRounds(log, 4, 6, 1);
    await log.idle();
    expect(await snapshots()).toEqual([4]);
  });

  test("is there again after a restart, also one before the first snapshot", async () => {
    const first = await openLog(3);
    await first.begin(origin(0, "genesis"));
    await first.close();
    const second = await openLog(3);
    await second.begin(origin(0, "resumed"));
    expect(second.payloadFloor).toBe(0);
    await closeRounds(second, 0, 8);
    await second.close();
    const third = await openLog(3);
    await third.begin(origin(8, "resumed"));
    expect(third.payloadFloor).toBe((await snapshots())[0]);
    expect(await lineages()).toEqual([["genesis", 0, 1, 2, 3, 4, 5, 6, 7]]);
  });

  test("is nothing with none, and everything with all", async () => {
    const none = await openLog("none");
    await none.begin(origin(0, "genesis"));
    await closeRounds(none, 0, 3);
    expect(none.payloadFloor).toBe(Number.POSITIVE_INFINITY);
    expect(await snapshots()).toEqual([]);
    await none.close();
    const all = await openLog("all");
    await all.begin(origin(3, "resumed"));
    for (let round = 3; round < 300; round += 33) {
      await closeRounds(all, round, round + 33);
      await all.idle();
    }
    expect((await snapshots()).length).toBe(3);
    expect(all.payloadFloor).toBe(3);
  });

  test("is given up for the checkpoint's sake, and kept again later", async () => {
    const log = await openLog(3);
    await log.begin(origin(0, "genesis"));
    await closeRounds(log, 0, 5);
    expect(await log.yieldSpace()).toBe(true);
    expect(await snapshots()).toEqual([]);
    expect(log.payloadFloor).toBe(Number.POSITIVE_INFINITY);
    expect(await log.yieldSpace()).toBe(false);
    await closeRounds(log, 5, 9);
    await log.idle();
    expect(await snapshots()).toEqual([8]);
  });

  test("bounds the records too: the oldest files go", async () => {
    const log = await openLog(3, 400);
    await log.begin(origin(0, "genesis"));
    await closeRounds(log, 0, 90);
    await log.idle();
    await closeRounds(log, 90, 93);
    await log.idle();
    const { history } = (await readUpdateLog(directory))!;
    expect((await listSegments(join(directory, "log"))).length).toBeLessThan(25);
    expect(history.lineages).toHaveLength(1);
    expect(history.newest!.began).toBeUndefined();
    const first = history.newest!.rounds[0]!.round;
    expect(first).toBeGreaterThan(30);
    expect(history.newest!.start).toEqual({ closedRound: first, root: rootOf(first) });
    expect(history.newest!.rounds.at(-1)!.round).toBe(92);
  });
});

test("where the log cannot be written, it says so once and begins anew when it can", async () => {
  await writeFile(join(directory, "log"), "in the way");
  const log = await openLog();
  await log.begin(origin(0, "genesis"));
  await closeRounds(log, 0, 3);
  expect(troubles).toHaveLength(1);
  await rm(join(directory, "log"));
  await (await openLog()).close();
  await closeRounds(log, 3, 5);
  expect(await lineages()).toEqual([["gap", 4]]);
  expect((await stat(join(directory, "log"))).isDirectory()).toBe(true);
  expect(await readdir(join(directory, "log"))).toContain("run.json");
});

test.skipIf(process.platform === "win32")(
  "without room it gives way to the checkpoint, says so, and goes on without snapshots",
  async () => {
    const script = join(import.meta.dirname, "testing", "log-without-room.ts");
    const command = `ulimit -f 128 && exec "$0" "$1" "$2"`;
    const { stdout } = await promisify(execFile)("bash", [
      "-c",
      command,
      process.execPath,
      script,
      directory,
    ]);
    expect(JSON.parse(stdout)).toEqual({
      ...{ before: [4, 6], refused: "DISK_FULL", after: [], finally: [], rounds: 12 },
      troubles: [
        "the disk is full: what was kept for glossa verify is given up",
        "the update log could not be given a snapshot; training goes on: DISK_FULL",
      ],
    });
  },
);
