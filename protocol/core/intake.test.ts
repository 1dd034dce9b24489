import { describe, expect, it } from "vitest";
import { Bench, SELF, updateOf } from "../testing/round-logic.ts";

const inRound = (round: number) => new Bench({}, { round }).hear("ada", { round });
const keys = (bench: Bench) => bench.take("fetch").map(({ key }) => key);
const keyOf = (author: string, round: number, payload?: string) => {
  const id = updateOf(author, round, payload);
  return `${id.round}/${id.author}/${id.statement}`;
};

describe("an announcement", () => {
  it.each([
    ["of the current round is fetched", 5, true, undefined],
    ["of the round before, which is still open, is fetched", 4, true, undefined],
    ["of a closed round is dropped as expired", 3, false, "expired"],
    ["two rounds ahead is fetched", 7, true, undefined],
    ["three rounds ahead is dropped as too early", 8, false, "too-early"],
  ] as const)("%s", (_, round, fetched, why) => {
    const bench = inRound(5).announce(updateOf("bea", round));
    expect(keys(bench)).toEqual(fetched ? [keyOf("bea", round)] : []);
    expect(bench.take("drop").map((drop) => drop.why)).toEqual(why === undefined ? [] : [why]);
    expect(bench.take("penalise")).toEqual([]);
  });

  it("is fetched once, however often and from whomever it comes", () => {
    const bench = inRound(5).announce(updateOf("bea", 5)).announce(updateOf("bea", 5), "cleo");
    bench.announce(updateOf("bea", 5));
    expect(keys(bench).length).toBe(1);
    bench.put({ type: "counted", id: updateOf("bea", 5), replaced: undefined, roots: bench.state.roots });
    bench.announce(updateOf("bea", 5));
    expect(keys(bench)).toEqual([]);
  });

  it("of more bytes than the codec can make is refused, and its author penalised once", () => {
    const bench = inRound(5)
      .announce(updateOf("bea", 5), "bea", 1_001)
      .announce(updateOf("bea", 5), "bea", 1_001);
    expect(keys(bench)).toEqual([]);
    expect(bench.take("penalise").map(({ peer, offence }) => [peer, offence])).toEqual([
      ["bea", "oversized"],
    ]);
  });

  it("of a second update by one author and round is an equivocation; only a lower payload is worth fetching", () => {
    const bench = inRound(5).deliver(updateOf("bea", 5, "m"));
    bench.take("fetch");
    bench.announce(updateOf("bea", 5, "z"));
    expect(keys(bench)).toEqual([]);
    bench.announce(updateOf("bea", 5, "a"));
    expect(keys(bench)).toEqual([keyOf("bea", 5, "a")]);
    expect(bench.take("penalise").map(({ offence }) => offence)).toEqual(["equivocation", "equivocation"]);
    bench.put({
      type: "counted",
      id: updateOf("bea", 5, "a"),
      replaced: updateOf("bea", 5, "m"),
      roots: bench.state.roots,
    });
    expect(bench.state.counted.get(5)?.get("bea")).toBe(updateOf("bea", 5, "a").statement);
    bench.announce(updateOf("bea", 5, "m"), "cleo");
    expect(keys(bench)).toEqual([]);
  });

  it("does not let one author fill the memory", () => {
    const bench = inRound(5);
    // Each higher than the one before, and each lower.
    for (let count = 0; count < 50; count++) bench.announce(updateOf("bea", 5, `m${10 + count}`));
    for (let count = 0; count < 50; count++) bench.announce(updateOf("bea", 5, `k${99 - count}`));
    expect(bench.state.wanted.size).toBe(2);
  });

  it("of many by one author all come to their turn, where those before prove to be nothing", () => {
    const bench = inRound(5);
    const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => updateOf("bea", 5, name)) as [
      ...ReturnType<typeof updateOf>[],
    ];
    for (const id of [a, b, c, d]) bench.announce(id!, "ada");
    expect(keys(bench)).toEqual([keyOf("bea", 5, "a"), keyOf("bea", 5, "b")]);
    bench.put({ type: "refused", id: a!, offence: undefined, detail: "" }).announce(c!, "ada");
    expect(keys(bench)).toEqual([keyOf("bea", 5, "c")]);
    // One that nobody gives makes room too.
    for (let failures = 0; failures < 3; failures++) {
      bench.put({ type: "fetch-failed", key: keyOf("bea", 5, "b") }).wait(8_000);
    }
    bench.take("fetch");
    bench.announce(d!, "ada");
    expect(keys(bench)).toEqual([keyOf("bea", 5, "d")]);
    expect(bench.state.wanted.size).toBe(2);
  });

  it("does not let many authors fill the memory", () => {
    const bench = inRound(5);
    for (let count = 0; count < 5_000; count++) bench.announce(updateOf(`peer${count}`, 5), "ada");
    expect(bench.state.wanted.size).toBe(4_096);
    expect(bench.take("drop").map(({ why }) => why)).toEqual(Array(904).fill("overflow"));
  });

  it("of an own update that was lost here keeps a second one from being made", () => {
    const bench = inRound(5).announce(updateOf(SELF, 5), "ada");
    expect(bench.state.publishedRound).toBe(5);
    expect(bench.take("penalise")).toEqual([]);
  });
});

