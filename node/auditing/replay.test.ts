// What simulated peers log, replayed: through losses, crashes and a divided network it leads to the bodies that they held.
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { UpdateAnnouncement } from "#protocol/core/types.ts";
import type { ClosedRound, LogOrigin, UpdateLogPort } from "#protocol/ports.ts";
import { RUN_ID, Swarm, type SwarmOptions } from "#protocol/testing/swarm.ts";
import { headOf, type Lineage, rootAt, UpdateHistory } from "../storage/update-log-history.ts";
import type { RoundRecord } from "../storage/update-log-records.ts";
import { VerificationFailedError } from "./errors.ts";
import { Replay } from "./replay.ts";

/** As the files keep it, in memory: simulated time does not wait for a disk. */
class MemoryLog implements UpdateLogPort {
  readonly history = new UpdateHistory();
  readonly bodies = new Map<Lineage, Float32Array>();
  readonly announcements = new Map<string, UpdateAnnouncement>();
  lates = 0;

  async begin({ cause, closedRound, root, body }: LogOrigin): Promise<void> {
    const { newest } = this.history;
    if (cause === "resumed" && newest !== undefined && rootAt(newest, closedRound) === root) {
      return this.history.add({ kind: "undone", fromRound: closedRound, timeMs: 0 });
    }
    this.history.add({ kind: "began", cause, closedRound, root, timeMs: 0 });
    this.bodies.set(this.history.newest!, body);
  }

