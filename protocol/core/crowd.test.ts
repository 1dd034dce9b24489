import { describe, expect, it } from "vitest";
import { sha256 } from "../net/hash.ts";
import { Bench } from "../testing/round-logic.ts";
import { type Cohort, cohortOf, RANKS } from "./cohort.ts";

const COHORT = cohortOf("77".repeat(32), 4, sha256);

const ranked = (size: number, own: number): Cohort => ({
  size,
  rank: (_, author) => (author === "self" ? own : COHORT.rank(0, author)),
});

/** Hears of `peers` others, each at its own interval, and of some that are drawn, as long as `ms` say. */
function crowd(bench: Bench, peers: number, intervalMs: number, ms: number, drawn = 5): void {
  const next = Array.from({ length: peers }, (_, at) => (at * intervalMs) / peers);
  for (const end = bench.nowMs + ms, start = bench.nowMs; bench.nowMs < end; ) {
    bench.wait(250);
    if (bench.nowMs % 2_000 === 0) for (let at = 0; at < drawn; at++) bench.hear(`drawn-${at}`);
    for (const [at, dueMs] of next.entries()) {
      if (dueMs > bench.nowMs - start) continue;
      bench.hear(`peer-${at}`, { intervalMs });
      next[at] = dueMs + intervalMs;
    }
  }
}

describe("how often a peer speaks", () => {
  it("is every two seconds in a swarm up to the cohort, whoever is drawn", () => {
    const bench = new Bench({ cohort: ranked(4, RANKS - 1) }, { round: 3 });
    for (let seconds = 0; seconds < 20; seconds += 2) {
      for (const other of ["ada", "bea", "cleo"]) bench.hear(other);
      bench.wait(2_000);
    }
    expect(bench.state.cadence).toMatchObject({ size: 4, intervalMs: undefined });
    expect(bench.take("send-presence").length).toBeGreaterThanOrEqual(10);
  });

  it("grows with the swarm, whose size it finds out without knowing everyone", () => {
    const bench = new Bench({ cohort: ranked(4, RANKS - 1), mostMembers: 100 }, { round: 3 });
    crowd(bench, 1_000, 250_000, 180_000);
    expect(bench.state.members.size).toBeLessThanOrEqual(100);
    expect(bench.state.cadence.size).toBeGreaterThan(900);
    expect(bench.state.cadence.size).toBeLessThan(1_100);
    bench.take("send-presence");
    crowd(bench, 1_000, 250_000, 250_000);
    expect(bench.take("send-presence").length).toBeLessThanOrEqual(3);
  });

  it("is every two seconds for a peer that will be drawn, in a swarm of any size", () => {
    const bench = new Bench({ cohort: ranked(4, 0), mostMembers: 100 }, { round: 3 });
    crowd(bench, 1_000, 250_000, 60_000);
    bench.take("send-presence");
    crowd(bench, 1_000, 250_000, 20_000);
    expect(bench.take("send-presence").length).toBeGreaterThanOrEqual(9);
  });

  it("does not depend much on one that claims to speak once an hour", () => {
    const bench = new Bench({ cohort: ranked(4, RANKS - 1), mostMembers: 400 }, { round: 3 });
    for (let step = 0; step < 30; step++) {
      crowd(bench, 200, 50_000, 10_000);
      for (let lie = 0; lie < 20; lie++) bench.hear("liar", { intervalMs: 3_600_000 });
    }
    expect(bench.state.cadence.size).toBeLessThan(300);
  });

  it("does not depend at all on a few that claim whatever they like, however often", () => {
    const bench = new Bench({ cohort: ranked(4, RANKS - 1) }, { round: 3 });
    for (let seconds = 0; seconds < 200; seconds++) {
      for (const other of ["ada", "bea", "cleo"]) bench.hear(other);
      const intervalMs = [undefined, 2_001, 3_600_000][seconds % 3];
      for (const liar of ["mallory", "oscar", "peggy"]) bench.hear(liar, { intervalMs });
      bench.wait(1_000);
      expect(bench.state.cadence.size).toBeLessThanOrEqual(7);
    }
  });

  it("rises while a round goes on in which hardly anyone speaks up", () => {
    const bench = new Bench({ cohort: ranked(4, RANKS / 50), mostMembers: 100 }, { round: 3 });
    crowd(bench, 1_000, 250_000, 130_000, 0);
    bench.put({ type: "trained", round: 3 });
    expect(bench.state.cadence.intervalMs).toBeUndefined();
  });
});

describe("a peer that has just started", () => {
  const meets = (bench: Bench, others: number) => {
    for (let at = 0; at < others; at++) bench.put({ type: "peer-connected", peer: `other-${at}` });
  };

  it("speaks at once where it has met few", () => {
    const bench = new Bench({ cohort: ranked(4, RANKS - 1) }, { round: 3 });
    meets(bench, 7);
    expect(bench.take("send-presence").length).toBe(1);
  });

  it("listens first where it has met many, and is not heard where enough others are", () => {
    const bench = new Bench({ cohort: ranked(4, 0.9 * RANKS) }, { round: 3 });
    meets(bench, 8);
    bench.take("send-presence");
    for (let at = 0; at < 100; at++) bench.wait(10).hear(`other-${at}`);
    bench.wait(4_000);
    expect(bench.take("send-presence")).toEqual([]);
    expect(bench.state.cadence.intervalMs).toBeGreaterThanOrEqual(30_000);
  });

  it("is heard where it is drawn before enough others", () => {
    const bench = new Bench({ cohort: ranked(4, 0) }, { round: 3 });
    meets(bench, 8);
    bench.take("send-presence");
    for (let at = 0; at < 100; at++) bench.wait(10).hear(`other-${at}`);
    bench.wait(1_000);
    expect(bench.take("send-presence").length).toBe(1);
  });

  it("goes on speaking in turn with thousands when it finds out how many they are", () => {
    const bench = new Bench({ cohort: ranked(4, 0.9 * RANKS), mostMembers: 100 }, { round: 3 });
    crowd(bench, 20, 30_000, 20_000);
    bench.take("send-presence");
    const before = bench.state;
    crowd(bench, 4_000, 1_000_000, 20_000);
    const share = ({ told, cadence }: typeof before, nowMs: number) =>
      (nowMs - told.atMs) / cadence.intervalMs!;
    const { state, nowMs } = bench;
    expect(state.cadence.intervalMs).toBeGreaterThan(10 * before.cadence.intervalMs!);
    expect(share(state, nowMs)).toBeGreaterThan(share(before, nowMs - 20_000));
    expect(bench.take("send-presence")).toEqual([]);
  });
});

describe("a peer that speaks seldom", () => {
  it("is there until it has missed five of its own presences, and is not waited for", () => {
    const bench = new Bench({ cohort: ranked(4, 0) }, { round: 3, publishedRound: 3 });
    bench.hear("ada", { intervalMs: 60_000 });
    bench.wait(290_000);
    const left = () => bench.take("note").filter(({ event }) => event.type === "peer-left").length;
    expect(left()).toBe(0);
    expect(bench.take("open-round").length).toBeGreaterThan(0);
    bench.wait(11_000);
    expect(left()).toBe(1);
  });
});
