import { expect, it } from "vitest";
import { measureHandOver, type Way } from "./hand-over.ts";

it.each<Way>(["thread", "ipc", "file", "pipe"])("hands a body over by %s and gets it back", async (way) => {
  const row = await measureHandOver(way, 10_000, 2);
  expect(row).toMatchObject({ way });
  expect(row.bestMs).toBeGreaterThan(0);
  expect(row.medianMs).toBeGreaterThanOrEqual(row.bestMs);
});
