// A newcomer killed with SIGKILL in the middle of its body, as processes over real TCP.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { bodyRoot, TILE_BYTES, TILE_VALUES } from "#protocol/core/merkle.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { MANIFEST, type Member, RUN_ID, servingBody, TestRun } from "#protocol/net/testing/run-fixture.ts";
import type { FetchOrder } from "./testing/fetch-body.ts";

const TILES = 40;
const values = TILES * TILE_VALUES;
const body = Float32Array.from({ length: values }, (_, at) => Math.fround(Math.cos(at)));
const run = new TestRun();
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-resume-"));
});
afterEach(async () => {
  await run.end();
  await rm(directory, { recursive: true, force: true });
});

const serve = (served: Float32Array) =>
  run.join({ bodyValues: values }, servingBody(served, bodyRoot(served, sha256)));

async function fetchFrom(donors: readonly Member[], dieAtBytes?: number) {
  const order: FetchOrder = {
    directory,
    runId: RUN_ID,
    manifest: new TextDecoder().decode(MANIFEST),
    values,
    donors: donors.map(({ network }) => ({ peer: network.self, address: network.addresses()[0]! })),
    dieAtBytes,
  };
  const script = join(import.meta.dirname, "testing", "fetch-body.ts");
  const { stdout } = await promisify(execFile)(process.execPath, [script, JSON.stringify(order)]);
  return JSON.parse(stdout) as { kept: number; fetched: { tiles: number }[]; hash: string };
}

test("comes back and fetches the rest, also of a newer body", async () => {
  const donors = [await serve(body), await serve(body)];
  await expect(fetchFrom(donors, 25 * TILE_BYTES)).rejects.toMatchObject({ signal: "SIGKILL" });
  await run.end();
  const newer = body.slice();
  newer[0]! += 1;
  const { kept, fetched, hash } = await fetchFrom([await serve(newer)]);
  // Tile 0 was among the first, and one or two were not written yet when the kill came.
  expect(kept).toBeGreaterThanOrEqual(20);
  expect(kept).toBeLessThanOrEqual(24);
  expect(fetched).toMatchObject([{ tiles: TILES - kept }]);
  expect(hash).toBe(createHash("sha256").update(new Uint8Array(newer.buffer)).digest("hex"));
});
