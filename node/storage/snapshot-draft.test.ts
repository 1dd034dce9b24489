import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm, stat, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { TILE_BYTES } from "#protocol/core/merkle.ts";
import { SnapshotDraftFile } from "./snapshot-draft.ts";

let directory: string;
const tile = (fill: number, bytes = TILE_BYTES) => new Uint8Array(bytes).fill(fill);

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-draft-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test("tiles come back in another process as they were kept, also those kept at the same time", async () => {
  const path = join(directory, "snapshot.draft");
  const draft = new SnapshotDraftFile(path);
  expect(await draft.tile(0)).toBeUndefined();
  await Promise.all([draft.keep(3, tile(3, 100)), draft.keep(0, tile(1)), draft.keep(2, tile(2))]);
  await draft.keep(0, tile(7));
  const found = new SnapshotDraftFile(path);
  expect(await found.tile(0)).toEqual(tile(7));
  expect(await found.tile(2)).toEqual(tile(2));
  expect(await found.tile(3)).toEqual(tile(3, 100));
  expect(await found.tile(4)).toBeUndefined();
  expect((await stat(path)).size).toBe(3 * TILE_BYTES + 100);
});

test("a torn tile is shorter or other than it was, and a dropped draft leaves no file", async () => {
  const path = join(directory, "snapshot.draft");
  const draft = new SnapshotDraftFile(path);
  await draft.keep(1, tile(5));
  await truncate(path, TILE_BYTES + 10);
  expect(await draft.tile(1)).toEqual(tile(5, 10));
  expect(await draft.tile(0)).toEqual(tile(0));
  await draft.drop();
  await draft.drop();
  expect(await readdir(directory)).toEqual([]);
});

test.skipIf(process.platform === "win32")("a draft makes room for what cannot be fetched again", async () => {
  const script = join(import.meta.dirname, "testing", "outgrow-draft.ts");
  const command = `ulimit -f 128 && exec "$0" "$1" "$2"`;
  const args = ["-c", command, process.execPath, script, directory];
  const { stdout } = await promisify(execFile)("bash", args);
  expect(stdout.trim()).toBe("DISK_FULL 5 undefined");
});
