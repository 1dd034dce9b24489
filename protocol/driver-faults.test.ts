// Swarms under faults: what the network loses, divides and distorts, and what peers lie about.
import { describe, expect, it } from "vitest";
import type { SignedUpdate } from "./core/types.ts";
import { updateIdOf } from "./core/update-id.ts";
import { sha256 } from "./net/hash.ts";
import { expectAgreement, expectNothingLost, finish, swarmOf } from "./testing/expectations.ts";
import { Liar, type Lie, OFFENCE_OF } from "./testing/liar.ts";
import { Swarm } from "./testing/swarm.ts";

const NAMES = ["ada", "bea", "cleo"];

describe("lost messages", () => {
  it("of every fifth are found again by anti-entropy, without any snapshot", async () => {
    const swarm = await swarmOf(NAMES, { conditions: { loss: 0.2 }, seed: 5 });
    expect(await swarm.reach(10)).toBe(true);
    expectAgreement(swarm, 8);
    expect(swarm.list.map((peer) => peer.count("healed"))).toEqual([0, 0, 0]);
    const { rounds } = swarm.peer("ada").driver.status();
    expect(rounds.filter(({ updates }) => updates === 3).length).toBeGreaterThan(rounds.length / 2);
  });

  it("that come twice and out of order change nothing", async () => {
    const swarm = await swarmOf(NAMES, { conditions: { duplication: 0.5, latencyMs: [1, 800] }, seed: 4 });
    expect(await swarm.reach(8)).toBe(true);
    expectAgreement(swarm, 6);
    expect(swarm.network.penalties).toEqual([]);
  });
});

describe("a partition", () => {
  it("shorter than the open rounds heals without a snapshot", async () => {
    const swarm = await swarmOf(NAMES);
    await swarm.reach(3);
    swarm.network.partition(["ada", "bea"], ["cleo"]);
    await swarm.clock.run(2_500);
    swarm.network.partition();
    await swarm.reach(8);
    expectAgreement(swarm, 6);
    expect(swarm.list.map((peer) => peer.count("healed"))).toEqual([0, 0, 0]);
  });

  it("longer than the open rounds heals to the majority's body, and lost updates go back", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 3 } });
    for (const name of NAMES) await swarm.add(name, { rounds: 30 });
    await swarm.reach(3);
    swarm.network.partition(["ada", "bea"], ["cleo"]);
    await swarm.clock.run(30_000);
    const [ada, bea, cleo] = swarm.list as [
      (typeof swarm.list)[0],
      (typeof swarm.list)[0],
      (typeof swarm.list)[0],
    ];
    expect(cleo.driver.status().closedRoot).not.toBe(ada.driver.status().closedRoot);
    swarm.network.partition();
    await finish(swarm);
    const { heals, syncs, returnedUpdates } = cleo.driver.status();
    expect(heals + syncs).toBeGreaterThan(0);
    expect(returnedUpdates).toBeGreaterThan(3);
    expect([ada, bea].map((peer) => peer.driver.status().returnedUpdates)).toEqual([0, 0]);
    expect(new Set(swarm.list.map(({ outcome }) => outcome?.root)).size).toBe(1);
    expectNothingLost(swarm, cleo, ada);
  });

  it("into two halves ends with one body for all", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 4 } });
    for (const name of [...NAMES, "dora"]) await swarm.add(name, { rounds: 25 });
    await swarm.reach(3);
    swarm.network.partition(["ada", "bea"], ["cleo", "dora"]);
    await swarm.clock.run(24_000);
    swarm.network.partition();
    await finish(swarm);
    expect(new Set(swarm.list.map(({ outcome }) => outcome?.root)).size).toBe(1);
    for (const peer of swarm.list) expectNothingLost(swarm, peer, swarm.peer("ada"));
  });

  it("into single peers ends with one body for all", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 3 } });
    for (const [index, name] of NAMES.entries())
      await swarm.add(name, { rounds: 25, stepMs: 400 + 90 * index });
    await swarm.reach(3);
    swarm.network.partition(["ada"], ["bea"], ["cleo"]);
    await swarm.clock.run(20_000);
    swarm.network.partition();
    await finish(swarm);
    expect(new Set(swarm.list.map(({ outcome }) => outcome?.root)).size).toBe(1);
  });
});