describe("fetching", () => {
  it("is tried again after growing pauses", () => {
    const bench = inRound(5).announce(updateOf("bea", 5));
    const tried: number[] = [];
    for (let attempt = 0; attempt < 5; attempt++) {
      while (bench.take("fetch").length === 0) bench.hear("ada").wait(250);
      tried.push(bench.nowMs);
      bench.put({ type: "fetch-failed", key: keyOf("bea", 5) });
    }
    const pauses = tried.slice(1).map((at, index) => at - tried[index]!);
    expect(pauses).toEqual([500, 1_000, 2_000, 4_000]);
  });

  it("is tried at once where a new holder is known", () => {
    const bench = inRound(5).announce(updateOf("bea", 5));
    bench.take("fetch");
    bench.put({ type: "fetch-failed", key: keyOf("bea", 5) });
    expect(bench.take("fetch")).toEqual([]);
    bench.announce(updateOf("bea", 5), "cleo");
    expect(bench.take("fetch").map(({ holders }) => holders)).toEqual([["bea", "cleo"]]);
  });

  it("runs four at a time, the oldest round first", () => {
    const bench = inRound(5);
    for (const peer of ["a", "b", "c", "d", "e", "f"]) bench.announce(updateOf(peer, 6));
    bench.announce(updateOf("g", 4));
    expect(keys(bench)).toEqual(["a", "b", "c", "d"].map((peer) => keyOf(peer, 6)));
    bench.put({ type: "counted", id: updateOf("a", 6), replaced: undefined, roots: bench.state.roots });
    expect(keys(bench)).toEqual([keyOf("g", 4)]);
  });

  it("of an invalid payload penalises its author and is never repeated", () => {
    const bench = inRound(5).announce(updateOf("bea", 5));
    bench.take("fetch");
    bench.put({
      type: "refused",
      id: updateOf("bea", 5),
      offence: "non-finite-update",
      detail: "value 3 is NaN",
    });
    expect(bench.take("penalise")).toEqual([
      { type: "penalise", peer: "bea", offence: "non-finite-update", detail: "value 3 is NaN" },
    ]);
    bench.announce(updateOf("bea", 5), "cleo").wait(10_000);
    expect(keys(bench)).toEqual([]);
  });

  it("ends for rounds that close", () => {
    const bench = inRound(5).announce(updateOf("bea", 4));
    bench.put({ type: "opened", round: 6, roots: bench.rootsAt(6) });
    expect(bench.state.wanted.size).toBe(0);
  });
});
