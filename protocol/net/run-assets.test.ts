// A run's file on its way to a peer that joins, over real TCP: from sources that break off, lie about it or lack it.
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { CHUNK_BYTES } from "../wire/bulk.ts";
import { serveAssets } from "./assets.ts";
import type { BulkObject } from "./bulk.ts";
import { sha256Hex } from "./hash.ts";
import { fetchRunAsset, storeRunAsset } from "./run-assets.ts";
import { LOOPBACK, RUN_ID, TestRun } from "./testing/run-fixture.ts";
import { createSide, type Side } from "./testing/side.ts";

const CHUNKS = 6;
const run = new TestRun();
const sides: Side[] = [];
const signal = () => AbortSignal.timeout(30_000);
let directory: string;
let asset: Buffer;
let contentId: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-assets-"));
  asset = randomBytes(CHUNKS * CHUNK_BYTES - 1000);
  contentId = sha256Hex(asset);
});
afterEach(async () => {
  await run.end();
  await Promise.all(sides.splice(0).map((side) => side.stop()));
  await rm(directory, { recursive: true });
});

interface Source {
  readonly addresses: readonly string[];
  /** Chunks that it has given. */
  readonly reads: number[];
}

/** Serves `bytes` as the asset; the transfer breaks off after `chunksATime` chunks. */
async function source(bytes: Uint8Array, chunksATime = Number.POSITIVE_INFINITY): Promise<Source> {
  const side = await createSide(LOOPBACK);
  sides.push(side);
  const reads: number[] = [];
  await serveAssets(side.streams, async (runId): Promise<BulkObject | undefined> => {
    if (runId !== RUN_ID || bytes.byteLength === 0) return undefined;
    let given = 0;
    return {
      lengthBytes: bytes.byteLength,
      chunkBytes: CHUNK_BYTES,
      chunk(index) {
        if (given++ >= chunksATime) return undefined;
        reads.push(index);
        return bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES);
      },
    };
  });
  return { addresses: side.addresses, reads };
}

const fetchFrom = (...sources: readonly Source[]) =>
  fetchRunAsset(
    contentId,
    RUN_ID,
    sources.flatMap(({ addresses }) => addresses),
    signal(),
  );

test("a peer of the run serves its file to one that joins, and tells how far it is", async () => {
  const file = join(directory, "tokenizer.json");
  await writeFile(file, asset);
  const holder = await run.join({ assets: [{ contentId, file }] });
  const progress: number[] = [];
  const fetched = await fetchRunAsset(
    contentId,
    RUN_ID,
    holder.network.addresses(),
    signal(),
    (bytes, total) => {
      expect(total).toBe(asset.length);
      progress.push(bytes);
    },
  );
  expect(asset.equals(fetched)).toBe(true);
  expect(progress).toHaveLength(CHUNKS);
  expect(progress).toEqual(progress.toSorted((a, b) => a - b));
  expect(progress.at(-1)).toBe(asset.length);
  // Joining traffic, and none of what rounds cost.
  const { channels } = holder.network.traffic();
  expect(channels.snapshot.bytesSent).toBeGreaterThan(asset.length);
  expect(channels.payload.bytesSent).toBe(0);
});

test("a file that was changed on a peer's disk is not served", async () => {
  const file = join(directory, "tokenizer.json");
  await writeFile(file, asset);
  const holder = await run.join({ assets: [{ contentId, file }] });
  const fetched = () => fetchRunAsset(contentId, RUN_ID, holder.network.addresses(), signal());
  await fetched();
  await writeFile(file, randomBytes(asset.length + 1));
  await expect(fetched()).rejects.toMatchObject({ code: "ASSET_NOT_FOUND" });
});

test("a peer that an address knows is asked where the address itself has no file", async () => {
  const file = join(directory, "tokenizer.json");
  await writeFile(file, asset);
  const holder = await run.join({ assets: [{ contentId, file }] });
  const without = await run.join();
  await expect
    .poll(() => without.network.connectedPeers(), { timeout: 20_000 })
    .toContain(holder.network.self);
  // Whether it tells of the other depends on who dialled whom: both tell after the first exchange.
  await expect
    .poll(() => fetchRunAsset(contentId, RUN_ID, without.network.addresses(), signal()), { timeout: 20_000 })
    .toHaveLength(asset.length);
});

test("what one source gave before it broke off is not fetched again from the next", async () => {
  const quitter = await source(asset, 4);
  const holder = await source(asset, 4);
  expect(asset.equals(await fetchFrom(quitter, holder))).toBe(true);
  expect([...quitter.reads, ...holder.reads].toSorted()).toEqual(Array.from({ length: CHUNKS }, (_, i) => i));
});

test("a single source that breaks off again and again is asked as long as more comes", async () => {
  const flaky = await source(asset, 2);
  expect(asset.equals(await fetchFrom(flaky))).toBe(true);
  expect(flaky.reads).toEqual([0, 1, 2, 3, 4, 5]);
});

test("wrong bytes, a wrong length and too many bytes are not taken, and the next source is", async () => {
  const holder = await source(asset);
  for (const lie of [randomBytes(asset.length), asset.subarray(1), Buffer.concat([asset, asset])]) {
    const liar = await source(lie);
    expect(asset.equals(await fetchFrom(liar, holder))).toBe(true);
    await expect(fetchFrom(liar)).rejects.toMatchObject({
      code: "ASSET_MISMATCH",
      fields: { runId: RUN_ID },
    });
  }
});

test("a liar that breaks off cannot spoil what an honest source gives", async () => {
  const liar = await source(randomBytes(asset.length), 1);
  const longer = await source(randomBytes(asset.length + CHUNK_BYTES), 1);
  const holder = await source(asset);
  expect(asset.equals(await fetchFrom(liar, longer, holder))).toBe(true);
});

test("more bytes than an asset may have are refused before they are sent", async () => {
  const side = await createSide(LOOPBACK);
  sides.push(side);
  let reads = 0;
  await serveAssets(side.streams, async () => ({
    lengthBytes: 33 * 1024 * 1024,
    chunkBytes: CHUNK_BYTES,
    chunk() {
      reads++;
      return new Uint8Array(CHUNK_BYTES);
    },
  }));
  await expect(fetchRunAsset(contentId, RUN_ID, side.addresses, signal())).rejects.toMatchObject({
    code: "ASSET_NOT_FOUND",
    message: expect.stringContaining("--tokenizer"),
    fields: { attempts: [expect.stringContaining("at most 33554432")] },
  });
  expect(reads).toBe(0);
});

test("the failures on the way in are told apart", async () => {
  const without = await source(Buffer.alloc(0));
  await expect(fetchFrom(without)).rejects.toMatchObject({
    code: "ASSET_NOT_FOUND",
    message: expect.stringContaining(contentId.slice(0, 12)),
  });
  const gone = await createSide(LOOPBACK);
  await gone.stop();
  await expect(fetchRunAsset(contentId, RUN_ID, gone.addresses, signal())).rejects.toMatchObject({
    code: "BOOTSTRAP_UNREACHABLE",
  });
  await expect(fetchRunAsset(contentId, RUN_ID, ["nowhere"], signal())).rejects.toMatchObject({
    code: "ADDRESS_INVALID",
  });
  await expect(
    fetchRunAsset(contentId, RUN_ID, without.addresses, AbortSignal.abort(new Error("enough"))),
  ).rejects.toThrow("enough");
  await expect(
    storeRunAsset(new Uint8Array(32 * 1024 * 1024 + 1), RUN_ID, without.addresses, signal()),
  ).rejects.toMatchObject({ code: "ASSET_TOO_LARGE" });
});
