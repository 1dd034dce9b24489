// Loss, a crash, a partition and a newcomer at once; `testing/storm.ts` takes any seed.
import { describe, expect, it } from "vitest";
import { type Storm, weather } from "./testing/storm.ts";

/** Storms that have ended badly before, each with what it was. */
const FOUND: readonly (Pick<Storm, "seed" | "openRounds"> & { readonly was: string })[] = [
  // Progress of a round that was left for another body, and of which a crash had left only what was on the disk.
  { openRounds: 1, seed: 200, was: "carried progress lost" },
  { openRounds: 1, seed: 263, was: "carried progress lost" },
  // Donors that were hard to reach had no vote for minutes, and the last to leave followed the last but one.
  { openRounds: 1, seed: 61, was: "three bodies" },
  { openRounds: 1, seed: 82, was: "two bodies" },
];

describe("a swarm in a storm", () => {
  it.each([1, 2, 3])(
    "ends with one body and everything counted once, with %i open rounds",
    async (openRounds) => {
      for (const seed of [1, 2]) expect(await weather({ seed, openRounds, loss: 0.25 })).toBeUndefined();
    },
  );

  it.each(FOUND)("no longer ends with $was (seed $seed)", async ({ seed, openRounds }) => {
    expect(await weather({ seed, openRounds, loss: 0.25 })).toBeUndefined();
  });
});
