// A body fetched from several peers at once over real TCP: who gives what, what survives a donor's death, a kill and a newer
// body, and what is never fetched at all.
import { afterEach, expect, test, vi } from "vitest";
import { bodyRoot, TILE_VALUES, tileIds } from "../core/merkle.ts";
import type { SnapshotDraft } from "../ports.ts";
import { sha256 } from "./hash.ts";
import type { Member } from "./testing/run-fixture.ts";
import { areConnected, presenceOf, servingBody, TestRun } from "./testing/run-fixture.ts";

const run = new TestRun();
afterEach(() => run.end());
const until = (condition: () => void) => vi.waitFor(condition, { timeout: 20_000, interval: 20 });
const signal = () => AbortSignal.timeout(20_000);

// 40 tiles, the last one short.
const TILES = 40;
const BODY_VALUES = (TILES - 1) * TILE_VALUES + 1234;
const BODY = Float32Array.from({ length: BODY_VALUES }, (_, index) => Math.fround(Math.sin(index)));
const ROOT = bodyRoot(BODY, sha256);
const options = { bodyValues: BODY_VALUES };

/** The body with other values in some tiles. */
function changedIn(...tiles: readonly number[]): Float32Array {
  const body = BODY.slice();
  for (const index of tiles) body[index * TILE_VALUES] = index + 0.5;
  return body;
}

/** A draft that outlives its transfer, and counts. */
function memoryDraft(): SnapshotDraft & { readonly tiles: Map<number, Uint8Array> } {
  const tiles = new Map<number, Uint8Array>();
  return {
    tiles,
    tile: async (index) => tiles.get(index),
    keep: async (index, tile) => void tiles.set(index, tile.slice()),
    drop: async () => tiles.clear(),
  };
}

async function newcomerTo(donors: readonly Member[]): Promise<Member> {
  const newcomer = await run.join(options);
  await until(() => expect(areConnected([newcomer], donors.length)).toBe(true));
  return newcomer;
}

test("donors share the work, and one that has not come as far is not asked", async () => {
  const donors = [
    await run.join(options, servingBody(BODY, ROOT)),
    await run.join(options, servingBody(BODY, ROOT)),
  ];
  let asked = 0;
  const behind = await run.join(options, {
    tile: () => {
      asked++;
      return undefined;
    },
  });
  const newcomer = await newcomerTo([...donors, behind]);
  await behind.network.publishPresence(presenceOf(behind.network.self, { closedRound: 1 }));
  await until(() => expect(newcomer.presences).toHaveLength(1));
  const { body, tiles } = await newcomer.network.fetchSnapshot(donors[0]!.network.self, signal());
  expect(bodyRoot(body, sha256)).toBe(ROOT);
  expect(tiles).toMatchObject({ held: 0, kept: 0 });
  expect(tiles.fetched.map(({ peer }) => peer).sort()).toEqual(
    donors.map(({ network }) => network.self).sort(),
  );
  expect(tiles.fetched.reduce((sum, { tiles: given }) => sum + given, 0)).toBe(TILES);
  for (const { bytesPerSecond } of tiles.fetched) expect(bytesPerSecond).toBeGreaterThan(0);
  expect(asked).toBe(0);
});

test("a donor that dies in the middle costs nothing but its share", async () => {
  let given = 0;
  const dying: Member = await run.join(
    options,
    servingBody(BODY, ROOT, [], (_, tile) => {
      if (++given === 4) void run.leave(dying);
      return tile;
    }),
  );
  const holder = await run.join(options, servingBody(BODY, ROOT));
  const newcomer = await newcomerTo([dying, holder]);
  const { body, tiles } = await newcomer.network.fetchSnapshot(dying.network.self, signal());
  expect(bodyRoot(body, sha256)).toBe(ROOT);
  expect(given).toBeGreaterThanOrEqual(4);
  expect(tiles.fetched.reduce((sum, { tiles: count }) => sum + count, 0)).toBe(TILES);
  expect(newcomer.network.offences()).toEqual({});
});

test("a donor that moves on to another body is replaced by one that still serves the old one", async () => {
  let given = 0;
  const { snapshot, tile } = servingBody(BODY, ROOT);
  const moving = await run.join(options, {
    snapshot: snapshot!,
    tile: (root, index) => (given++ < 6 ? tile!(root, index) : undefined),
  });
  const holder = await run.join(options, servingBody(BODY, ROOT));
  const newcomer = await newcomerTo([moving, holder]);
  const { body, tiles } = await newcomer.network.fetchSnapshot(moving.network.self, signal());
  expect(bodyRoot(body, sha256)).toBe(ROOT);
  expect(tiles.fetched.find(({ peer }) => peer === moving.network.self)?.tiles ?? 0).toBeLessThan(6);
  expect(newcomer.network.offences()).toEqual({});
});

