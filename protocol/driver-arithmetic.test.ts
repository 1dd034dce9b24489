// Drivers whose arithmetic is done elsewhere: it takes its time while the world goes on, and may be lost.
import { describe, expect, it } from "vitest";
import { LostError } from "./testing/distant-arithmetic.ts";
import { expectAgreement, expectNothingLost, finish, swarmOf } from "./testing/expectations.ts";
import { Liar } from "./testing/liar.ts";
import { Swarm } from "./testing/swarm.ts";

const NAMES = ["ada", "bea", "cleo"];
/** From much shorter than a step to longer than a round's training. */
const SLOW = [1, 900] as const;

describe("a swarm of peers with slow arithmetic", () => {
  it("agrees in every round, whatever comes while a body is being made", async () => {
    const swarm = await swarmOf(NAMES, { arithmeticMs: SLOW, conditions: { latencyMs: [1, 700] }, seed: 3 });
    expect(await swarm.reach(10)).toBe(true);
    expectAgreement(swarm, 8);
  });

  it("counts the same one of a liar's two updates, which take each other's place", async () => {
    const swarm = await swarmOf(NAMES, { arithmeticMs: SLOW, conditions: { latencyMs: [1, 400] }, seed: 7 });
    const mallory = new Liar(swarm, "mallory", "equivocation", swarm.peer("ada"));
    expect(await swarm.reach(7)).toBe(true);
    expectAgreement(swarm, 5);
    expect(mallory.announced.length).toBeGreaterThan(5);
    const updates = swarm.history(swarm.peer("bea"));
    expect(updates.some(({ author }) => author === "mallory")).toBe(true);
  });

  it("loses nothing of a peer that is killed in the middle of it", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 3 }, arithmeticMs: SLOW });
    for (const name of NAMES) await swarm.add(name, { rounds: 14 });
    await swarm.reach(2);
    const victim = swarm.peer("bea");
    for (let life = 0; life < 4; life++) {
      await swarm.clock.run(1_000 + 700 * life);
      swarm.crash(victim);
      await swarm.clock.run(1_500);
      await swarm.restart(victim);
    }
    await finish(swarm);
    expect(new Set(swarm.list.map(({ outcome }) => outcome?.root)).size).toBe(1);
    for (const peer of swarm.list) expectNothingLost(swarm, peer, swarm.peer("ada"));
  });

  it("heals a part of it that was cut off, and nothing is lost or counted twice", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 3 }, arithmeticMs: SLOW });
    for (const name of NAMES) await swarm.add(name, { rounds: 25 });
    await swarm.reach(3);
    swarm.network.partition(["ada", "bea"], ["cleo"]);
    await swarm.clock.run(30_000);
    swarm.network.partition();
    await finish(swarm);
    expect(new Set(swarm.list.map(({ outcome }) => outcome?.root)).size).toBe(1);
    expect(swarm.peer("cleo").driver.status().returnedUpdates).toBeGreaterThan(0);
    for (const peer of swarm.list) expectNothingLost(swarm, peer, swarm.peer("ada"));
  });
});

describe("a peer that is asked while its arithmetic is at work", () => {
  it("serves tiles, updates and where it stands as the last change left them", async () => {
    const swarm = await swarmOf(NAMES, { arithmeticMs: [200, 400] });
    await swarm.reach(4);
    const { driver } = swarm.peer("ada");
    let asked = 0;
    let ended = false;
    const look = () => {
      const snapshot = driver.content.snapshot()!;
      const { root, closedRoot } = driver.status();
      // One of the two closed bodies that are served, and the body that the manifest names.
      expect(driver.content.tile(snapshot.root, 0)).toHaveLength(4 * swarm.layout.total);
      expect(driver.content.inventory(snapshot.closedRound).length).toBe(snapshot.updates.length);
      expect(driver.body()).toHaveLength(swarm.layout.total);
      expect([root, closedRoot]).not.toContain(undefined);
      asked++;
      if (!ended) swarm.clock.after(50, look);
    };
    look();
    await swarm.reach(7);
    ended = true;
    expect(asked).toBeGreaterThan(50);
  });
});

describe("a peer that loses its arithmetic", () => {
  it("fails with the reason, even when nothing is asked of it, and comes back to where it was", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 2 } });
    for (const name of NAMES) await swarm.add(name, { rounds: 16 });
    await swarm.reach(3);
    const victim = swarm.peer("cleo");
    victim.arithmetic!.lose();
    await swarm.clock.run(5_000, () => victim.failure !== undefined);
    expect(victim.failure).toBeInstanceOf(LostError);
    const { round } = victim.disk.checkpoint!;
    victim.failure = undefined;
    await swarm.restart(victim);
    expect(victim.round).toBeGreaterThanOrEqual(round);
    await finish(swarm);
    expect(new Set(swarm.list.map(({ outcome }) => outcome?.root)).size).toBe(1);
    for (const peer of swarm.list) expectNothingLost(swarm, peer, swarm.peer("ada"));
  });

  it("in the middle of an answer keeps what it had saved", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 2 }, arithmeticMs: [300, 600] });
    for (const name of NAMES) await swarm.add(name, { rounds: 12 });
    await swarm.reach(2);
    for (const [name, ms] of [
      ["bea", 0],
      ["cleo", 450],
      ["bea", 1_100],
    ] as const) {
      await swarm.clock.run(3_000 + ms);
      const victim = swarm.peer(name);
      victim.arithmetic!.lose();
      await swarm.clock.run(5_000, () => victim.failure !== undefined);
      expect(victim.failure).toBeInstanceOf(LostError);
      victim.failure = undefined;
      await swarm.restart(victim);
    }
    await finish(swarm);
    expect(new Set(swarm.list.map(({ outcome }) => outcome?.root)).size).toBe(1);
    for (const peer of swarm.list) expectNothingLost(swarm, peer, swarm.peer("ada"));
  });
});
