import { describe, expect, it } from "vitest";
import { Bench, rootNamed, SELF, updateOf } from "../testing/round-logic.ts";
import { updateKey } from "./update-set.ts";

/** A peer that has made its own update of round 3 and collects the others'. */
function collecting(others: readonly string[], rules: ConstructorParameters<typeof Bench>[0] = {}): Bench {
  const bench = new Bench(rules, { round: 3 });
  for (const peer of others) bench.hear(peer);
  bench.wait(3_000);
  for (const peer of others) bench.hear(peer);
  bench.trainAndPublish();
  bench.take("open-round");
  return bench;
}

describe("starting", () => {
  it("listens before it believes to be alone", () => {
    const bench = new Bench().wait(2_500);
    expect(bench.state.phase).toBe("waiting");
    bench.wait(1_000);
    expect(bench.take("train")).toEqual([{ type: "train", round: 0, carry: false }]);
  });

  it("holds round 0 until the minimum of peers is there", () => {
    const bench = new Bench({ minimumPeers: 3 }).hear("ada", { phase: "waiting" }).wait(9_000);
    expect(bench.state.phase).toBe("waiting");
    bench.hear("ada", { phase: "waiting" }).hear("bea", { phase: "waiting" }).wait(3_250);
    expect(bench.take("train").length).toBe(1);
  });

  it("takes the body from those who are beyond round 0, and warms up before it trains", () => {
    const bench = new Bench().hear("ada", { round: 7 });
    expect(bench.take("sync").map(({ donors }) => donors)).toEqual([["ada"]]);
    expect(bench.state.phase).toBe("syncing");
    const roots = bench.rootsAt(7);
    bench.put({
      type: "synced",
      donor: "ada",
      closedRound: 6,
      round: 7,
      roots,
      counted: [],
      announced: [],
      returned: 0,
    });
    expect(bench.state.phase).toBe("warming");
    expect(bench.take("train")).toEqual([]);
    bench.put({ type: "warmed" });
    expect(bench.take("train")).toEqual([{ type: "train", round: 7, carry: false }]);
  });

  it("with an unpublished round on disk carries its progress", () => {
    const bench = new Bench({}, { round: 5 }).wait(3_250);
    expect(bench.take("train")).toEqual([{ type: "train", round: 5, carry: true }]);
  });

  it("with the round's update already made goes straight to collecting", () => {
    const bench = new Bench({}, { round: 5, publishedRound: 5 }).hear("ada").wait(3_250);
    expect(bench.state.phase).toBe("collecting");
    expect(bench.take("train")).toEqual([]);
  });

  it("asks other donors after one has failed, and begins alone when none is credible", () => {
    const bench = new Bench().hear("ada", { round: 7 });
    for (let failures = 1; failures <= 3; failures++) {
      bench.put({ type: "sync-failed", donors: ["ada"], detail: "does not answer" });
      for (let second = 0; failures < 3 && bench.take("sync").length === 0; second++) {
        expect(second).toBeLessThan(60);
        bench.wait(1_000).hear("ada", { round: 7 });
        expect(bench.take("train")).toEqual([]);
      }
    }
    bench.wait(3_000);
    expect(bench.take("train")).toEqual([{ type: "train", round: 0, carry: false }]);
  });
});

