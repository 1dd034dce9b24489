import { expect, test } from "vitest";
import { measureJoining } from "./joining.ts";

const MBIT = 125_000;

test("a body of 4 MB comes faster from two slow donors than from one, and never faster than the link", async () => {
  const common = { values: 1_000_000, link: 32 * MBIT, delayMs: 5 };
  const alone = await measureJoining({ ...common, uplinks: [16 * MBIT] });
  expect(alone.tiles).toEqual([16]);
  expect(alone.shareOfLink).toBeLessThan(0.55);
  const both = await measureJoining({ ...common, uplinks: [16 * MBIT, 16 * MBIT] });
  expect(both.tiles.reduce((sum, tiles) => sum + tiles)).toBe(16);
  expect(both.seconds).toBeLessThan(0.85 * alone.seconds);
  expect(both.shareOfLink).toBeLessThan(1.05);
});
