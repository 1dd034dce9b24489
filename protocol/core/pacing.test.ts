import { describe, expect, it } from "vitest";
import { Bench, SELF, updateOf } from "../testing/round-logic.ts";

const OTHERS = ["ada", "bea", "cleo"];
const present = (bench: Bench) => OTHERS.reduce((on, peer) => on.hear(peer), bench);

/** A peer in round 3 whose others' updates have come after four seconds each time, and took a second. */
function slow(rules: ConstructorParameters<typeof Bench>[0] = {}): Bench {
  const bench = new Bench({ pacing: true, ...rules }, { round: 3, publishedRound: 2 });
  present(bench).wait(3_250);
  const pace = { arrivalOffsetsMs: [4_000, 4_000, 4_000], roundDurationsMs: [4_000], transfersMs: [1_000] };
  bench.state = { ...bench.state, pace, roundStartsMs: new Map([[3, bench.nowMs]]) };
  return present(bench);
}

const stepped = (bench: Bench, step: number) =>
  bench.put({ type: "stepped", round: 3, step, bitsPerByte: 3 });
const ENDED = [{ type: "end-training", round: 3 }];

describe("pacing", () => {
  it("ends a round once most others are done and the deadline is a transfer away", () => {
    const bench = stepped(slow(), 1).announce(updateOf("ada", 3)).announce(updateOf("bea", 3));
    expect(bench.wait(2_750).take("end-training")).toEqual([]);
    expect(bench.wait(250).take("end-training")).toEqual(ENDED);
    // Said once, and what it gives is published as any other.
    expect(bench.wait(1_000).take("end-training")).toEqual([]);
    bench.put({ type: "trained", round: 3 });
    expect(bench.take("publish")).toEqual([{ type: "publish", round: 3 }]);
  });

  it("goes on where no more than a few are done, however late it is", () => {
    const bench = present(stepped(slow(), 1).announce(updateOf("ada", 3)).wait(4_000));
    expect(present(bench.wait(4_000)).take("end-training")).toEqual([]);
    expect(bench.announce(updateOf("bea", 3)).take("end-training")).toEqual(ENDED);
  });

  it("takes those for done who are past the round", () => {
    const bench = stepped(slow(), 1).wait(4_000).hear("ada", { round: 4 });
    expect(bench.take("end-training")).toEqual([]);
    expect(bench.hear("bea", { round: 4 }).wait(250).take("end-training")).toEqual(ENDED);
  });

  it("makes no update of no step", () => {
    const bench = slow().announce(updateOf("ada", 3)).announce(updateOf("bea", 3)).wait(6_000);
    expect(bench.take("end-training")).toEqual([]);
    expect(stepped(bench, 1).take("end-training")).toEqual(ENDED);
  });

  it("never ends a round for a peer that is alone", () => {
    const bench = new Bench({ pacing: true, maxRoundMs: 20_000 }, { round: 3, publishedRound: 2 }).wait(
      3_250,
    );
    expect(stepped(bench, 1).wait(60_000).take("end-training")).toEqual([]);
  });

  it("is asked for anew in each round", () => {
    const bench = stepped(slow(), 1).announce(updateOf("ada", 3)).announce(updateOf("bea", 3)).wait(3_000);
    bench.put({ type: "trained", round: 3 });
    bench.put({ type: "published", id: updateOf(SELF, 3), roots: bench.state.roots });
    bench.take("end-training");
    for (const peer of OTHERS) bench.deliver(updateOf(peer, 3));
    bench.opened();
    expect(bench.state.phase).toBe("training");
    for (const peer of OTHERS.slice(1)) bench.announce(updateOf(peer, 4));
    bench.put({ type: "stepped", round: 4, step: 1, bitsPerByte: 3 });
    for (let second = 0; second < 20; second++) present(bench).wait(1_000);
    expect(bench.take("end-training")).toEqual([{ type: "end-training", round: 4 }]);
  });

  it("does nothing where the run does not want it", () => {
    const bench = stepped(slow({ pacing: false }), 1).announce(updateOf("ada", 3));
    expect(bench.announce(updateOf("bea", 3)).wait(5_000).take("end-training")).toEqual([]);
  });
});

describe("the time of a transfer", () => {
  it("is learned from when announced updates count", () => {
    const bench = new Bench({}, { round: 3 }).hear("ada").wait(3_250);
    bench.announce(updateOf("ada", 3)).wait(750);
    bench.put({ type: "counted", id: updateOf("ada", 3), replaced: undefined, roots: bench.state.roots });
    expect(bench.state.pace.transfersMs).toEqual([750]);
  });
});