describe("a round", () => {
  it("goes from training over publishing to collecting", () => {
    const bench = new Bench().wait(3_250);
    bench.put({ type: "trained", round: 0 });
    expect(bench.take("publish")).toEqual([{ type: "publish", round: 0 }]);
    bench.put({ type: "published", id: updateOf(SELF, 0), roots: bench.state.roots });
    expect(bench.state.publishedRound).toBe(0);
  });

  it("ignores training of a round that it has left", () => {
    const bench = new Bench().wait(3_250).put({ type: "trained", round: 9 });
    expect(bench.take("publish")).toEqual([]);
  });

  it("closes when every expected update is in", () => {
    const bench = collecting(["ada", "bea"]).deliver(updateOf("ada", 3));
    expect(bench.take("open-round")).toEqual([]);
    bench.deliver(updateOf("bea", 3));
    expect(bench.take("open-round")).toEqual([{ type: "open-round", round: 4, closedRound: 3 }]);
  });

  it("takes half a second for a round at the least", () => {
    const bench = collecting(["ada"]).deliver(updateOf("ada", 3));
    bench.put({ type: "opened", round: 4, roots: bench.rootsAt(4) }).take("open-round");
    bench.trainAndPublish().hear("ada").deliver(updateOf("ada", 4));
    expect(bench.wait(250).take("open-round")).toEqual([]);
    expect(bench.wait(250).take("open-round").length).toBe(1);
  });

  it("closes once, however often it is looked at", () => {
    const bench = collecting(["ada"]).deliver(updateOf("ada", 3)).wait(1_000);
    expect(bench.take("open-round").length).toBe(1);
  });

  it("waits for an announced update of a peer that it does not expect", () => {
    const bench = collecting([]);
    const alone = collecting(["ada"]).announce(updateOf("zoe", 3)).deliver(updateOf("ada", 3));
    expect(alone.take("open-round")).toEqual([]);
    alone.put({ type: "refused", id: updateOf("zoe", 3), offence: undefined, detail: "" });
    expect(alone.take("open-round").length).toBe(1);
    expect(bench.state.busy).toBe("opening");
  });

  it.each([
    ["warms up", { phase: "warming" }],
    ["syncs", { phase: "syncing" }],
    ["has gone on to the next round", { round: 4 }],
    ["is out of reach", { round: 1 }],
    ["leaves", { leaving: true }],
  ] as const)("does not wait for a peer that %s", (_, said) => {
    const bench = collecting(["ada", "bea"]).deliver(updateOf("ada", 3)).hear("bea", said);
    expect(bench.take("open-round").length).toBe(1);
  });

  it("waits for a peer whose last update shows it nearer than its last presence does", () => {
    const bench = collecting(["ada", "bea"]).hear("bea", { round: 1 }).deliver(updateOf("bea", 2));
    bench.deliver(updateOf("ada", 3));
    expect(bench.take("open-round")).toEqual([]);
    bench.deliver(updateOf("bea", 3));
    expect(bench.take("open-round").length).toBe(1);
  });

  it("does not wait for a peer that has been silent for ten seconds", () => {
    const bench = collecting(["ada", "bea"]).deliver(updateOf("ada", 3));
    for (let second = 0; second < 9; second++) bench.hear("ada").wait(1_000);
    expect(bench.take("open-round")).toEqual([]);
    bench.hear("ada").wait(1_250);
    expect(bench.take("open-round").length).toBe(1);
  });

  it("closes at the run's limit, quorum or not", () => {
    const bench = collecting(["ada", "bea", "cleo"], { maxRoundMs: 20_000, quorum: 1 });
    for (let second = 0; second < 16; second++) {
      for (const peer of ["ada", "bea", "cleo"]) bench.hear(peer);
      bench.wait(1_000);
    }
    expect(bench.take("open-round")).toEqual([]);
    bench.wait(2_000);
    expect(bench.take("open-round").length).toBe(1);
  });

  it("passes a learned deadline with a quorum only, and not before it has asked around", () => {
    const bench = collecting(["ada", "bea", "cleo"], { quorum: 0.75 });
    const offsets = [4_000, 4_100, 4_200, 4_300];
    bench.state = {
      ...bench.state,
      pace: { arrivalOffsetsMs: offsets, roundDurationsMs: [4_500], transfersMs: [] },
    };
    const present = () => ["ada", "bea", "cleo"].reduce((on, peer) => on.hear(peer), bench);
    present().deliver(updateOf("ada", 3)).wait(3_000);
    expect(bench.take("open-round")).toEqual([]);
    present().deliver(updateOf("bea", 3)).wait(250);
    expect(bench.take("open-round")).toEqual([]);
    expect(bench.take("reconcile").map(({ peer }) => peer)).toEqual(["ada", "bea", "cleo"]);
    for (const peer of ["ada", "bea", "cleo"]) bench.put({ type: "reconciled", peer });
    expect(bench.take("open-round").length).toBe(1);
  });

  it("counts a late update of an open round and says so", () => {
    const bench = collecting(["ada"]);
    bench.put({
      type: "counted",
      id: updateOf("bea", 2),
      replaced: undefined,
      roots: bench.rootsAt(3, "more"),
    });
    const notes = bench.take("note").map(({ event }) => event);
    expect(notes).toContainEqual({ type: "late-update", round: 2, author: "bea", root: rootNamed("more3") });
    expect(bench.state.roots.root).toBe(rootNamed("more3"));
  });

  it("is the last one: settles, and leaves when all hold the same body", () => {
    const bench = collecting(["ada", "bea"], { rounds: 4 });
    bench.deliver(updateOf("ada", 3)).deliver(updateOf("bea", 3)).opened();
    expect(bench.state.phase).toBe("settling");
    bench.hear("ada", { round: 4 }).hear("bea", { round: 4, root: rootNamed("other") });
    expect(bench.take("finish")).toEqual([]);
    bench.hear("bea", { round: 4 });
    expect(bench.take("finish")).toEqual([{ type: "finish", reason: "completed" }]);
    expect(bench.take("send-presence").at(-1)).toEqual({ type: "send-presence", leaving: true });
  });

  it("closes with every payload that is here, however late the arithmetic comes to it", () => {
    const bench = collecting(["ada"], { maxRoundMs: 5_000 });
    const [early, late] = [updateOf("ada", 3), updateOf("bea", 3)];
    bench
      .announce(early)
      .put({ type: "fetched", key: updateKey(early) })
      .wait(20_000);
    expect(bench.take("open-round")).toEqual([]);
    // What comes when the round's time is up is no reason to go on waiting.
    bench.announce(late).put({ type: "fetched", key: updateKey(late) });
    bench.put({ type: "counted", id: early, replaced: undefined, roots: bench.state.roots }).wait(250);
    expect(bench.take("open-round").length).toBe(1);
  });
});

