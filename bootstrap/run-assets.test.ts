// Runs' files at the rendezvous, over real TCP: taken if a manifest names them, within a quota, gone with the run; and what
// a giver that does not play by the rules gets.
import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { sha256Hex } from "#protocol/net/hash.ts";
import { fetchRunAsset, storeRunAsset } from "#protocol/net/run-assets.ts";
import { storeRunManifest } from "#protocol/net/run-manifests.ts";
import { LOOPBACK, TestRun } from "#protocol/net/testing/run-fixture.ts";
import { createSide, type Side } from "#protocol/net/testing/side.ts";
import { CHUNK_BYTES } from "#protocol/wire/bulk.ts";
import { decodeMessage, encodeMessage } from "#protocol/wire/messages.ts";
import type { Rendezvous, RendezvousOptions } from "./rendezvous.ts";
import { createRendezvous } from "./rendezvous.ts";

const FILE_BYTES = 3 * CHUNK_BYTES + 17;
const run = new TestRun();
const started = new Set<Rendezvous>();
let villain: Side | undefined;
let stateDirectory: string;
const until = (condition: () => void) => vi.waitFor(condition, { timeout: 20_000, interval: 20 });
const signal = () => AbortSignal.timeout(20_000);

beforeEach(async () => {
  stateDirectory = await mkdtemp(join(tmpdir(), "glossa-rendezvous-"));
});
afterEach(async () => {
  await run.end();
  await villain?.stop();
  villain = undefined;
  await Promise.all([...started].map((rendezvous) => rendezvous.stop()));
  started.clear();
  await rm(stateDirectory, { recursive: true });
});

async function open(options: Partial<RendezvousOptions> = {}): Promise<Rendezvous> {
  const rendezvous = await createRendezvous({ listen: LOOPBACK, stateDirectory, ...options });
  await rendezvous.start();
  started.add(rendezvous);
  return rendezvous;
}

async function close(rendezvous: Rendezvous): Promise<void> {
  started.delete(rendezvous);
  await rendezvous.stop();
}

interface Made {
  readonly runId: string;
  readonly manifest: Uint8Array;
  readonly asset: Buffer;
  readonly contentId: string;
}

/** A run whose manifest names a file, as far as a rendezvous looks. */
function makeRun(asset: Buffer = randomBytes(FILE_BYTES)): Made {
  const contentId = sha256Hex(asset);
  const config = { name: randomBytes(4).toString("hex"), vocabulary: { tokenizer: contentId } };
  const manifest = new TextEncoder().encode(JSON.stringify({ version: 1, config }));
  return { runId: sha256Hex(manifest), manifest, asset, contentId };
}

async function publish(made: Made, rendezvous: Rendezvous): Promise<void> {
  await storeRunManifest(made.manifest, rendezvous.addresses(), signal());
  await storeRunAsset(made.asset, made.runId, rendezvous.addresses(), signal());
}

const fetched = ({ contentId, runId }: Made, rendezvous: Rendezvous) =>
  fetchRunAsset(contentId, runId, rendezvous.addresses(), signal());
const assetsOnDisk = () => readdir(join(stateDirectory, "assets"));
const notFound = { code: "ASSET_NOT_FOUND" };

test("a run's file goes from its maker through the rendezvous to a peer, and on from there without it", async () => {
  const rendezvous = await open();
  const made = makeRun();
  await publish(made, rendezvous);
  const bytes = await fetched(made, rendezvous);
  expect(made.asset.equals(bytes)).toBe(true);

  const file = join(stateDirectory, "tokenizer.json");
  await writeFile(file, bytes);
  const { runId, manifest, contentId } = made;
  const peer = await run.join({ runId, runManifest: manifest, assets: [{ contentId, file }] });
  await close(rendezvous);
  const invited = [...rendezvous.addresses(), ...peer.network.addresses()];
  expect(made.asset.equals(await fetchRunAsset(contentId, runId, invited, signal()))).toBe(true);
});

test("it takes only files that a manifest of its own names, and only what hashes to the name", async () => {
  const rendezvous = await open();
  const made = makeRun();
  await expect(storeRunAsset(made.asset, made.runId, rendezvous.addresses(), signal())).rejects.toMatchObject(
    { code: "ASSET_REFUSED", message: expect.stringContaining("no manifest") },
  );
  await storeRunManifest(made.manifest, rendezvous.addresses(), signal());
  await expect(
    storeRunAsset(randomBytes(FILE_BYTES), made.runId, rendezvous.addresses(), signal()),
  ).rejects.toMatchObject({ code: "ASSET_REFUSED" });
  expect(rendezvous.stats().assetBytes).toBe(0);
  await expect(fetched(made, rendezvous)).rejects.toMatchObject(notFound);
});

test("giving a file that is there costs nothing, and peers alone keep none", async () => {
  const rendezvous = await open();
  const made = makeRun();
  await publish(made, rendezvous);
  const sent: number[] = [];
  await storeRunAsset(made.asset, made.runId, rendezvous.addresses(), signal(), (bytes) => sent.push(bytes));
  expect(sent).toEqual([]);
  const member = await run.join({ runId: made.runId, runManifest: made.manifest });
  await expect(
    storeRunAsset(made.asset, made.runId, member.network.addresses(), signal()),
  ).rejects.toMatchObject({ code: "NOT_SERVED" });
});

