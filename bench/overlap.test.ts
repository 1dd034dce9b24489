import { expect, it, vi } from "vitest";
import { benchOverlap } from "./overlap.ts";

it("the benchmark of training ahead compares it with waiting, for as many rounds and for as long", async () => {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  const model = ["--blocks", "1", "--width", "32", "--sequence", "32", "--vocabulary", "0.3"];
  const run = ["--rounds", "2", "--steps", "2", "--batch", "1", "--seeds", "1", "--shares", "0,1"];
  await benchOverlap(["--json", ...model, ...run]);
  const { outcomes } = JSON.parse(log.mock.calls[0]![0] as string);
  log.mockRestore();
  const [none, whole] = outcomes;
  expect(none).toMatchObject({ share: 0, waitingRounds: 2, overlapping: none.waiting });
  expect(whole).toMatchObject({ share: 1, waitingRounds: 1 });
  // Steps from other parameters lead elsewhere; half the rounds lead less far.
  expect(whole.overlapping[0]).not.toBe(none.overlapping[0]);
  expect(whole.waiting[0]).toBeGreaterThan(none.waiting[0]);
}, 120_000);