describe("stopping", () => {
  it("aborts training, says goodbye and finishes at once; after that nothing happens", () => {
    const bench = new Bench().wait(3_250).put({ type: "stop" });
    expect(bench.take("abort-training").length).toBe(1);
    expect(bench.take("send-presence").at(-1)?.leaving).toBe(true);
    expect(bench.take("finish")).toEqual([{ type: "finish", reason: "stopped" }]);
    bench.hear("ada", { round: 9 }).wait(10_000).put({ type: "stop" });
    expect([bench.take("finish"), bench.take("sync"), bench.take("send-presence")]).toEqual([[], [], []]);
  });
});

describe("falling behind", () => {
  it("stops training, syncs and carries the progress", () => {
    const bench = new Bench({}, { round: 3, publishedRound: 2 }).hear("ada").wait(3_250);
    bench.take("train");
    bench.hear("ada", { round: 8 });
    expect(bench.take("abort-training").length).toBe(1);
    expect(bench.take("sync").map(({ donors }) => donors)).toEqual([["ada"]]);
    const roots = bench.rootsAt(8);
    bench.put({
      type: "synced",
      donor: "ada",
      closedRound: 7,
      round: 8,
      roots,
      counted: [],
      announced: [],
      returned: 0,
    });
    expect(bench.take("train")).toEqual([{ type: "train", round: 8, carry: true }]);
  });

  it("goes on alone when the others cannot give what they claim", () => {
    const bench = new Bench({}, { round: 3 }).hear("ada").wait(3_250).hear("ada", { round: 8 });
    bench.take("train");
    bench.put({ type: "sync-failed", donors: ["ada"], detail: "does not answer" }).wait(2_250);
    expect(bench.take("train")).toEqual([{ type: "train", round: 3, carry: true }]);
  });

  it("enters the round that most are in by now, not the one they are leaving", () => {
    const bench = new Bench({}, { round: 3 }).hear("ada").wait(3_250).hear("ada", { round: 8 });
    bench.take("train");
    bench.hear("ada", { round: 9 });
    const roots = bench.rootsAt(8);
    bench.put({
      type: "synced",
      donor: "ada",
      closedRound: 7,
      round: 8,
      roots,
      counted: [],
      announced: [],
      returned: 0,
    });
    expect(bench.take("train")).toEqual([]);
    expect(bench.take("open-round")).toEqual([{ type: "open-round", round: 9, closedRound: 8 }]);
    bench.opened();
    expect(bench.take("train")).toEqual([{ type: "train", round: 9, carry: true }]);
  });

  it("waits for updates of rounds before its own, but not for ever", () => {
    const bench = new Bench({}, { round: 3 }).hear("ada").wait(3_250).hear("ada", { round: 8 });
    bench.take("train");
    const roots = bench.rootsAt(8);
    const announced = [7, 8].map((round) => ({ id: updateOf("bea", round), payloadBytes: 100 }));
    bench.put({
      type: "synced",
      donor: "ada",
      closedRound: 7,
      round: 8,
      roots,
      counted: [],
      announced,
      returned: 0,
    });
    expect(bench.take("fetch").map(({ holders }) => holders)).toEqual([
      ["bea", "ada"],
      ["bea", "ada"],
    ]);
    for (let second = 0; second < 9; second++) bench.hear("ada", { round: 8 }).wait(1_000);
    expect(bench.take("train")).toEqual([]);
    bench.hear("ada", { round: 8 }).wait(1_250);
    expect(bench.take("train").length).toBe(1);
  });

  it("does not follow one peer that is far ahead of two that are here", () => {
    const bench = new Bench({}, { round: 3 }).hear("ada").hear("mallory", { round: 3 }).wait(3_250);
    bench.hear("mallory", { round: 1_000 });
    expect(bench.take("sync")).toEqual([]);
  });

  it("goes back where more lag out of reach than are here", () => {
    const bench = new Bench({}, { round: 9 }).hear("ada").wait(3_250);
    bench.hear("ada", { phase: "done", leaving: true }).hear("bea", { round: 4 }).hear("cleo", { round: 4 });
    expect(bench.take("sync").map(({ donors }) => donors)).toEqual([["bea", "cleo"]]);
  });
});

