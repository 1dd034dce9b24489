import { describe, expect, it } from "vitest";
import { expectAgreement, expectNothingLost, finish, swarmOf } from "./testing/expectations.ts";
import { Swarm } from "./testing/swarm.ts";

const NAMES = ["ada", "bea", "cleo"];

describe("a swarm", () => {
  it("holds bit-identical bodies after every round", async () => {
    const swarm = await swarmOf(NAMES);
    expect(await swarm.reach(8)).toBe(true);
    expectAgreement(swarm, 7);
    expect(swarm.list.map((peer) => peer.count("diverged"))).toEqual([0, 0, 0]);
    expect(swarm.list.map((peer) => peer.count("late-update"))).toEqual([0, 0, 0]);
  });

  it("counts every update of every round when nobody is late", async () => {
    const swarm = await swarmOf(NAMES);
    await swarm.reach(5);
    const updates = swarm
      .peer("ada")
      .driver.status()
      .rounds.map((round) => round.updates);
    expect(updates).toEqual([3, 3, 3, 3, 3]);
  });

  it("of sixteen holds one body and counts every update", async () => {
    const names = Array.from({ length: 16 }, (_, index) => `peer-${index}`);
    const swarm = await swarmOf(names);
    expect(await swarm.reach(4)).toBe(true);
    expectAgreement(swarm, 3);
    expect(
      swarm
        .peer("peer-0")
        .driver.status()
        .rounds.map(({ updates }) => updates),
    ).toEqual([16, 16, 16, 16]);
  });

  it("waits with round 0 for the run's minimum of peers", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 2 } });
    const ada = await swarm.add("ada");
    await swarm.clock.run(60_000);
    expect(ada.driver.status().phase).toBe("waiting");
    await swarm.add("bea");
    expect(await swarm.reach(2)).toBe(true);
    expectAgreement(swarm, 1);
  });

  it("of one peer trains on alone", async () => {
    const swarm = await swarmOf(["ada"]);
    expect(await swarm.reach(5)).toBe(true);
    expect(
      swarm
        .peer("ada")
        .driver.status()
        .rounds.map(({ updates }) => updates),
    ).toEqual([1, 1, 1, 1, 1]);
  });

  it("leaves together after the wished rounds, all with one root", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 3 } });
    for (const [index, name] of NAMES.entries())
      await swarm.add(name, { rounds: 4, stepMs: 300 + 200 * index });
    await finish(swarm);
    const outcomes = swarm.list.map(({ outcome }) => outcome!);
    expect(outcomes.map(({ reason, round }) => [reason, round])).toEqual(NAMES.map(() => ["completed", 4]));
    expect(new Set(outcomes.map(({ root }) => root)).size).toBe(1);
  });

  it.each([
    { codec: "float32" },
    { codec: "int8" },
    { codec: "int4" },
    { codec: "sign" },
    { codec: "topk" },
    { codec: "topk", topK: 256 },
  ] as const)("agrees and loses nothing of what anyone trained with %o", async (averaging) => {
    const swarm = new Swarm({ averaging: { minimumPeers: 3, ...averaging } });
    for (const name of NAMES) await swarm.add(name, { rounds: 5 });
    await finish(swarm);
    expect(new Set(swarm.list.map(({ outcome }) => outcome!.root)).size).toBe(1);
    for (const peer of swarm.list) expectNothingLost(swarm, peer, swarm.peer("ada"));
  });
});