  async closed({ round, root, updates }: ClosedRound): Promise<void> {
    for (const { update, late } of updates) {
      this.announcements.set(base64(update.envelope), update.announcement);
      if (late) this.lates++;
    }
    const logged = updates.map(({ update }) => ({ envelope: base64(update.envelope) }));
    this.history.add({ kind: "round", round, root, timeMs: 0, updates: logged });
  }
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

async function loggedSwarm(options: SwarmOptions) {
  const swarm = new Swarm({ ...options, averaging: { minimumPeers: 3, ...options.averaging } });
  const logs = new Map<string, MemoryLog>();
  for (const [name, stepMs] of [
    ["ada", 400],
    ["bea", 500],
    ["cleo", 900],
  ] as const) {
    const updateLog = new MemoryLog();
    logs.set(name, updateLog);
    await swarm.add(name, {
      updateLog,
      stepMs,
      rows: Array.from({ length: 20 }, (_, row) => row + stepMs / 100),
    });
  }
  return { swarm, logs };
}

function replayOf(swarm: Swarm, log: MemoryLog, lineage: Lineage): Replay {
  const payloads = new Map(swarm.list.flatMap(({ disk }) => [...disk.archive]));
  const source = {
    ...{ runId: RUN_ID, config: swarm.config, layout: swarm.layout },
    open: async (envelope: Uint8Array) => ({
      announcement: log.announcements.get(base64(envelope))!,
      isSigned: true,
    }),
    payload: async (id: string) => {
      const bytes = payloads.get(id);
      const isWhole = bytes !== undefined && createHash("sha256").update(bytes).digest("hex") === id;
      return bytes && { path: id, bytes, isWhole };
    },
  };
  return new Replay(source, lineage.start!.closedRound, log.bodies.get(lineage)!);
}

/** Replays everything a peer has logged, all its histories; returns the rounds that were right. */
async function replayed(swarm: Swarm, name: string, log: MemoryLog): Promise<number> {
  let rounds = 0;
  for (const lineage of log.history.lineages) {
    const replay = replayOf(swarm, log, lineage);
    for (const record of lineage.rounds) {
      await replay.apply(record);
      rounds++;
    }
    expect(replay.root).toBe(headOf(lineage)!.root);
  }
  const { closedRound, closedRoot } = swarm.peer(name).driver.status();
  expect(headOf(log.history.newest!)).toEqual(expect.objectContaining({ closedRound, root: closedRoot }));
  return rounds;
}

describe("a log replayed", () => {
  test.each([
    { variant: "spec-opt", averaging: { codec: "int8" } },
    { variant: "spec-opt", averaging: { codec: "topk", weighting: "tokens", openRounds: 3 } },
    { variant: "trim", averaging: { codec: "int4" } },
    { variant: "glob", averaging: { codec: "sign" } },
  ] as const)("gives the bodies that peers held: $variant, $averaging", async (options) => {
    for (const seed of [1, 2, 3]) {
      const { swarm, logs } = await loggedSwarm({
        ...options,
        seed,
        conditions: { loss: 0.2, duplication: 0.1 },
      });
      await swarm.reach(9);
      for (const [name, log] of logs) {
        expect(log.history.lineages.length).toBeGreaterThan(0);
        // Where so much is lost, a peer may be outvoted and heal: then it has more than one history.
        expect(await replayed(swarm, name, log)).toBeGreaterThanOrEqual(4);
      }
    }
  });

  test("gives them after crashes between log and checkpoint, wherever the power goes", async () => {
    for (const writes of [3, 8, 14, 21]) {
      const { swarm, logs } = await loggedSwarm({ seed: writes });
      const bea = swarm.peer("bea");
      let left = writes;
      bea.disk.onWritten = () => {
        if (--left === 0) swarm.crash(bea);
      };
      await swarm.clock.run(120_000, () => !bea.power.on);
      await swarm.clock.run(4_000);
      await swarm.restart(bea);
      await swarm.reach(9);
      for (const [name, log] of logs) expect(await replayed(swarm, name, log)).toBeGreaterThanOrEqual(5);
      // It is never behind the checkpoint: then it would have begun anew with it.
      const causes = logs.get("bea")!.history.lineages.map(({ began }) => began!.cause);
      expect(causes).not.toContain("resumed");
    }
  });

  test("of a peer that joined late begins with the body that it took", async () => {
    const { swarm, logs } = await loggedSwarm({});
    await swarm.reach(6);
    const updateLog = new MemoryLog();
    const dora = await swarm.add("dora", { updateLog });
    await swarm.clock.run(120_000, () => dora.count("published") > 1);
    await swarm.reach(dora.round + 3);
    const { newest } = updateLog.history;
    expect(newest!.began).toMatchObject({ cause: "join" });
    expect(newest!.began!.closedRound).toBeGreaterThan(3);
    expect(await replayed(swarm, "dora", updateLog)).toBeGreaterThanOrEqual(3);
    const ada = logs.get("ada")!.history.newest!;
    for (const { round, root, updates } of newest!.rounds) {
      const theirs = ada.rounds.find((record) => record.round === round);
      if (theirs !== undefined) expect([root, updates]).toEqual([theirs.root, theirs.updates]);
    }
  });
});

describe("a log that was changed", () => {
  test("is found out at the round where an update is missing, doubled, or from another round", async () => {
    const { swarm, logs } = await loggedSwarm({});
    await swarm.reach(7);
    const log = logs.get("ada")!;
    const lineage = log.history.newest!;
    const [three, four] = [lineage.rounds[3]!, lineage.rounds[4]!];
    const cases: readonly (readonly [string, Partial<RoundRecord>])[] = [
      ["root", { updates: three.updates.slice(1) }],
      ["root", { root: four.root }],
      ["update-set", { updates: [...three.updates, three.updates[0]!] }],
      ["update-set", { updates: [...three.updates.slice(1), four.updates[0]!] }],
    ];
    for (const [kind, change] of cases) {
      const replay = replayOf(swarm, log, lineage);
      for (const record of lineage.rounds.slice(0, 3)) await replay.apply(record);
      const found = await replay.apply({ ...three, ...change }).catch((error: unknown) => error);
      expect(found).toBeInstanceOf(VerificationFailedError);
      expect(found).toMatchObject({ kind, round: 3 });
    }
  });

  test("knows which updates came late", async () => {
    const { swarm, logs } = await loggedSwarm({ averaging: { openRounds: 3, quorum: 0.3 } });
    await swarm.reach(4);
    swarm.peer("cleo").trainerOptions.stepMs = 2_500;
    await swarm.reach(12);
    const lates = swarm.peer("ada").count("late-update");
    expect(lates).toBeGreaterThan(0);
    expect(logs.get("ada")!.lates).toBeGreaterThan(0);
    expect(logs.get("ada")!.lates).toBeLessThanOrEqual(lates);
  });
});
