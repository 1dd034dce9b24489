import { describe, expect, it } from "vitest";
import type { Defence } from "../core/defence.ts";
import { parameterLayout } from "../core/layout.ts";
import { parseRunConfig } from "../core/run-config.ts";
import { sha256 } from "../net/hash.ts";
import type { SimulationPlan } from "./plan.ts";
import { differingBits, reportOf, type SimulationReport } from "./report.ts";
import { Simulation } from "./simulation.ts";

type Wishes = Partial<Omit<SimulationPlan, "network" | "config">> & {
  readonly defence?: Defence;
  readonly overlap?: "off" | "on";
  readonly network?: Partial<SimulationPlan["network"]>;
};

/** Rounds of eight seconds on 20 Mbit/s, with updates of 800 kB. */
function planOf({ network, defence, overlap = "off", ...wishes }: Wishes = {}): SimulationPlan {
  const peers = wishes.peers ?? 4;
  return {
    seed: 1,
    peers,
    rounds: 5,
    config: parseRunConfig({
      training: { localSteps: 4, embeddingWarmupSteps: 2 },
      averaging: { minimumPeers: peers, maxRoundMs: 120_000, defence, overlap },
    }),
    layout: parameterLayout(
      [
        { name: "a.weight", shape: [24, 16] },
        { name: "norm.weight", shape: [16] },
      ],
      sha256,
    ),
    payloadBytes: 800_000,
    bodyBytes: 3_200_000,
    segmentMs: 2_000,
    tokensPerSegment: 100,
    costs: { encodeMs: 20, applyMs: 5, openMs: 5, saveMs: 10 },
    speedSpread: 1,
    network: {
      downMbits: 20,
      upMbits: 20,
      latencyMs: 50,
      jitterMs: 5,
      packetLoss: 0,
      lossLimitsRate: true,
      gossipLoss: 0,
      duplication: 0,
      connections: 16,
      ...network,
    },
    churn: { share: 0, kind: "crash", awayRounds: 2 },
    partition: undefined,
    byzantine: { share: 0, behaviours: [] },
    joiners: { count: 0, round: 2 },
    ...wishes,
  };
}

async function simulate(wishes: Wishes = {}): Promise<SimulationReport> {
  const simulation = new Simulation(planOf(wishes));
  await simulation.run();
  return reportOf(simulation);
}

/** However it went: all that are there hold the same bits at the end. */
function expectOneBody({ atRest, agreement }: SimulationReport): void {
  expect({ atRest, roots: agreement.roots, bits: agreement.differingBits }).toEqual({
    atRest: true,
    roots: 1,
    bits: 0,
  });
}

