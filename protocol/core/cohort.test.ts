import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sha256 } from "../net/hash.ts";
import { Bench, SELF, updateOf } from "../testing/round-logic.ts";
import { type Cohort, cohortOf, drawnOf, RANKS } from "./cohort.ts";
import { vectors } from "./golden/vectors.ts";

const { cohort: golden } = vectors;

/** Ranks by name: who is not listed comes last. */
const inOrder = (size: number, ...names: string[]): Cohort => ({
  size,
  rank: (_, author) => (names.includes(author) ? names.indexOf(author) : RANKS - 1),
});

/** A peer that trains round 3 among others that do. */
function among(cohort: Cohort, others: readonly string[]): Bench {
  const bench = new Bench({ cohort }, { round: 3, publishedRound: 2 });
  for (const other of others) bench.hear(other);
  bench.wait(3_250);
  for (const other of others) bench.hear(other);
  bench.take("note");
  return bench;
}

describe("the cohort of a round", () => {
  it.each(golden.rounds)(
    "is that of an independent implementation in round $round",
    ({ round, ranks, drawn }) => {
      const cohort = cohortOf(golden.runId, golden.size, sha256);
      for (const [author, rank] of Object.entries(ranks)) expect(cohort.rank(round, author)).toBe(rank);
      expect([...drawnOf(cohort, round, Object.keys(ranks))]).toEqual(drawn);
    },
  );

  it("draws everyone about equally often", () => {
    const cohort = cohortOf("0d".repeat(32), 8, sha256);
    const authors = Array.from({ length: 40 }, (_, at) => `peer-${at}`);
    const times = new Map(authors.map((author) => [author, 0]));
    for (let round = 0; round < 500; round++) {
      for (const author of drawnOf(cohort, round, authors)) times.set(author, times.get(author)! + 1);
    }
    // 100 times each, give or take four deviations of a binomial.
    expect(Math.min(...times.values())).toBeGreaterThan(64);
    expect(Math.max(...times.values())).toBeLessThan(136);
  });

  it("has no more members than places, and only of the lowest ranks", () => {
    const names = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 6 }), { maxLength: 30 });
    fc.assert(
      fc.property(names, fc.integer({ min: 1, max: 12 }), fc.nat(1_000), (authors, size, round) => {
        const cohort = cohortOf("0d".repeat(32), size, sha256);
        const drawn = drawnOf(cohort, round, authors);
        expect(drawn.size).toBe(Math.min(size, authors.length));
        const highest = Math.max(-1, ...[...drawn].map((author) => cohort.rank(round, author)));
        for (const author of authors) {
          if (!drawn.has(author)) expect(cohort.rank(round, author)).toBeGreaterThan(highest);
        }
      }),
    );
  });
});