describe("a late joiner", () => {
  it("takes the body from the others, warms up and then trains with them", async () => {
    const swarm = await swarmOf(["ada", "bea"]);
    await swarm.reach(6);
    const cleo = await swarm.add("cleo");
    expect(await swarm.clock.run(60_000, () => cleo.count("published") > 2)).toBe(true);
    await swarm.reach(cleo.round + 3);
    const events = cleo.events.map(({ type }) => type);
    expect(events.indexOf("synced")).toBeLessThan(events.indexOf("warm-up-step"));
    expect(events.indexOf("warm-up-step")).toBeLessThan(events.indexOf("round-started"));
    expect(cleo.events.some((event) => event.type === "round-started" && event.round < 5)).toBe(false);
    expectAgreement(swarm, 8);
    const { rounds } = swarm.peer("ada").driver.status();
    expect(rounds.at(-1)?.updates).toBe(3);
  });

  it("finds another donor when the first is gone in the middle", async () => {
    const swarm = await swarmOf(NAMES);
    await swarm.reach(4);
    const dora = await swarm.add("dora");
    await swarm.clock.run(10_000, () => dora.driver.status().phase === "syncing");
    swarm.crash(swarm.peer("ada"));
    expect(await swarm.clock.run(120_000, () => dora.count("published") > 1)).toBe(true);
    await swarm.reach(dora.round + 2);
    expectAgreement(swarm, 6);
  });
});

describe("a peer that crashes", () => {
  it("comes back to the round it was in and loses nothing", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 3 } });
    for (const name of NAMES) await swarm.add(name, { rounds: 10 });
    await swarm.reach(3);
    const bea = swarm.peer("bea");
    await swarm.clock.run(700);
    swarm.crash(bea);
    await swarm.clock.run(1_500);
    await swarm.restart(bea);
    await finish(swarm);
    expectAgreement(swarm, 9);
    expectNothingLost(swarm, bea, swarm.peer("ada"));
  });

  it("catches up after many rounds and keeps the progress that it had not published", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 3 } });
    for (const name of NAMES) await swarm.add(name, { rounds: 16 });
    await swarm.reach(3);
    const bea = swarm.peer("bea");
    await swarm.clock.run(1_200);
    swarm.crash(bea);
    await swarm.clock.run(25_000);
    await swarm.restart(bea);
    await finish(swarm);
    expect(bea.count("synced")).toBeGreaterThan(0);
    expectAgreement(swarm, 14);
    expectNothingLost(swarm, bea, swarm.peer("ada"));
  });

  it.each([
    ["after its payload is written", "putPayload", 4],
    ["after its checkpoint is written and before it is announced", "save", 5],
  ] as const)("%s, makes the same update once", async (_, operation, nth) => {
    const swarm = new Swarm({ averaging: { minimumPeers: 2 } });
    const [ada, bea] = [await swarm.add("ada", { rounds: 8 }), await swarm.add("bea", { rounds: 8 })];
    let writes = 0;
    bea.disk.onWritten = (written) => {
      if (written === operation && ++writes === nth) swarm.crash(bea);
    };
    expect(await swarm.clock.run(60_000, () => !bea.power.on)).toBe(true);
    await swarm.clock.run(2_000);
    await swarm.restart(bea);
    await finish(swarm);
    expectAgreement(swarm, 6);
    expect(swarm.network.penalties).toEqual([]);
    expectNothingLost(swarm, bea, ada);
  });

  it("is not waited for once it has been silent too long", async () => {
    const swarm = await swarmOf(NAMES);
    await swarm.reach(2);
    swarm.crash(swarm.peer("cleo"));
    expect(await swarm.reach(6, 60_000)).toBe(true);
    await swarm.clock.run(10_000);
    expect(swarm.peer("ada").count("peer-left")).toBe(1);
    expectAgreement(swarm, 5);
  });
});

describe("a leaver", () => {
  it("says goodbye in the middle of a round and is not waited for", async () => {
    const swarm = await swarmOf(NAMES);
    await swarm.reach(2);
    await swarm.clock.run(800);
    const startMs = swarm.clock.nowMs();
    swarm.peer("cleo").driver.requestStop();
    expect(await swarm.clock.run(2_000, () => swarm.peer("cleo").outcome !== undefined)).toBe(true);
    expect(swarm.peer("cleo").outcome?.reason).toBe("stopped");
    expect(await swarm.reach(4)).toBe(true);
    // Two rounds of two seconds, not one with a deadline of thirty in it.
    expect(swarm.clock.nowMs() - startMs).toBeLessThan(8_000);
    expectAgreement(swarm, 3);
  });
});