describe("divergence", () => {
  it("heals from the plurality's donors, and trains on meanwhile", () => {
    const bench = new Bench({}, { round: 3 }).hear("ada").hear("bea").wait(3_250);
    bench.take("sync");
    bench.hear("ada", { lineage: "other" }).hear("bea", { lineage: "other" });
    const [sync] = bench.take("sync");
    expect(sync?.donors).toEqual(["ada", "bea"]);
    expect(sync?.roots.get(2)).toBe(rootNamed("other2"));
    expect(bench.state.phase).toBe("training");
    expect(bench.take("abort-training")).toEqual([]);
    const roots = bench.rootsAt(3, "other");
    bench.put({
      type: "synced",
      donor: "ada",
      closedRound: 2,
      round: 3,
      roots,
      counted: [],
      announced: [],
      returned: 1,
    });
    expect(bench.state.phase).toBe("training");
    expect(bench.take("note").map(({ event }) => event)).toContainEqual({
      type: "healed",
      closedRound: 2,
      root: rootNamed("other2"),
      donor: "ada",
      returnedUpdates: 1,
    });
  });

  it("closes no round while it heals", () => {
    const bench = collecting(["ada", "bea"]);
    bench.hear("ada", { lineage: "other" }).hear("bea", { lineage: "other" });
    bench.deliver(updateOf("ada", 3)).deliver(updateOf("bea", 3));
    expect(bench.take("open-round")).toEqual([]);
    bench.put({ type: "sync-failed", donors: ["ada", "bea"], detail: "does not answer" });
    expect(bench.take("open-round").length).toBe(1);
  });
});
