// Networks that fall apart and come together again, with the books of what everyone has trained; `testing/division.ts` takes
// any seed.
import { describe, expect, it } from "vitest";
import { type Division, divide } from "./testing/division.ts";

/** What one part's closed round had left out the other's had not, and an author believed of its new body what held of the old. */
const FOUND: readonly Division[] = [
  { seed: 4, openRounds: 1, overlap: "on", loss: 0.05, opposed: true },
  { seed: 5, openRounds: 1, overlap: "off", loss: 0.15, opposed: true },
  { seed: 6, openRounds: 1, overlap: "off", loss: 0, opposed: true },
  { seed: 6, openRounds: 3, overlap: "off", loss: 0, opposed: true },
];

describe("a swarm that was divided", () => {
  const cases = [7, 8, 9].flatMap((seed) =>
    ([1, 2, 3] as const).map((openRounds): Division => {
      const isEven = (seed + openRounds) % 2 === 0;
      return {
        seed,
        openRounds,
        overlap: isEven ? "on" : "off",
        loss: [0, 0.05, 0.15][seed % 3]!,
        opposed: isEven,
      };
    }),
  );

  it.each(cases)(
    "ends with one body and every update counted once (seed $seed, $openRounds open, opposed $opposed)",
    async (division) => {
      expect(await divide(division)).toBeUndefined();
    },
  );

  it.each(FOUND)(
    "no longer loses or doubles an update that one part was opposed to (seed $seed, $openRounds open)",
    async (division) => {
      expect(await divide(division)).toBeUndefined();
    },
  );
});
