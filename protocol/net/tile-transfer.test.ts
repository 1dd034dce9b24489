// More donors than are asked at once, some of them hardly moving: over real streams.
import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, expect, test } from "vitest";
import { rootOfTiles, TILE_BYTES, TILE_VALUES, tileBytes, tileIds } from "../core/merkle.ts";
import { serveBulk } from "./bulk.ts";
import { systemClock } from "./clock.ts";
import { sha256 } from "./hash.ts";
import { LOOPBACK, RUN_ID } from "./testing/run-fixture.ts";
import { createSide, type Side } from "./testing/side.ts";
import { TileTransfer } from "./tile-transfer.ts";

const sides: Side[] = [];
afterEach(() => Promise.all(sides.splice(0).map((side) => side.stop())));

const TILES = 60;
const body = Float32Array.from({ length: TILES * TILE_VALUES }, (_, at) => Math.fround(Math.sin(at)));
const tiles = tileIds(body, sha256);

/** Serves the body; a stuck one gives a tile and then holds its answers back for ever. */
async function donor(isStuck: boolean, client: Side): Promise<string> {
  const side = await createSide(LOOPBACK);
  sides.push(side);
  let given = 0;
  await serveBulk(side.streams, "tiles", async () => ({
    lengthBytes: TILES * TILE_BYTES,
    chunkBytes: TILE_BYTES,
    chunk: (index) => (isStuck && given++ > 0 ? new Promise<undefined>(() => {}) : tileBytes(body, index)),
  }));
  await client.host.dial(multiaddr(side.addresses[0]!));
  return side.host.peerId.toString();
}

test("donors that are stuck do not hold up the last tiles, and leave their place to one that waits", async () => {
  const client = await createSide([]);
  sides.push(client);
  const stuck = await Promise.all(Array.from({ length: 8 }, () => donor(true, client)));
  const good = await donor(false, client);
  const fetched = new Float32Array(body.length);
  const transfer = new TileTransfer(client.streams, systemClock, {
    runId: RUN_ID,
    root: rootOfTiles(tiles, sha256),
    tiles,
    body: fetched,
    missing: [...tiles.keys()],
    draft: undefined,
    // The good one is the last that is asked.
    donors: () => [...stuck, good],
    onTile() {},
  });
  expect(await transfer.run(AbortSignal.timeout(60_000))).toBe(true);
  expect(tileIds(fetched, sha256)).toEqual(tiles);
  expect(transfer.failures[0]).toContain("slow beside the others");
  const share = transfer.shares.find(({ peer }) => peer === good);
  expect(share?.tiles).toBeGreaterThanOrEqual(TILES - 8);
  expect(client.offences).toEqual([]);
}, 60_000);
