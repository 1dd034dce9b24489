import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ClosedBody, LENT_MS, MAX_LENT, REPLAYED_MS, ServedBodies } from "./served-bodies.ts";

const bodyAt = (round: number): ClosedBody => ({
  round,
  root: `root${round}`,
  tiles: [],
  body: new Float32Array(1),
});

/** Bodies that are served when those at the start of rounds 0..rounds have been closed one after another. */
function servedOf(rounds: number, asks: (round: number) => readonly number[], roundMs: number) {
  let nowMs = 0;
  const served = new ServedBodies(() => nowMs);
  for (let round = 0; round <= rounds; round++) {
    served.add(bodyAt(round));
    for (const asked of asks(round)) served.lend(`root${asked}`);
    nowMs += roundMs;
  }
  const has = (round: number) => served.lend(`root${round}`) !== undefined;
  return { served, has };
}

describe("closed bodies", () => {
  it("are served until the second round after they began, if nobody asks", () => {
    const { has } = servedOf(9, () => [], 1_000);
    expect([9, 8, 7].map(has)).toEqual([true, true, false]);
  });

  it("are served on as long as somebody fetches them, and their rounds' payloads kept a while longer", () => {
    const { has, served } = servedOf(20, () => [3], 1_000);
    expect(has(3)).toBe(true);
    expect(served.oldestRound).toBe(3);
  });

  it("are let go when nobody asks for long enough", () => {
    const roundMs = LENT_MS / 2;
    const { has, served } = servedOf(12, (round) => (round < 8 ? [3] : []), roundMs);
    expect(has(3)).toBe(false);
    expect(served.oldestRound).toBe(3);
    expect(servedOf(40, (round) => (round < 8 ? [3] : []), REPLAYED_MS / 10).served.oldestRound).toBe(
      Number.POSITIVE_INFINITY,
    );
  });

  it("are served for longer than their payloads are kept, but not for ever", () => {
    const { has, served } = servedOf(100, () => [3], 1_000);
    expect(has(3)).toBe(true);
    expect(served.oldestRound).toBe(100 - 27);
    expect(servedOf(300, () => [3], 1_000).has(3)).toBe(false);
  });

  it("are bounded in number, and those begun first are kept", () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.nat(30), { maxLength: 6 }), { minLength: 31, maxLength: 31 }),
        (asks) => {
          const { has } = servedOf(25, (round) => asks[round]!, 1_000);
          const held = Array.from({ length: 26 }, (_, round) => round).filter(has);
          expect(held.length).toBeLessThanOrEqual(MAX_LENT + 2);
          expect(held.slice(-2)).toEqual([24, 25]);
        },
      ),
    );
    expect([2, 3, 4].map(servedOf(12, () => [2, 3, 4], 1_000).has)).toEqual([true, true, false]);
  });
});