test("what was fetched before the last donor was lost is there at the next attempt, also for a newer body", async () => {
  const draft = memoryDraft();
  let given = 0;
  const { snapshot, tile } = servingBody(BODY, ROOT);
  const leaving = await run.join(options, {
    snapshot: snapshot!,
    tile: (root, index) => (given++ <= 25 ? tile!(root, index) : undefined),
  });
  const newcomer = await newcomerTo([leaving]);
  await expect(
    newcomer.network.fetchSnapshot(leaving.network.self, signal(), () => {}, { draft }),
  ).rejects.toMatchObject({ code: "SNAPSHOT_UNAVAILABLE" });
  expect(draft.tiles.size).toBeGreaterThan(15);
  expect(draft.tiles.size).toBeLessThan(TILES);
  await run.leave(leaving);
  // A tile that has rotted on disk, and a newer body, in which one of the kept tiles and one of the others differ.
  const [rotten, replaced] = [...draft.tiles.keys()];
  draft.tiles.get(rotten!)!.fill(1, 0, 9);
  const good = draft.tiles.size - 2;
  const newer = changedIn(replaced!, TILES - 1);
  const holder = await run.join(options, servingBody(newer, bodyRoot(newer, sha256)));
  await until(() => expect(newcomer.network.connectedPeers()).toEqual([holder.network.self]));
  const progress: number[] = [];
  const { body, tiles } = await newcomer.network.fetchSnapshot(
    holder.network.self,
    signal(),
    (bytes) => progress.push(bytes),
    { draft },
  );
  expect(bodyRoot(body, sha256)).toBe(bodyRoot(newer, sha256));
  expect(tiles).toMatchObject({ kept: good, fetched: [{ tiles: TILES - good }] });
  expect(progress.at(-1)).toBe(4 * BODY_VALUES);
  expect(draft.tiles.size).toBe(TILES);
  expect(newcomer.network.offences()).toEqual({});
});

test("of a body that is nearly the own one only the tiles that differ travel", async () => {
  const asked: number[] = [];
  const donor = await run.join(
    options,
    servingBody(BODY, ROOT, [], (index, tile) => {
      asked.push(index);
      return tile;
    }),
  );
  const newcomer = await newcomerTo([donor]);
  const own = changedIn(3, 17);
  const held = { tiles: tileIds(own, sha256), body: own };
  const before = bodyRoot(own, sha256);
  const { body, tiles } = await newcomer.network.fetchSnapshot(donor.network.self, signal(), () => {}, {
    held,
  });
  expect(bodyRoot(body, sha256)).toBe(ROOT);
  expect(bodyRoot(own, sha256)).toBe(before);
  expect(tiles).toMatchObject({ held: TILES - 2, kept: 0, fetched: [{ tiles: 2 }] });
  // Tile 0 is looked at to see whether the body is served.
  expect(asked.filter((index) => index !== 0)).toEqual([3, 17]);
});

test("a manifest that is refused costs no tile, and a draft that cannot be written none either", async () => {
  let asked = 0;
  const donor = await run.join(
    options,
    servingBody(BODY, ROOT, [], (_, tile) => {
      asked++;
      return tile;
    }),
  );
  const newcomer = await newcomerTo([donor]);
  const fetch = (aids: Parameters<Member["network"]["fetchSnapshot"]>[3]) =>
    newcomer.network.fetchSnapshot(donor.network.self, signal(), () => {}, aids);
  const refuse = (): never => {
    throw new RangeError("not what most announce");
  };
  await expect(fetch({ accept: refuse })).rejects.toThrow("not what most announce");
  expect(asked).toBe(0);
  const full = () => Promise.reject(new Error("ENOSPC"));
  const { body } = await fetch({ draft: { tile: full, keep: full, drop: full } });
  expect(bodyRoot(body, sha256)).toBe(ROOT);
});

test("an abort in the middle ends every stream and is what the caller sees", async () => {
  const abort = new AbortController();
  const donors = [
    await run.join(options, servingBody(BODY, ROOT)),
    await run.join(options, servingBody(BODY, ROOT)),
  ];
  const newcomer = await newcomerTo(donors);
  const fetching = newcomer.network.fetchSnapshot(donors[0]!.network.self, abort.signal, () =>
    abort.abort(new Error("changed my mind")),
  );
  await expect(fetching).rejects.toThrow("changed my mind");
  // Nothing is left of it that would keep a slot: others are served, and so is the same peer again.
  const { body } = await newcomer.network.fetchSnapshot(donors[1]!.network.self, signal());
  expect(bodyRoot(body, sha256)).toBe(ROOT);
});
