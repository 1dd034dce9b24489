import { describe, expect, it } from "vitest";
import { Bench, rootNamed } from "../testing/round-logic.ts";
import { campToJoin, closedBodyVerdict, donorsOf, pluralityRoots } from "./agreement.ts";

/** A peer in round 5 with the body "body4" closed, that has heard what each other peer holds. */
function having(heard: Readonly<Record<string, Parameters<Bench["hear"]>[1]>>): Bench {
  const bench = new Bench({}, { round: 5 });
  // Still listening, so that nothing is acted on.
  for (const [peer, said] of Object.entries(heard)) bench.hear(peer, said);
  return bench;
}

const verdictOf = (bench: Bench) => closedBodyVerdict(bench.state, bench.nowMs);

describe("the vote on closed bodies", () => {
  it.each([
    ["is undecided alone", {}, "undecided", undefined],
    ["agrees where all do", { ada: {}, bea: {} }, "agreed", undefined],
    ["is won by the plurality", { ada: { lineage: "x" }, bea: { lineage: "x" } }, "outvoted", "x4"],
    ["keeps a body that most share", { ada: {}, bea: { lineage: "a" } }, "agreed", undefined],
    ["goes to the lower root in a tie", { ada: { lineage: "a" } }, "outvoted", "a4"],
    ["stays with the lower root in a tie", { ada: { lineage: "c" } }, "agreed", undefined],
    [
      "counts pluralities, not majorities",
      { a: { lineage: "x" }, b: { lineage: "x" }, c: { lineage: "y" } },
      "outvoted",
      "x4",
    ],
    ["does not count who syncs", { ada: { lineage: "a", phase: "syncing" } }, "undecided", undefined],
    ["does not count who warms up", { ada: { lineage: "a", phase: "warming" } }, "undecided", undefined],
    ["does not count who leaves", { ada: { lineage: "a", leaving: true } }, "undecided", undefined],
    ["counts who settles", { ada: { lineage: "a", phase: "settling" } }, "outvoted", "a4"],
    [
      "gives up nothing that the silent could bring level",
      { ada: { lineage: "a" }, bea: { round: 4 } },
      "undecided",
      undefined,
    ],
    [
      "does not wait for silent ones that change nothing",
      { a: { lineage: "x" }, b: { lineage: "x" }, c: { lineage: "x" }, d: { round: 4 } },
      "outvoted",
      "x4",
    ],
  ] as const)("%s", (_, heard, outcome, root) => {
    const verdict = verdictOf(having(heard));
    expect(verdict.outcome).toBe(outcome);
    if (verdict.outcome === "outvoted") expect(verdict.root).toBe(rootNamed(root!));
  });

  it("looks back where nobody has closed the newest round yet", () => {
    const bench = having({ ada: { lineage: "a" }, bea: { lineage: "a" } });
    bench.state = {
      ...bench.state,
      closedRoots: new Map([...bench.state.closedRoots, [5, rootNamed("body5")]]),
    };
    expect(verdictOf(bench)).toMatchObject({ outcome: "outvoted", closedRound: 4, donors: ["ada", "bea"] });
  });

  it("of one that settles counts who has said goodbye, but takes nothing from them", () => {
    const gone = { lineage: "x", phase: "done", leaving: true } as const;
    const bench = having({ ada: gone, bea: gone, cleo: { lineage: "a" } });
    expect(verdictOf(bench)).toMatchObject({ outcome: "outvoted", root: rootNamed("a4") });
    bench.state = { ...bench.state, phase: "settling" };
    expect(verdictOf(bench).outcome).toBe("undecided");
    bench.hear("dora", { lineage: "x" });
    expect(verdictOf(bench)).toMatchObject({ outcome: "outvoted", root: rootNamed("x4"), donors: ["dora"] });
    bench.nowMs += 120_000;
    bench.hear("cleo", { lineage: "a" });
    expect(verdictOf(bench)).toMatchObject({ outcome: "outvoted", root: rootNamed("a4") });
  });

  it("of one that settles does not wait for those who have left before they came so far", () => {
    const bench = having({ ada: { lineage: "a" }, bea: { round: 1, phase: "done", leaving: true } });
    bench.state = { ...bench.state, phase: "settling" };
    expect(verdictOf(bench)).toMatchObject({ outcome: "outvoted", root: rootNamed("a4") });
  });

  it("is the same for two peers that see the same", () => {
    const one = closedBodyVerdict(having({ ada: { lineage: "a" } }).state, 0);
    const other = having({ ada: {} });
    other.state = { ...other.state, closedRoots: new Map([[4, rootNamed("a4")]]) };
    expect(one).toMatchObject({ outcome: "outvoted", root: rootNamed("a4") });
    expect(verdictOf(other).outcome).toBe("agreed");
  });

  it("forgets what a peer held before it exchanged its body", () => {
    const bench = having({ ada: { round: 4, lineage: "a" } })
      .hear("ada", { lineage: "a" })
      .hear("ada");
    expect([...bench.state.members.get("ada")!.closedRoots]).toEqual([[4, rootNamed("body4")]]);
  });
});

describe("the camp to move to", () => {
  const campOf = (heard: Parameters<typeof having>[0]) =>
    campToJoin(having(heard).state, 0)?.map(({ presence }) => presence.author);

  it.each([
    ["is the one ahead when it is alone there and we are alone here", { ada: { round: 9 } }, ["ada"]],
    ["is none when one is ahead and another is here", { ada: { round: 9 }, bea: {} }, undefined],
    ["is none when the others are within reach", { ada: { round: 6 }, bea: { round: 4 } }, undefined],
    ["is none when one lags", { ada: { round: 2 } }, undefined],
    [
      "is the one behind when more lag than are here",
      { ada: { round: 2 }, bea: { round: 2 } },
      ["ada", "bea"],
    ],
    ["is ahead when as many are there as are not", { a: { round: 9 }, b: { round: 9 }, c: {} }, ["a", "b"]],
  ] as const)("%s", (_, heard, camp) => {
    expect(campOf(heard)).toEqual(camp);
  });

  it("is never exchanged for the other one's: of two camps at most one moves", () => {
    for (let ahead = 1; ahead <= 4; ahead++) {
      for (let behind = 1; behind <= 4; behind++) {
        const others = (count: number, round: number) =>
          Object.fromEntries(Array.from({ length: count }, (_, at) => [`${round}-${at}`, { round }]));
        const fromBehind = campOf({ ...others(behind - 1, 5), ...others(ahead, 9) });
        const fromAhead = campOf({ ...others(ahead - 1, 5), ...others(behind, 1) });
        expect([fromBehind === undefined, fromAhead === undefined]).toEqual([
          ahead < behind,
          ahead >= behind,
        ]);
      }
    }
  });
});

describe("donors", () => {
  it("of the most common body come first, the newest of them before others", () => {
    const bench = having({
      ada: { round: 9 },
      bea: { round: 9, lineage: "x" },
      cleo: { round: 9, lineage: "x" },
    });
    expect(donorsOf([...bench.state.members.values()])).toEqual(["bea", "cleo", "ada"]);
    expect(pluralityRoots([...bench.state.members.values()])).toEqual(new Map([[8, rootNamed("x8")]]));
  });
});