describe("a simulation", () => {
  it("gives the same report for the same plan, byte for byte, and another for another seed", async () => {
    const wishes: Wishes = {
      churn: { share: 0.2, kind: "crash", awayRounds: 1 },
      network: { gossipLoss: 0.1 },
    };
    const first = JSON.stringify(await simulate(wishes));
    expect(JSON.stringify(await simulate(wishes))).toBe(first);
    expect(JSON.stringify(await simulate({ ...wishes, seed: 2 }))).not.toBe(first);
  });

  it("without faults counts every update and every step, and moves each payload to each peer once", async () => {
    const report = await simulate();
    expectOneBody(report);
    expect(report.rounds.map(({ updates, present }) => [updates, present])).toEqual(Array(5).fill([4, 4]));
    expect(report.goodput).toEqual({ made: 20, counted: 20, returned: 0, resent: 0, trained: 1 });
    expect(report.agreement.disputedRounds).toBe(0);
    // Three payloads, and the requests and heads of three streams.
    expect(report.traffic.payload.received).toBeGreaterThan(3 * 800_000);
    expect(report.traffic.payload.received).toBeLessThan(3 * 801_000);
    expect(report.loss.last).toBeLessThan(report.loss.first / 10);
  });

  it("keeps everyone busy where training goes on while updates travel", async () => {
    const { utilisation, goodput, rounds } = await simulate({ overlap: "on" });
    expect(utilisation.least).toBeGreaterThan(0.98);
    expect(goodput).toMatchObject({ made: 20, counted: 20, trained: 1 });
    expect(rounds.at(-1)!.medianMs).toBeLessThan(8_250);
  });

  it("takes the time that its bytes take: two payloads over a link, and some ways there and back", async () => {
    const { utilisation, rounds } = await simulate({ peers: 3 });
    // 8 s of training; 2 * 800 kB at 2.5 MB/s; below a second and a half of latency, ticks and disk.
    for (const { medianMs } of rounds) {
      expect(medianMs).toBeGreaterThan(8_000 + 640);
      expect(medianMs).toBeLessThan(8_000 + 640 + 1_500);
    }
    expect(utilisation.all).toBeCloseTo(8_000 / rounds[2]!.medianMs, 1);
    const slower = await simulate({ peers: 3, network: { upMbits: 2 } });
    // Each peer gives its payload twice: 1.6 MB at 250 kB/s.
    expect(slower.rounds[2]!.medianMs).toBeGreaterThan(8_000 + 6_400);
  });

  it("lets fast peers wait for slow ones", async () => {
    const { utilisation } = await simulate({ speedSpread: 4 });
    expect(utilisation.least).toBeLessThan(0.4);
    expect(utilisation.all).toBeLessThan(0.75);
  });

  it("brings a newcomer in, and says how long it took", async () => {
    const report = await simulate({ joiners: { count: 1, round: 2 }, rounds: 8 });
    expectOneBody(report);
    expect(report.agreement.peers).toBe(5);
    const [join] = report.joins;
    expect(join).toMatchObject({ newcomer: true });
    // 3.2 MB at 2.5 MB/s, then two segments of warm-up and four of a round.
    expect(join!.syncMs).toBeGreaterThan(1_280);
    expect(join!.linkShare).toBeGreaterThan(0.2);
    expect(join!.firstUpdateMs).toBeGreaterThan(join!.syncMs! + 12_000);
  });

  it("brings a newcomer in whose link is so slow that rounds pass while it fetches the body", async () => {
    // 9.6 MB at 187.5 kB/s are 51 s, six rounds; a round's updates of 400 kB are two seconds of eight.
    const joiners = { count: 1, round: 2, downMbits: 1.5 };
    const report = await simulate({ joiners, rounds: 18, bodyBytes: 9_600_000, payloadBytes: 100_000 });
    expectOneBody(report);
    const [join] = report.joins;
    expect(join!.syncMs).toBeGreaterThan(51_000);
    expect(join!.syncMs).toBeLessThan(90_000);
    expect(report.agreement.failedSyncs).toBe(0);
    expect(report.rounds.at(-1)).toMatchObject({ present: 5, updates: 5 });
  });

  it("brings a newcomer in whose link takes longer for the body than peers remember rounds", async () => {
    // 38.4 MB at 125 kB/s are 307 s, and 426 s with a round's updates of 240 kB beside it: fifty rounds.
    const joiners = { count: 1, round: 2, downMbits: 1 };
    const report = await simulate({ joiners, rounds: 58, bodyBytes: 38_400_000, payloadBytes: 60_000 });
    expectOneBody(report);
    const [join] = report.joins;
    expect(join!.syncMs).toBeGreaterThan(307_000);
    expect(join!.syncMs).toBeLessThan(500_000);
    expect(report.agreement.failedSyncs).toBe(0);
    expect(report.rounds.at(-1)).toMatchObject({ present: 5, updates: 5 });
  });

  it.each(["crash", "leave", "replace"] as const)("ends with one body where peers %s", async (kind) => {
    const report = await simulate({ peers: 6, rounds: 10, churn: { share: 0.1, kind, awayRounds: 2 } });
    expectOneBody(report);
    const { crashed, left, cameBack, replaced } = report.churn;
    expect(crashed + left).toBeGreaterThan(2);
    expect(kind === "replace" ? replaced : cameBack).toBeGreaterThan(0);
    expect(report.joins.every(({ newcomer }) => newcomer === (kind === "replace"))).toBe(true);
  });

  it("heals a division of the network into one body, and tells what became of both sides' updates", async () => {
    const report = await simulate({ peers: 6, rounds: 14, partition: { share: 0.5, round: 3, rounds: 4 } });
    expectOneBody(report);
    expect(report.partition).toMatchObject({ cutOff: 3, healed: true });
    const { cutOffUpdates, otherUpdates } = report.partition!;
    expect(cutOffUpdates.made).toBeGreaterThan(0);
    expect(otherUpdates.made).toBeGreaterThan(0);
    const { made, counted, returned } = report.goodput;
    // What does not count went back to its author.
    expect(made - counted).toBeLessThanOrEqual(returned);
  });

  it("holds together under loss, duplication and few connections", async () => {
    const network = { gossipLoss: 0.1, packetLoss: 0.02, duplication: 0.2, connections: 3 };
    expectOneBody(await simulate({ peers: 12, network, payloadBytes: 20_000 }));
  });

  it("stops when told to", async () => {
    const controller = new AbortController();
    const onSecond = (round: number) => {
      if (round === 2) controller.abort();
    };
    const simulation = new Simulation(planOf(), { signal: controller.signal, onSecond });
    await expect(simulation.run()).rejects.toThrow("aborted");
  });
});

