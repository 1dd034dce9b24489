// Two runs over one host: who is in which, what is heard and served of which, over real TCP.
import { randomBytes } from "node:crypto";
import { afterEach, expect, test, vi } from "vitest";
import type { SignedUpdate } from "../core/types.ts";
import { sha256Hex } from "./hash.ts";
import type { RunNetwork } from "./network.ts";
import { fetchRunManifest } from "./run-manifests.ts";
import { areConnected, type Member, presenceOf, ROOT, serving, TestRun } from "./testing/run-fixture.ts";

const run = new TestRun();
afterEach(() => run.end());
const until = (condition: () => void) => vi.waitFor(condition, { timeout: 20_000, interval: 20 });
const signal = () => AbortSignal.timeout(20_000);

const manifest = new TextEncoder().encode('{"test":"group"}');
const runId = sha256Hex(manifest);

interface GroupMember {
  readonly network: RunNetwork;
  readonly updates: SignedUpdate[];
}

/** Joins the second run over the host of `member`. */
async function joinGroup(member: Member, payloads: readonly Uint8Array[] = []): Promise<GroupMember> {
  const network = member.network.besides({
    runId,
    runManifest: manifest,
    bodyValues: 10,
    maxPayloadBytes: 10_000_000,
  });
  const updates: SignedUpdate[] = [];
  const nothing = { inventory: () => updates, snapshot: () => undefined, tile: () => undefined };
  network.attach({
    listener: {
      onUpdate: (update) => updates.push(update),
      onPresence() {},
      onPeerConnected() {},
      onPeerDisconnected() {},
    },
    content: { payload: async () => undefined, ...nothing, ...serving(...payloads) },
  });
  await network.start();
  return { network, updates };
}

const groupUpdate = (network: RunNetwork, payload: Uint8Array): Promise<SignedUpdate> =>
  network.signUpdate({
    runId,
    round: 1,
    author: network.self,
    payload: sha256Hex(payload),
    payloadBytes: payload.byteLength,
    baseRoot: ROOT,
    tokens: 1,
    lossNatsPerToken: 1,
    bitsPerByte: 1,
  });

async function threeMembers(): Promise<readonly [Member, Member, Member]> {
  const members = [await run.join(), await run.join(), await run.join()] as const;
  await until(() => expect(areConnected(members, 2)).toBe(true));
  return members;
}

test("two of three peers form a second run whenever each joins, and the third hears nothing of it", async () => {
  const [ada, ben, eve] = await threeMembers();
  const payload = randomBytes(600_000);
  const first = await joinGroup(ada, [payload]);
  // Ben's host hears of the topic long before Ben joins.
  await until(() => expect(first.network.connectedPeers()).toEqual([]));
  const second = await joinGroup(ben);
  await until(() => {
    expect(first.network.connectedPeers()).toEqual([ben.network.self]);
    expect(second.network.connectedPeers()).toEqual([ada.network.self]);
  });

  const update = await groupUpdate(first.network, payload);
  await first.network.publishUpdate(update);
  await until(() => expect(second.updates).toEqual([update]));
  expect(payload.equals(await second.network.fetchPayload(update, [], signal()))).toBe(true);
  expect((await first.network.fetchInventory(ben.network.self, 0, signal())).updates).toEqual([update]);
  // A run is no secret: whoever knows its id is served. What Eve did not do is ask.
  await expect(eve.network.fetchPayload(update, [ada.network.self], signal())).resolves.toHaveLength(600_000);

  await ada.network.publishPresence(presenceOf(ada.network.self));
  await until(() => {
    for (const { presences } of [ben, eve])
      expect(presences.map(({ author }) => author)).toContain(ada.network.self);
  });
  expect([ada, ben, eve].map(({ updates }) => updates)).toEqual([[], [], []]);
  for (const { network } of [ada, ben, eve]) {
    expect(network.connectedPeers()).toHaveLength(2);
    expect(network.offences()).toEqual({});
  }
  expect(await fetchRunManifest(runId, ben.network.addresses(), signal())).toEqual(manifest);
  await expect(fetchRunManifest(runId, eve.network.addresses(), signal())).rejects.toMatchObject({
    code: "MANIFEST_NOT_FOUND",
  });
});

test("whoever leaves the second run stays in the first, serves nothing of the second, and may come back", async () => {
  const [ada, ben] = await threeMembers();
  const first = await joinGroup(ada);
  const second = await joinGroup(ben);
  await until(() => expect(first.network.connectedPeers()).toEqual([ben.network.self]));
  await second.network.stop();
  await until(() => expect(first.network.connectedPeers()).toEqual([]));
  expect(ada.network.connectedPeers()).toContain(ben.network.self);
  await expect(fetchRunManifest(runId, ben.network.addresses(), signal())).rejects.toMatchObject({
    code: "MANIFEST_NOT_FOUND",
  });
  await expect(first.network.fetchInventory(ben.network.self, 0, signal())).resolves.toMatchObject({
    updates: [],
  });

  await expect(joinGroup(ada)).rejects.toThrow("already");
  const again = await joinGroup(ben);
  await until(() => {
    expect(first.network.connectedPeers()).toEqual([ben.network.self]);
    expect(again.network.connectedPeers()).toEqual([ada.network.self]);
  });
});

test("peers of a second run that are not connected find each other through one that both know", async () => {
  const hub = await run.join({ targetPeers: 1 });
  const bootstrap = hub.network.addresses();
  const [ada, ben] = [
    await run.join({ bootstrap, targetPeers: 1 }),
    await run.join({ bootstrap, targetPeers: 1 }),
  ];
  await until(() => expect(areConnected([ada, ben], 1)).toBe(true));
  await joinGroup(hub);
  const [first, second] = [await joinGroup(ada), await joinGroup(ben)];
  await until(() => {
    expect(first.network.connectedPeers()).toContain(hub.network.self);
    expect(second.network.connectedPeers()).toContain(hub.network.self);
  });
  const update = await groupUpdate(first.network, Uint8Array.of(1));
  await first.network.publishUpdate(update);
  await until(() => expect(second.updates).toEqual([update]));
});

test("what one run's peers do wrong counts in all: a ban closes the connection", async () => {
  const [ada, ben] = await threeMembers();
  const first = await joinGroup(ada);
  await joinGroup(ben);
  await until(() => expect(first.network.connectedPeers()).toEqual([ben.network.self]));
  first.network.penalise(ben.network.self, "equivocation", "two updates");
  await until(() => {
    expect(first.network.connectedPeers()).toEqual([]);
    expect(ada.network.connectedPeers()).not.toContain(ben.network.self);
  });
  expect(ada.network.offences()).toEqual({ equivocation: 1 });
});
