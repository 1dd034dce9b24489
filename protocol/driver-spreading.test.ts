// A payload is with others before the swarm hears of it, and waits for nobody who does not take it.
import { describe, expect, it } from "vitest";
import type { PeerId, SignedUpdate } from "./core/types.ts";
import type { ServedContent } from "./ports.ts";
import { expectAgreement, finish, swarmOf } from "./testing/expectations.ts";
import type { Swarm } from "./testing/swarm.ts";

const NAMES = ["ada", "bea", "cleo", "dora", "eve"];
const NOTHING: ServedContent = {
  payload: async () => undefined,
  inventory: () => [],
  snapshot: () => undefined,
  tile: () => undefined,
};

/** Hears gossip as everyone does and is none of the run: sees what is held where when an update is announced. */
function eavesdrop(swarm: Swarm, heard: (update: SignedUpdate, holders: readonly PeerId[]) => void): void {
  swarm.network.plug("witness", {
    listener: {
      onUpdate({ announcement, envelope }) {
        const holders = swarm.list.filter(({ disk }) => disk.archive.has(announcement.payload));
        heard(
          { announcement, envelope },
          holders.map(({ id }) => id).filter((id) => id !== announcement.author),
        );
      },
      onPresence() {},
      onPeerConnected() {},
      onPeerDisconnected() {},
    },
    content: NOTHING,
  });
}

describe("an update", () => {
  it("is held by two others when it is announced, not always by the same two", async () => {
    const swarm = await swarmOf(NAMES);
    const seen: { author: PeerId; holders: readonly PeerId[] }[] = [];
    await swarm.clock.run(20_000, () => swarm.list.every(({ round }) => round >= 1));
    eavesdrop(swarm, ({ announcement }, holders) => seen.push({ author: announcement.author, holders }));
    await swarm.reach(8);
    expect(seen.length).toBeGreaterThan(25);
    expect(seen.filter(({ holders }) => holders.length < 2)).toEqual([]);
    const ofAda = seen.filter(({ author }) => author === "ada");
    expect(new Set(ofAda.flatMap(({ holders }) => holders)).size).toBeGreaterThan(2);
    expectAgreement(swarm, 5);
  });

  it("counts everywhere although its author dies before the rest have heard of it", async () => {
    const swarm = await swarmOf(NAMES);
    await swarm.reach(2);
    const ada = swarm.peer("ada");
    const others = swarm.list.filter((peer) => peer !== ada);
    const published = () => ada.events.findLast((event) => event.type === "published");
    const round = published()!.round + 1;
    const holders = () => {
      const last = published()!;
      return last.round < round ? [] : others.filter(({ disk }) => disk.archive.has(last.payload));
    };
    expect(await swarm.clock.run(60_000, () => holders().length > 0)).toBe(true);
    swarm.crash(ada);
    expect(holders().length).toBeLessThan(others.length);
    const { payload } = published()!;
    await swarm.reach(round + 3);
    for (const peer of others) expect(peer.disk.archive.has(payload)).toBe(true);
    expectAgreement(swarm, 4);
  });

  it("is announced all the same where those who are asked do not answer", async () => {
    const swarm = await swarmOf(["ada", "bea", "cleo"]);
    await swarm.reach(2);
    let announced = 0;
    swarm.network.disturb("bea", { delayMs: 60_000 });
    swarm.network.disturb("cleo", { delayMs: 60_000 });
    eavesdrop(swarm, ({ announcement }) => {
      if (announcement.author === "ada") announced++;
    });
    expect(await swarm.clock.run(60_000, () => announced > 0)).toBe(true);
    swarm.network.disturb("bea");
    swarm.network.disturb("cleo");
    for (const { driver } of swarm.list) driver.requestStop();
    await finish(swarm);
  });
});