describe("liars in a simulation", () => {
  const liars = (
    behaviour: SimulationPlan["byzantine"]["behaviours"][number],
    defence: Defence = "majority",
  ) => simulate({ peers: 6, rounds: 4, byzantine: { share: 0.17, behaviours: [behaviour] }, defence });

  it.each(["sign-flip", "x100", "random", "copy"] as const)(
    "with %s are in the log, and all agree on what is made of them",
    async (behaviour) => {
      const report = await liars(behaviour);
      expectOneBody(report);
      expect(report.liars.count).toBe(1);
      // A copy may come when its last round is over.
      expect(report.liars.counted).toBeGreaterThanOrEqual(3);
      const { restrained, honestRestrained } = report.liars;
      // Near the optimum a reversed update is as good as any; of two that are the same nothing shows who was first.
      if (behaviour === "copy") expect(restrained + honestRestrained).toBeGreaterThanOrEqual(3);
      else expect(honestRestrained).toBe(0);
      if (behaviour === "x100" || behaviour === "random") expect(restrained).toBeGreaterThanOrEqual(3);
    },
  );

  it.each(["sign-flip", "x100", "random"] as const)(
    "that send %s cost progress without a defence, and little of that with it",
    async (behaviour) => {
      const [honest, undefended, defended] = [
        await simulate({ peers: 6, rounds: 4 }),
        await liars(behaviour, "none"),
        await liars(behaviour),
      ].map((report) => report.loss.last);
      expect(undefended!).toBeGreaterThan(1.2 * honest!);
      expect(defended! - honest!).toBeLessThan(0.2 * (undefended! - honest!));
    },
  );

  it("that withhold their payload are waited for and never counted", async () => {
    const report = await liars("withhold");
    expectOneBody(report);
    expect(report.liars.counted).toBe(0);
    expect(report.goodput.counted).toBe(report.goodput.made);
  });

  it("that make two updates for a round are found out", async () => {
    const report = await liars("equivocate");
    expectOneBody(report);
    expect(report.offences.equivocation).toBeGreaterThan(0);
  });
});

describe("differing bits", () => {
  it("are counted by the bit", () => {
    expect(differingBits(Float32Array.of(1, 2), Float32Array.of(1, 2))).toBe(0);
    expect(differingBits(Float32Array.of(0, 1), Float32Array.of(-0, 1))).toBe(1);
  });
});
