// Rules of starting where the run names its initial body, one at a time.
import { describe, expect, it } from "vitest";
import { Bench, rootNamed, updateOf } from "../testing/round-logic.ts";
import { LISTEN_MS } from "./joining.ts";
import { initialRoundState } from "./round-state.ts";
import { NO_BODY } from "./types.ts";

const initialBody = rootNamed("body0");

/** A peer that stands before round 0 of a run that starts from "body0", and does not have it. */
function bodiless(rules: ConstructorParameters<typeof Bench>[0] = {}): Bench {
  const bench = new Bench({ initialBody, ...rules });
  const roots = { ...bench.state.roots, root: NO_BODY, closedRoot: NO_BODY };
  const { rules: all, self, round, publishedRound, experienced } = bench.state;
  bench.state = initialRoundState(
    { rules: all, self, round, publishedRound, experienced, roots, counted: [] },
    bench.nowMs,
  );
  return bench;
}

const waiting = { phase: "waiting", round: 0 } as const;
const without = { ...waiting, root: NO_BODY, closedRoot: NO_BODY };

describe("a peer without a body", () => {
  it("asks those at round 0 that hold the named one, and no others", () => {
    const bench = bodiless();
    bench.hear("ada", without).hear("bea", { ...waiting, lineage: "other" });
    expect(bench.wait(10_000).take("sync")).toEqual([]);
    bench.hear("cleo", waiting).hear("dora", waiting);
    expect(bench.take("sync").map(({ donors }) => donors)).toEqual([["cleo"]]);
  });

  it("goes to those who are in the midst of the run first", () => {
    const bench = bodiless();
    bench.hear("ada", { round: 7, lineage: "trained" });
    expect(bench.take("sync").map(({ donors }) => donors)).toEqual([["ada"]]);
    bench.put({ type: "sync-failed", donors: ["ada"], detail: "" }).hear("bea", waiting);
    expect(
      bench
        .wait(3_000)
        .take("sync")
        .map(({ donors }) => donors),
    ).toEqual([["bea"]]);
  });

  it("neither begins nor fetches an update, whatever it hears and however long it waits", () => {
    const bench = bodiless({ minimumPeers: 1 });
    bench.announce(updateOf("ada", 0)).announce(updateOf("bea", 1)).wait(600_000);
    expect(bench.state.phase).toBe("waiting");
    expect([bench.take("train"), bench.take("fetch"), bench.take("warm-up")]).toEqual([[], [], []]);
    const said = bench.take("note").filter(({ event }) => event.type === "initial-body-awaited");
    expect(said.map(({ event }) => event)).toEqual([
      { type: "initial-body-awaited", root: initialBody, peers: 0 },
    ]);
  });

  it("fetches what was announced meanwhile once it has a body", () => {
    const bench = bodiless();
    const id = updateOf("ada", 0);
    bench.hear("ada").announce(id);
    const counted = { donor: "ada", closedRound: 0, round: 0, counted: [], announced: [], returned: 0 };
    bench.put({ type: "synced", roots: bench.rootsAt(0), ...counted });
    expect(bench.take("fetch").length).toBe(1);
  });

  it("is asked for no updates, has no vote and is not waited for", () => {
    const bench = new Bench({ initialBody, embeddingWarmupSteps: 0 });
    bench
      .wait(5_000)
      .hear("ada", { ...without, sameUpdates: false })
      .trainAndPublish();
    expect(bench.state.phase).toBe("collecting");
    expect(bench.take("reconcile")).toEqual([]);
    expect(bench.wait(1_000).take("open-round").length).toBe(1);
    bench
      .opened()
      .hear("bea", { phase: "training", round: 1, root: NO_BODY, closedRoot: NO_BODY, closedRound: 0 });
    expect(bench.state.members.get("bea")?.closedRoots.size).toBe(0);
  });
});

describe("a peer with the body that the run starts from", () => {
  it("does not count peers that are still fetching it towards the minimum", () => {
    const bench = new Bench({ initialBody, minimumPeers: 2, embeddingWarmupSteps: 0 });
    bench.wait(LISTEN_MS).hear("ada", without).wait(4_000);
    bench.hear("ada", { ...without, phase: "syncing" }).wait(4_000);
    expect(bench.state.phase).toBe("waiting");
    bench.hear("ada", waiting).wait(4_000);
    expect(bench.state.phase).toBe("training");
  });

  it("fits its embeddings to it, waits for the others, and only then trains", () => {
    const bench = new Bench({ initialBody, minimumPeers: 2 });
    bench.wait(1_000);
    expect([bench.state.phase, bench.take("warm-up").length]).toEqual(["warming", 1]);
    bench.put({ type: "warmed" }).wait(30_000);
    expect(bench.state.phase).toBe("waiting");
    bench.hear("ada", waiting).wait(4_000);
    expect([bench.state.phase, bench.take("warm-up").length]).toEqual(["training", 0]);
  });
});