test("it keeps files across a restart, sweeps what was half taken, and serves nothing that was changed", async () => {
  const before = await open();
  const made = makeRun();
  await publish(made, before);
  await close(before);
  await writeFile(join(stateDirectory, "assets", "half.tmp"), "half");
  const after = await open();
  const [name] = await assetsOnDisk();
  expect(await assetsOnDisk()).toEqual([`${made.runId}.${made.contentId}.asset`]);
  expect(after.stats().assetBytes).toBe(FILE_BYTES);
  expect(made.asset.equals(await fetched(made, after))).toBe(true);
  await writeFile(join(stateDirectory, "assets", name!), randomBytes(FILE_BYTES + 1));
  await expect(fetched(made, after)).rejects.toMatchObject(notFound);
  expect(await assetsOnDisk()).toEqual([]);
});

test("one that has lost its state gets manifest and file again from a peer that has them", async () => {
  const rendezvous = await open();
  const made = makeRun();
  const file = join(stateDirectory, "tokenizer.json");
  await writeFile(file, made.asset);
  const { runId, manifest, contentId } = made;
  const bootstrap = rendezvous.addresses();
  await run.join({ runId, runManifest: manifest, bootstrap, assets: [{ contentId, file }] });
  await until(() => expect(rendezvous.stats()).toMatchObject({ manifests: 1, assetBytes: FILE_BYTES }));
  expect(made.asset.equals(await fetched(made, rendezvous))).toBe(true);
});

test("a file goes with its run, and the one unused for longest when the quota is spent", async () => {
  const rendezvous = await open({ maxRuns: 3, maxAssetBytes: 2 * FILE_BYTES });
  const [first, second, third, ...others] = Array.from({ length: 5 }, () => makeRun());
  await publish(first!, rendezvous);
  await publish(second!, rendezvous);
  await fetched(first!, rendezvous);
  await publish(third!, rendezvous);
  expect(rendezvous.stats()).toMatchObject({ manifests: 3, assetBytes: 2 * FILE_BYTES });
  await expect(fetched(second!, rendezvous)).rejects.toMatchObject(notFound);
  await fetched(first!, rendezvous);
  // Two new runs push out the first two; the third keeps its file.
  for (const made of others) await storeRunManifest(made.manifest, rendezvous.addresses(), signal());
  expect(await assetsOnDisk()).toEqual([`${third!.runId}.${third!.contentId}.asset`]);
});

/** What the rendezvous answers to an offer of `lengthBytes`, and the stream to misbehave on. */
async function offer(rendezvous: Rendezvous, { runId, contentId }: Made, lengthBytes: number) {
  villain ??= await createSide([]);
  const { stream, frames } = await villain.openRaw(rendezvous.addresses()[0]!, "store-asset");
  await frames.write(encodeMessage("storeAssetOpen", { runId, contentId, lengthBytes }), signal());
  const answer = await frames.read(signal()).catch(() => undefined);
  return { stream, frames, answer: answer && decodeMessage("storeAssetAnswer", answer) };
}

test("a giver of chunks that do not fit is cut off and charged, and leaves nothing on disk", async () => {
  const rendezvous = await open();
  const made = makeRun();
  await storeRunManifest(made.manifest, rendezvous.addresses(), signal());
  for (const [chunkBytes, offence] of [
    [5, "malformed-message"],
    [2 * CHUNK_BYTES, "oversized"],
  ] as const) {
    const { stream, frames, answer } = await offer(rendezvous, made, FILE_BYTES);
    expect(answer).toMatchObject({ ok: true, value: { wanted: true, stored: false } });
    await frames.write(new Uint8Array(chunkBytes), signal()).catch(() => {});
    await until(() => expect(rendezvous.stats().offences[offence]).toBe(1));
    await until(() => expect(stream.status).not.toBe("open"));
    await until(async () => expect(await assetsOnDisk()).toEqual([]));
  }
});

test("bytes that do not hash to the name are refused whole, and one peer gives one file at a time", async () => {
  const rendezvous = await open();
  const made = makeRun();
  await storeRunManifest(made.manifest, rendezvous.addresses(), signal());
  const first = await offer(rendezvous, made, CHUNK_BYTES);
  const second = await offer(rendezvous, made, CHUNK_BYTES);
  expect(second.answer).toMatchObject({
    value: { wanted: false, stored: false, reason: expect.stringContaining("already") },
  });
  await first.frames.read(signal());
  await first.frames.write(randomBytes(CHUNK_BYTES), signal());
  const verdict = decodeMessage("storeAssetAnswer", (await first.frames.read(signal()))!);
  expect(verdict).toMatchObject({ value: { stored: false, reason: expect.stringContaining("hash") } });
  await until(async () => expect(await assetsOnDisk()).toEqual([]));
  // The place is free again, for honest bytes.
  await storeRunAsset(made.asset, made.runId, rendezvous.addresses(), signal());
});

test("offers without end are counted and answered no more", async () => {
  const rendezvous = await open();
  const made = makeRun();
  for (let asked = 0; asked < 9; asked++) {
    const { stream } = await offer(rendezvous, made, CHUNK_BYTES);
    stream.abort(new Error("done"));
  }
  await until(() => expect(rendezvous.stats().offences).toEqual({ "rate-exceeded": 1 }));
});
