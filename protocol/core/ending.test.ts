// The end of a run: whom a finished peer waits for, and what becomes of one that all others have finished without.
import { describe, expect, it } from "vitest";
import { Bench, rootNamed, updateOf } from "../testing/round-logic.ts";
import { phaseToTell } from "./heartbeat.ts";
import type { Presence } from "./types.ts";

/** A peer that has applied its last round, 3, beside ada, who has not. */
function settled(): Bench {
  const bench = new Bench({ rounds: 4 }, { round: 3 });
  bench.hear("ada").trainAndPublish();
  bench.deliver(updateOf("ada", 3)).hear("ada").wait(500).opened();
  expect(bench.state.phase).toBe("settling");
  return bench;
}

/** Hears the same of ada, but for what `said` tells, every second; after how many seconds the peer goes. */
function secondsBeforeItGoes(bench: Bench, said: (second: number) => Partial<Presence>): number {
  for (let second = 0; second < 900; second++) {
    bench.hear("ada", { round: 3, ...said(second) }).wait(1_000);
    if (bench.take("finish").length > 0) return second;
  }
  return Number.POSITIVE_INFINITY;
}

describe("a peer at the end of the run", () => {
  it("goes after a minute where another one is waiting for something else", () => {
    expect(secondsBeforeItGoes(settled(), () => ({ phase: "waiting" }))).toBeCloseTo(60, -1);
  });

  it("goes after three minutes where another one stands still", () => {
    const seconds = secondsBeforeItGoes(settled(), () => ({ phase: "training" }));
    expect(seconds).toBeGreaterThan(150);
    expect(seconds).toBeLessThan(190);
  });

  it("waits for one that gets on, ten minutes at the most", () => {
    expect(secondsBeforeItGoes(settled(), (step) => ({ phase: "syncing", step }))).toBeCloseTo(600, -1);
  });

  it("does not go the moment that somebody falls silent", () => {
    const bench = settled();
    for (let step = 0; step < 90; step++) bench.hear("ada", { round: 3, step }).wait(1_000);
    bench.wait(28_000);
    expect(bench.take("finish")).toEqual([]);
    bench.wait(3_000);
    expect(bench.take("finish").length).toBe(1);
  });

  it("has no vote while it takes another body", () => {
    const bench = settled();
    expect(phaseToTell(bench.state)).toBe("settling");
    const [root, closedRoot] = [rootNamed("other4"), rootNamed("other3")];
    for (const peer of ["ada", "bea"]) bench.hear(peer, { round: 4, phase: "settling", root, closedRoot });
    expect(bench.state.sync?.reason).toBe("diverged");
    expect(phaseToTell(bench.state)).toBe("syncing");
  });

  it("says so where the others have ended with another body and are gone", () => {
    const bench = settled();
    bench.hear("ada", { round: 4, root: rootNamed("theirs"), phase: "done", leaving: true }).wait(1_000);
    const notes = bench.take("note").map(({ event }) => event);
    const [own, theirs] = [bench.state.roots.root, rootNamed("theirs")];
    expect(notes).toContainEqual({ type: "ended-apart", round: 4, own, theirs, peers: 1 });
  });
});

describe("a peer that holds the body with which others have ended the run", () => {
  const announced = (root: string) => {
    const bench = settled().hear("bea", { round: 4, phase: "settling", root: rootNamed("other4") });
    bench.hear("ada", { round: 4, phase: "done", leaving: true, root });
    return bench.announce(updateOf("mallory", 3)).state.wanted.size;
  };

  it("counts nothing new, which they could not", () => {
    expect(announced(rootNamed("body4"))).toBe(0);
  });

  it("goes on counting where theirs is another one", () => {
    expect(announced(rootNamed("theirs"))).toBe(1);
  });
});

describe("a peer that is late in the last round", () => {
  const late = () => {
    const bench = new Bench({ rounds: 4 }, { round: 3 });
    bench.hear("ada").hear("bea").wait(15_000);
    expect(bench.state.phase).toBe("training");
    return bench.hear("bea", { round: 4, phase: "settling" });
  };

  it("makes its update where the others are there to count it", () => {
    const bench = late().hear("ada", { round: 4, phase: "settling" }).put({ type: "trained", round: 3 });
    expect(bench.take("publish")).toEqual([{ type: "publish", round: 3 }]);
  });

  it("keeps its progress where some of them have left, and ends with their body", () => {
    const bench = late().hear("ada", { round: 4, phase: "done", leaving: true });
    bench.put({ type: "trained", round: 3 });
    expect(bench.take("publish")).toEqual([]);
    expect(bench.state).toMatchObject({ phase: "collecting", unpublished: true });
  });
});