describe("a slow peer", () => {
  it("is late, and its updates count all the same", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 3, maxRoundMs: 3_000 } });
    for (const name of ["ada", "bea"]) await swarm.add(name, { rounds: 12 });
    const cleo = await swarm.add("cleo", { rounds: 12, stepMs: 800 });
    await finish(swarm);
    expect(swarm.peer("ada").count("late-update")).toBeGreaterThan(6);
    expect(cleo.count("fell-behind")).toBe(0);
    expectAgreement(swarm, 10);
    expectNothingLost(swarm, cleo, swarm.peer("ada"));
  });

  it("that falls out of reach stops, syncs and carries its progress", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 3, maxRoundMs: 3_000 } });
    for (const name of ["ada", "bea"]) await swarm.add(name, { rounds: 14 });
    const cleo = await swarm.add("cleo", { rounds: 14, stepMs: 3_000 });
    await finish(swarm);
    expect(cleo.count("fell-behind")).toBeGreaterThan(0);
    expectAgreement(swarm, 10);
    expectNothingLost(swarm, cleo, swarm.peer("ada"));
  });
});

describe("a peer whose disk is full", () => {
  it("says goodbye and ends with the cause; the others go on", async () => {
    const swarm = await swarmOf(NAMES);
    await swarm.reach(2);
    const cleo = swarm.peer("cleo");
    cleo.disk.full = true;
    expect(await swarm.clock.run(20_000, () => cleo.failure !== undefined)).toBe(true);
    expect(cleo.failure).toMatchObject({ code: "ENOSPC" });
    expect(await swarm.clock.run(20_000, () => swarm.peer("ada").round >= 6)).toBe(true);
    expect(swarm.peer("ada").events).toContainEqual({
      type: "peer-left",
      peer: "cleo",
      name: "cleo",
      said: true,
    });
  });
});

describe("stopping", () => {
  it("in the middle of a round and starting again loses nothing", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 3 } });
    for (const name of NAMES) await swarm.add(name, { rounds: 9 });
    await swarm.reach(3);
    await swarm.clock.run(900);
    const bea = swarm.peer("bea");
    bea.driver.requestStop();
    expect(await swarm.clock.run(2_000, () => bea.outcome !== undefined)).toBe(true);
    bea.outcome = undefined;
    await swarm.restart(bea);
    await finish(swarm);
    expectAgreement(swarm, 7);
    expectNothingLost(swarm, bea, swarm.peer("ada"));
  });

  it("before the start makes start() and done reject", async () => {
    const swarm = await swarmOf(["ada"]);
    const driver = swarm.driverOf(swarm.peer("ada"));
    driver.requestStop();
    await expect(driver.start(new AbortController().signal)).rejects.toThrow("stopped before it started");
    await expect(driver.done).rejects.toThrow("stopped before it started");
  });
});

describe("the status", () => {
  it("tells where the swarm stands, as plain JSON", async () => {
    const swarm = await swarmOf(NAMES);
    await swarm.reach(5);
    await swarm.clock.run(1_000);
    const status = swarm.peer("ada").driver.status();
    expect(JSON.parse(JSON.stringify(status))).toEqual(status);
    expect(status).toMatchObject({ peer: "ada", phase: "training", round: 5, closedRound: 4, steps: 4 });
    expect(status.agreement).toEqual({ agree: 2, differ: 0, unknown: 0 });
    expect(status.members.map(({ peer, lag, agrees }) => [peer, lag, agrees])).toEqual([
      ["bea", 0, true],
      ["cleo", 0, true],
    ]);
    expect(status.rounds.map(({ round, updates, computeMs }) => [round, updates, computeMs])).toEqual(
      [0, 1, 2, 3, 4].map((round) => [round, 3, 2_000]),
    );
    expect(status.utilisation).toBeGreaterThan(0.8);
    expect(status.utilisation).toBeLessThan(1);
    expect(status.payloadRatio).toBeCloseTo((4 * swarm.layout.total) / status.rounds[0]!.payloadBytes!, 6);
    expect(status.residualRatio).toBeLessThan(0.02);
  });
});