describe("a liar", () => {
  it.each([
    "garbage-payload",
    "wrong-hash",
    "not-a-number",
    "oversized",
    "silent",
    "far-future",
  ] satisfies Lie[])("with %s changes nothing for the others", async (lie) => {
    const honest = await swarmOf(NAMES);
    await honest.reach(6);
    const swarm = await swarmOf(NAMES);
    new Liar(swarm, "mallory", lie, swarm.peer("ada"));
    expect(await swarm.reach(6)).toBe(true);
    expectAgreement(swarm, 5);
    expect(
      swarm
        .peer("bea")
        .driver.status()
        .rounds.slice(0, 6)
        .map(({ root }) => root),
    ).toEqual(
      honest
        .peer("bea")
        .driver.status()
        .rounds.slice(0, 6)
        .map(({ root }) => root),
    );
    const offences = new Set(swarm.network.penalties.map(({ peer, offence }) => `${peer} ${offence}`));
    const expected = OFFENCE_OF[lie];
    expect([...offences]).toEqual(expected === undefined ? [] : [`mallory ${expected}`]);
  });

  it("that claims to be a thousand rounds ahead pulls nobody away", async () => {
    const swarm = await swarmOf(NAMES);
    await swarm.reach(2);
    new Liar(swarm, "mallory", "far-ahead", swarm.peer("ada"));
    expect(await swarm.reach(8)).toBe(true);
    expectAgreement(swarm, 7);
    expect(swarm.list.map((peer) => peer.count("fell-behind"))).toEqual([0, 0, 0]);
  });

  it("that claims to be ahead can delay a start but not prevent it", async () => {
    const swarm = new Swarm({ averaging: { minimumPeers: 2 } });
    const ada = await swarm.add("ada");
    new Liar(swarm, "mallory", "far-ahead", ada);
    await swarm.add("bea");
    expect(await swarm.reach(4, 180_000)).toBe(true);
    expectAgreement(swarm, 3);
  });

  it("at the last round that a message can name takes nobody there, who could say nothing any more", async () => {
    const swarm = new Swarm();
    const ada = await swarm.add("ada");
    new Liar(swarm, "mallory", "last-round", ada);
    expect(await swarm.reach(3, 180_000)).toBe(true);
    expect(ada.round).toBeLessThan(100);
    expect(ada.count("sync-failed")).toBeGreaterThan(0);
  });

  it.each([
    ["two updates", "equivocation"],
    ["two announcements of one payload", "two-weights"],
  ] as const)(
    "that makes %s for a round gets the same one counted everywhere, and is found out",
    async (_, lie) => {
      const averaging = { minimumPeers: NAMES.length, weighting: "tokens" } as const;
      const swarm = await swarmOf(NAMES, { conditions: { latencyMs: [1, 400] }, seed: 7, averaging });
      const mallory = new Liar(swarm, "mallory", lie, swarm.peer("ada"));
      expect(await swarm.reach(6)).toBe(true);
      expectAgreement(swarm, 5);
      const statements = (updates: readonly SignedUpdate[]) =>
        updates.map(({ announcement }) => updateIdOf(announcement, sha256).statement);
      const lowest = Map.groupBy(mallory.announced, ({ announcement }) => announcement.round);
      for (const peer of swarm.list) {
        const closed = peer.driver.content
          .inventory(0)
          .filter(({ announcement }) => announcement.author === "mallory" && announcement.round < 5);
        expect(statements(closed)).toEqual(
          closed.map(({ announcement }) => statements(lowest.get(announcement.round)!).sort()[0]),
        );
        expect(closed.length).toBe(5);
      }
      const offenders = swarm.network.penalties.map(({ peer, offence }) => `${peer} ${offence}`);
      expect(new Set(offenders)).toEqual(new Set(["mallory equivocation"]));
    },
  );
});

describe("a training that diverges here", () => {
  it("ends this peer with a reason and not the others", async () => {
    const swarm = await swarmOf(NAMES);
    await swarm.reach(2);
    const cleo = swarm.peer("cleo");
    cleo.trainerOptions.scale = Number.NaN;
    expect(await swarm.clock.run(20_000, () => cleo.failure !== undefined)).toBe(true);
    expect(cleo.failure).toMatchObject({ code: "UPDATE_NOT_FINITE" });
    expect(await swarm.clock.run(20_000, () => swarm.peer("ada").round >= 6)).toBe(true);
    expectAgreement(swarm, 4, [swarm.peer("ada"), swarm.peer("bea")]);
  });
});

/** Every fault at once, drawn by seed. */
describe("a swarm under loss, duplication, delay, crashes and partitions", () => {
  const cases = Array.from(
    { length: 24 },
    (_, at) => ({ seed: at >> 1, overlap: at & 1 ? "on" : "off" }) as const,
  );
  it.each(cases)("ends with one body (seed $seed, overlap $overlap)", async ({ seed, overlap }) => {
    const conditions = {
      loss: 0.05 * (seed % 5),
      duplication: 0.1 * (seed % 3),
      latencyMs: [5, 200] as const,
    };
    const swarm = new Swarm({
      seed,
      conditions,
      averaging: { minimumPeers: 4, openRounds: 1 + (seed % 3), overlap },
    });
    const names = [...NAMES, "dora"];
    for (const [index, name] of names.entries()) {
      await swarm.add(name, { rounds: 24, stepMs: 300 + 70 * ((index + seed) % 4) });
    }
    await swarm.reach(3);
    const victim = swarm.peer(names[seed % 4]!);
    swarm.crash(victim);
    await swarm.clock.run(1_000 * (1 + (seed % 7)));
    const [cut, ...rest] = names.filter((name) => name !== victim.id);
    swarm.network.partition([cut!], [...rest, victim.id]);
    await swarm.restart(victim);
    await swarm.clock.run(1_500 * (1 + (seed % 5)));
    swarm.network.partition();
    await finish(swarm, 900_000);
    expect(swarm.list.map(({ outcome }) => outcome?.reason)).toEqual(names.map(() => "completed"));
    expect(new Set(swarm.list.map(({ outcome }) => outcome?.root)).size).toBe(1);
    for (const peer of swarm.list) expectNothingLost(swarm, peer, swarm.peer(rest[0]!));
  });
});
