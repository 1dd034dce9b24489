// A newcomer fetches a body of several tiles over real TCP, from several peers, some of which lie or leave.
import { afterEach, expect, test, vi } from "vitest";
import { bodyRoot, TILE_VALUES } from "../core/merkle.ts";
import { sha256 } from "./hash.ts";
import { areConnected, servingBody, TestRun, updateOf } from "./testing/run-fixture.ts";

const run = new TestRun();
afterEach(() => run.end());
const until = (condition: () => void) => vi.waitFor(condition, { timeout: 20_000, interval: 20 });
const signal = () => AbortSignal.timeout(20_000);

// Ten tiles, the last one short.
const BODY_VALUES = 9 * TILE_VALUES + 1234;
const BODY = Float32Array.from({ length: BODY_VALUES }, (_, index) => Math.sin(index));
const ROOT = bodyRoot(BODY, sha256);
const options = { bodyValues: BODY_VALUES };

test("a body and the open updates come whole from one peer, with progress to the last byte", async () => {
  const updates: Awaited<ReturnType<typeof updateOf>>[] = [];
  const holder = await run.join(options, servingBody(BODY, ROOT, updates));
  updates.push(await updateOf(holder.network, Uint8Array.of(1)));
  const newcomer = await run.join(options);
  await until(() => expect(areConnected([newcomer], 1)).toBe(true));
  const progress: number[] = [];
  const { manifest, body } = await newcomer.network.fetchSnapshot(
    holder.network.self,
    signal(),
    (bytes, total) => {
      expect(total).toBe(4 * BODY_VALUES);
      progress.push(bytes);
    },
  );
  expect(body).toEqual(BODY);
  expect(manifest).toMatchObject({ closedRound: 2, root: ROOT, updates });
  expect(progress).toHaveLength(10);
  expect(progress.at(-1)).toBe(4 * BODY_VALUES);
  expect(newcomer.network.traffic().channels.snapshot.bytesReceived).toBeGreaterThan(4 * BODY_VALUES);
});

test("a bad tile is blamed on its sender and fetched from somebody else", async () => {
  const spoil = (index: number, tile: Uint8Array) => (index === 4 ? tile.fill(7, 0, 1) : tile);
  const liar = await run.join(options, servingBody(BODY, ROOT, [], spoil));
  const holder = await run.join(options, servingBody(BODY, ROOT));
  const bystander = await run.join(options);
  const newcomer = await run.join(options);
  await until(() => expect(areConnected([newcomer, bystander], 3)).toBe(true));
  // Asked alone the liar is found out whatever the order; the others supply what it spoiled.
  const { body } = await newcomer.network.fetchSnapshot(liar.network.self, signal());
  expect(body).toEqual(BODY);
  const blamed = newcomer.network.offences()["hash-mismatch"] ?? 0;
  expect(blamed).toBeLessThanOrEqual(1);
  expect(holder.network.traffic().channels.snapshot.bytesSent).toBeGreaterThan(0);
  expect(newcomer.network.connectedPeers()).toContain(holder.network.self);
});

test("when only a liar serves the body the newcomer fails with a reason and keeps nothing", async () => {
  const liar = await run.join(
    options,
    servingBody(BODY, ROOT, [], (_, tile) => tile.fill(1, 0, 8)),
  );
  const newcomer = await run.join(options);
  await until(() => expect(areConnected([newcomer], 1)).toBe(true));
  await expect(newcomer.network.fetchSnapshot(liar.network.self, signal())).rejects.toMatchObject({
    code: "SNAPSHOT_UNAVAILABLE",
    fields: { attempts: [expect.stringContaining("another hash")] },
  });
  expect(newcomer.network.offences()).toEqual({ "hash-mismatch": 1 });
});

test("a peer whose body has another size, and one with nothing to serve, are told apart", async () => {
  const small = BODY.slice(0, TILE_VALUES);
  const other = await run.join(options, servingBody(small, bodyRoot(small, sha256)));
  const empty = await run.join(options);
  const newcomer = await run.join(options);
  await until(() => expect(areConnected([newcomer], 2)).toBe(true));
  await expect(newcomer.network.fetchSnapshot(other.network.self, signal())).rejects.toMatchObject({
    code: "PEER_MISBEHAVED",
  });
  await expect(newcomer.network.fetchSnapshot(empty.network.self, signal())).rejects.toMatchObject({
    code: "SNAPSHOT_UNAVAILABLE",
  });
});
