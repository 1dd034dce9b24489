// Swarms whose training goes on while rounds are collected: nothing is lost, nothing counted twice, nobody trains too much.
import { describe, expect, it } from "vitest";
import { expectAgreement, expectNothingLost, finish } from "./testing/expectations.ts";
import { Swarm, type SwarmOptions, type SwarmPeer } from "./testing/swarm.ts";

const NAMES = ["ada", "bea", "cleo"];
/** A round has four steps of half a second, and lasts as long again until the others' updates are here. */
const SLOW_LINKS = { latencyMs: [600, 900] } as const;

async function overlapping(rounds: number, options: SwarmOptions = {}): Promise<Swarm> {
  const averaging = { minimumPeers: NAMES.length, overlap: "on", ...options.averaging } as const;
  const swarm = new Swarm({ conditions: SLOW_LINKS, ...options, averaging });
  for (const name of NAMES) await swarm.add(name, { rounds });
  return swarm;
}

function expectOneBody(swarm: Swarm): void {
  expect(new Set(swarm.list.map(({ outcome }) => outcome?.root)).size).toBe(1);
  for (const peer of swarm.list) expectNothingLost(swarm, peer, swarm.peer("ada"));
}

/** Lets time pass until the peer trains ahead, `steps` of them. */
async function untilAhead(swarm: Swarm, peer: SwarmPeer, steps: number): Promise<void> {
  const isAhead = () => {
    const { phase, round } = peer.driver.status();
    const last = peer.events.findLast((event) => event.type === "step");
    return phase === "collecting" && last?.round === round + 1 && last.step === steps;
  };
  expect(await swarm.clock.run(60_000, isAhead)).toBe(true);
}

describe("a swarm that trains while it collects", () => {
  it.each(["spec-opt", "spec", "trim", "glob"] as const)("agrees and loses nothing (%s)", async (variant) => {
    const swarm = await overlapping(8, { variant });
    await finish(swarm);
    expectAgreement(swarm, 7);
    expectOneBody(swarm);
    // Each step of the run once, in order: a round has no more of them than without.
    for (const { events } of swarm.list) {
      const steps = events.filter((event) => event.type === "step").map(({ round, step }) => [round, step]);
      expect(steps).toEqual(Array.from({ length: 32 }, (_, at) => [at >> 2, 1 + (at & 3)]));
    }
  });

  it("is done sooner, since nobody is idle", async () => {
    const durationOf = async (overlap: "off" | "on") => {
      const swarm = await overlapping(12, { averaging: { overlap } });
      const startMs = swarm.clock.nowMs();
      await finish(swarm);
      return swarm.clock.nowMs() - startMs;
    };
    expect(await durationOf("on")).toBeLessThan(0.8 * (await durationOf("off")));
  });

  it("waits with a round's update for the body it is made from", async () => {
    const swarm = await overlapping(6, { conditions: { latencyMs: [2_000, 2_500] } });
    await finish(swarm);
    for (const { events } of swarm.list) {
      const told = events.flatMap((event) =>
        event.type === "round-started" || event.type === "published" ? [`${event.type} ${event.round}`] : [],
      );
      expect(told).toEqual([0, 1, 2, 3, 4, 5].flatMap((at) => [`round-started ${at}`, `published ${at}`]));
    }
    expectOneBody(swarm);
  });
});

describe("a peer that trains ahead", () => {
  it.each([1, 3])(
    "and is killed after %i steps loses nothing that was saved, nor counts it twice",
    async (steps) => {
      const swarm = await overlapping(9);
      await swarm.reach(3);
      const bea = swarm.peer("bea");
      await untilAhead(swarm, bea, steps);
      swarm.crash(bea);
      // In a checkpoint or not: either way what is not published is not gone.
      expect(bea.trainerDisk.handed === undefined).toBe(steps < 2);
      await swarm.clock.run(1_500);
      await swarm.restart(bea);
      await finish(swarm);
      expectOneBody(swarm);
    },
  );

  it.each([
    ["between its update's payload and the checkpoint", "putPayload"],
    ["between the checkpoint and the announcement", "save"],
  ] as const)("and is killed %s makes the update once", async (_, operation) => {
    const swarm = await overlapping(9);
    await swarm.reach(3);
    const bea = swarm.peer("bea");
    // Its steps are done and it takes those of the next round already, while this one's update is being made.
    const isPublishing = () => {
      const { phase, step } = bea.driver.status();
      return phase === "training" && step === 4;
    };
    bea.disk.onWritten = (written) => {
      if (written === operation && isPublishing()) swarm.crash(bea);
    };
    expect(await swarm.clock.run(60_000, () => !bea.power.on)).toBe(true);
    bea.disk.onWritten = () => {};
    await swarm.clock.run(1_500);
    await swarm.restart(bea);
    await finish(swarm);
    expect(swarm.network.penalties).toEqual([]);
    expectOneBody(swarm);
  });

  it("and is stopped saves what it has, and goes on from there", async () => {
    const swarm = await overlapping(9);
    await swarm.reach(3);
    const bea = swarm.peer("bea");
    await untilAhead(swarm, bea, 1);
    bea.driver.requestStop();
    expect(await swarm.clock.run(2_000, () => bea.outcome !== undefined)).toBe(true);
    expect(bea.trainerDisk.handed).toBeDefined();
    expect(bea.trainerDisk.pending).toBe(1);
    bea.outcome = undefined;
    await swarm.restart(bea);
    await finish(swarm);
    expectOneBody(swarm);
  });

  it("and is away for long carries what it has to where the others are", async () => {
    const swarm = await overlapping(16);
    await swarm.reach(3);
    const bea = swarm.peer("bea");
    await untilAhead(swarm, bea, 3);
    swarm.crash(bea);
    await swarm.clock.run(25_000);
    await swarm.restart(bea);
    await finish(swarm);
    expect(bea.count("synced")).toBeGreaterThan(0);
    expectOneBody(swarm);
  });

  it("and is too slow for the others syncs and carries its progress", async () => {
    const swarm = await overlapping(14, { averaging: { maxRoundMs: 3_000, minimumPeers: 4 } });
    const dora = await swarm.add("dora", { rounds: 14, stepMs: 3_000 });
    await finish(swarm);
    expect(dora.count("fell-behind")).toBeGreaterThan(0);
    expectOneBody(swarm);
  });
});
