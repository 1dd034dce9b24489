// What of a body travels when a peer joins or is repaired: not what it has, not twice, and nothing of a refused one.
import { describe, expect, it } from "vitest";
import { TILE_VALUES } from "./core/merkle.ts";
import { expectAgreement } from "./testing/expectations.ts";
import { Swarm, type SwarmPeer } from "./testing/swarm.ts";

const NAMES = ["ada", "bea", "cleo"];
const TILES = 4;

const snapshots = (peer: SwarmPeer) => peer.events.filter((event) => event.type === "snapshot-fetched");

/** Three peers in round 3, with time in it: a peer that is away for a moment misses none. */
async function slowSwarm() {
  const swarm = new Swarm({ severalTiles: true, averaging: { minimumPeers: NAMES.length } });
  for (const name of NAMES) await swarm.add(name, { stepMs: 5_000 });
  await swarm.reach(3);
  return swarm;
}

describe("a peer whose disk has changed its closed body", () => {
  it("fetches the tiles that differ and no other, and says so", async () => {
    const swarm = await slowSwarm();
    const cleo = swarm.peer("cleo");
    swarm.crash(cleo);
    const closedBody = cleo.disk.checkpoint!.closedBody.slice();
    closedBody[2 * TILE_VALUES + 5]! += 0.25;
    cleo.disk.checkpoint = { ...cleo.disk.checkpoint!, closedBody };
    await swarm.restart(cleo);
    expect(await swarm.clock.run(120_000, () => cleo.count("healed") === 1)).toBe(true);
    const [fetched, ...others] = snapshots(cleo);
    expect(others).toEqual([]);
    expect(fetched).toMatchObject({
      heldTiles: TILES - 1,
      keptTiles: 0,
      fetchedTiles: 1,
      totalTiles: TILES,
      givers: [{ tiles: 1 }],
    });
    const round = Math.max(...swarm.list.map((peer) => peer.round));
    await swarm.reach(round + 3);
    expectAgreement(swarm, 3);
  });
});

describe("a newcomer killed in the middle of its body", () => {
  it("fetches only the rest when it comes back, and leaves no draft behind", async () => {
    const swarm = await slowSwarm();
    const dora = await swarm.add("dora");
    dora.disk.onWritten = (operation) => {
      if (operation === "keepTile" && dora.disk.draft.size === 2) swarm.crash(dora);
    };
    expect(await swarm.clock.run(60_000, () => !dora.power.on)).toBe(true);
    expect(dora.disk.draft.size).toBeGreaterThanOrEqual(2);
    const before = dora.disk.draft.size;
    dora.disk.onWritten = () => {};
    await swarm.restart(dora);
    expect(await swarm.clock.run(60_000, () => dora.count("synced") > 0)).toBe(true);
    const [fetched] = snapshots(dora);
    expect(fetched).toMatchObject({ keptTiles: before, fetchedTiles: TILES - before, heldTiles: 0 });
    expect(before).toBeLessThan(TILES);
    expect(dora.disk.draft.size).toBe(0);
    await swarm.reach(Math.max(...swarm.list.map((peer) => peer.round)) + 3);
    expectAgreement(swarm, 3);
  });
});