describe("a peer in a swarm beyond its cohort", () => {
  it("publishes what it has trained where it is drawn", () => {
    const bench = among(inOrder(2, "ada", SELF), ["ada", "bea", "cleo"]);
    bench.put({ type: "trained", round: 3 });
    expect(bench.take("publish")).toEqual([{ type: "publish", round: 3 }]);
  });

  it("keeps it where others are drawn, waits for those alone, and trains on with it", () => {
    const first = inOrder(2, "ada", "bea");
    // Its own turn comes in round 6.
    const rank = (round: number, author: string) =>
      author === SELF && round === 6 ? 0 : first.rank(round, author);
    const bench = among({ size: 2, rank }, ["ada", "bea", "cleo"]);
    bench.put({ type: "trained", round: 3 });
    expect(bench.take("publish")).toEqual([]);
    expect(bench.state.phase).toBe("collecting");
    expect(bench.take("note").map(({ event }) => event.type)).toContain("not-drawn");
    // Nobody is to wait for it, should one that is drawn fall silent from now on.
    expect(bench.state.cadence.intervalMs).toBeGreaterThan(0);
    bench.deliver(updateOf("ada", 3)).wait(500);
    expect(bench.take("open-round")).toEqual([]);
    bench.deliver(updateOf("bea", 3));
    expect(bench.take("open-round")).toMatchObject([{ round: 4 }]);
    bench.take("train");
    bench.opened();
    expect(bench.take("train")).toEqual([{ type: "train", round: 4, carry: true }]);
  });

  it("steps in for one that is drawn and has fallen silent", () => {
    const bench = among(inOrder(2, "ada", "bea", SELF), ["ada", "bea", "cleo"]);
    for (let second = 0; second < 12; second += 2) bench.wait(2_000).hear("ada").hear("cleo");
    bench.put({ type: "trained", round: 3 });
    expect(bench.take("publish")).toEqual([{ type: "publish", round: 3 }]);
  });

  it("does not wait for more once the cohort is full, whoever is silent", () => {
    const bench = among(inOrder(2, "ada", "bea"), ["ada", "bea", "cleo", "dora"]);
    bench.deliver(updateOf("ada", 3)).deliver(updateOf("bea", 3));
    bench.put({ type: "trained", round: 3 });
    expect(bench.take("open-round")).toMatchObject([{ round: 4 }]);
  });

  it("fetches an update that is drawn late only if one before it does not come", () => {
    const bench = among(inOrder(2, "ada", "bea", "cleo"), ["ada", "bea", "cleo"]);
    const cleos = updateOf("cleo", 3);
    bench.announce(updateOf("ada", 3)).announce(updateOf("bea", 3)).announce(cleos);
    const fetched = () => bench.take("fetch").map(({ key }) => key.split("/")[1]);
    expect(fetched().sort()).toEqual(["ada", "bea"]);
    bench.put({ type: "counted", id: updateOf("ada", 3), replaced: undefined, roots: bench.state.roots });
    for (let attempt = 0; attempt < 3; attempt++) {
      const { key } = [...bench.state.wanted]
        .map(([key, { id }]) => ({ key, id }))
        .find(({ id }) => id.author === "bea")!;
      bench.put({ type: "fetch-failed", key }).wait(9_000);
    }
    expect(fetched()).toContain("cleo");
  });

  it("does not look at an update that can never count", () => {
    const bench = among(inOrder(2, "ada", "bea"), ["ada", "bea", "cleo"]);
    bench.deliver(updateOf("ada", 3)).deliver(updateOf("bea", 3));
    bench.take("fetch");
    bench.announce(updateOf("cleo", 3));
    expect(bench.take("fetch")).toEqual([]);
    expect(bench.state.wanted.size).toBe(0);
  });

  it("that is not heard has no vote: two halves that see the same ballots choose the same body", () => {
    const verdictOf = (lineage: string) => {
      const bench = new Bench({ cohort: inOrder(2, "ada", "bea") }, { round: 3, publishedRound: 2 });
      if (lineage !== "body") {
        const roots = bench.rootsAt(3, lineage);
        bench.state = { ...bench.state, roots, closedRoots: new Map([[2, roots.closedRoot]]) };
      }
      const names = ["ada", "bea", "cleo", "dora", "eve", "fay", "gil", "hal", "ida", "jo"];
      names.push("kim", "lea", "mia", "noa");
      for (const [at, name] of names.entries()) {
        bench.hear(name, {
          lineage: at % 2 === 0 ? "body" : "odd",
          ...(at < 2 ? {} : { intervalMs: 8_000 }),
        });
      }
      bench.wait(5_000);
      return bench.take("sync").length > 0 ? "moves" : "stays";
    };
    // "body2" is the lower root, and one vote each is a tie.
    expect([verdictOf("body"), verdictOf("odd")]).toEqual(["stays", "moves"]);
  });

  it("leaves a place to others that were faster and are drawn before it", () => {
    const bench = among(inOrder(2, "ada", "bea", SELF), []);
    bench.put({ type: "trained", round: 3 });
    expect(bench.take("publish").length).toBe(1);
    bench.deliver(updateOf("ada", 3)).deliver(updateOf("bea", 3)).put({ type: "outdrawn", round: 3 });
    expect(bench.state.phase).toBe("collecting");
    expect(bench.take("open-round")).toMatchObject([{ round: 4 }]);
  });
});
