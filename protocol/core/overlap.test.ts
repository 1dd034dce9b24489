// Training goes on while a round is collected.
import { describe, expect, it } from "vitest";
import { Bench, SELF, updateOf } from "../testing/round-logic.ts";

/** A peer that has just trained round 3 beside another one. */
function trained(rules: ConstructorParameters<typeof Bench>[0] = {}): Bench {
  const bench = new Bench({ overlap: true, ...rules }, { round: 3, publishedRound: 2 });
  bench.hear("ada").wait(3_250).hear("ada");
  bench.put({ type: "trained", round: 3 });
  return bench;
}

const published = (bench: Bench) =>
  bench.put({ type: "published", id: updateOf(SELF, 3), roots: bench.state.roots });

const synced = (bench: Bench, round: number, lineage?: string) =>
  bench.put({
    type: "synced",
    donor: "ada",
    closedRound: round - 1,
    round,
    roots: bench.rootsAt(round, lineage),
    counted: [],
    announced: [],
    returned: 0,
  });

describe("with overlap", () => {
  it("goes on with the next round's steps as soon as a round's are done, before its update is made", () => {
    const bench = trained();
    expect(bench.take("publish")).toEqual([{ type: "publish", round: 3 }]);
    expect(bench.take("train-ahead")).toEqual([{ type: "train-ahead", round: 4 }]);
    expect(published(bench).state.phase).toBe("collecting");
  });

  it("trains the next round without a word to stop, from the steps that are taken", () => {
    const bench = published(trained());
    bench.take("train");
    bench.put({ type: "stepped", round: 4, step: 2, bitsPerByte: 3 });
    expect(bench.take("note").map(({ event }) => event)).toContainEqual({
      ...{ type: "step", round: 4, step: 2, steps: 4, bitsPerByte: 3 },
    });
    expect(bench.state.step).toBe(0);
    bench.deliver(updateOf("ada", 3)).opened();
    expect(bench.take("abort-training")).toEqual([]);
    expect(bench.take("train")).toEqual([{ type: "train", round: 4, carry: false }]);
    expect(bench.state.step).toBe(2);
    expect(bench.state.aheadSteps).toBeUndefined();
  });

  it("counts a step that was ahead when it was taken and is heard of in its round", () => {
    const bench = published(trained()).deliver(updateOf("ada", 3)).opened();
    bench.put({ type: "stepped", round: 4, step: 1, bitsPerByte: 3 });
    expect(bench.state.step).toBe(1);
  });

  it("does not go beyond the last wished round", () => {
    const bench = trained({ rounds: 4 });
    expect(bench.take("train-ahead")).toEqual([]);
    published(bench).deliver(updateOf("ada", 3)).opened();
    expect(bench.state.phase).toBe("settling");
  });

  it("stops where it has been left behind, and carries nothing of what it has published", () => {
    const bench = published(trained());
    bench.take("train");
    bench.hear("ada", { round: 8 });
    expect(bench.take("abort-training").length).toBe(1);
    synced(bench, 8);
    expect(bench.take("train")).toEqual([{ type: "train", round: 8, carry: false }]);
  });

  it("goes on ahead while it heals in the round it stands in", () => {
    const bench = published(trained()).hear("bea");
    bench.hear("ada", { lineage: "other" }).hear("bea", { lineage: "other" });
    expect(bench.take("sync").length).toBe(1);
    synced(bench, 3, "other");
    expect(bench.take("abort-training")).toEqual([]);
    expect(bench.state.aheadSteps).toBe(0);
    expect(bench.state.phase).toBe("collecting");
  });

  it("carries the round as well where its update was never made", () => {
    const bench = trained().put({ type: "publish-dropped" });
    bench.take("train");
    bench.hear("ada", { round: 8 });
    synced(bench, 8);
    expect(bench.take("train")).toEqual([{ type: "train", round: 8, carry: true }]);
  });
});

describe("without overlap", () => {
  it("waits for the others", () => {
    expect(trained({ overlap: false }).take("train-ahead")).toEqual([]);
  });
});
