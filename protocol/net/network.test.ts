// Networks over real TCP on loopback. They find each other through one of them: a peer is as good as a rendezvous.
import { randomBytes } from "node:crypto";
import { afterEach, expect, test, vi } from "vitest";
import type { SignedUpdate } from "../core/types.ts";
import { fetchRunManifest } from "./run-manifests.ts";
import {
  areConnected,
  LOOPBACK,
  MANIFEST,
  presenceOf,
  RUN_ID,
  serving,
  TestRun,
  updateOf,
} from "./testing/run-fixture.ts";

const run = new TestRun();
afterEach(() => run.end());
const until = (condition: () => void) => vi.waitFor(condition, { timeout: 20_000, interval: 20 });
const signal = () => AbortSignal.timeout(20_000);

test("three peers that know one address find each other and hear each other's presence and update", async () => {
  const first = await run.join();
  const bootstrap = first.network.addresses();
  const members = [first, await run.join({ bootstrap }), await run.join({ bootstrap })];
  await until(() => expect(areConnected(members, 2)).toBe(true));
  const [a, b, c] = members.map(({ network }) => network.self);
  expect(new Set(first.network.connectedPeers())).toEqual(new Set([b, c]));

  const update = await updateOf(members[2]!.network, Uint8Array.of(1, 2, 3));
  await members[2]!.network.publishUpdate(update);
  await members[1]!.network.publishPresence(presenceOf(b!, { name: "zweite" }));
  await until(() => {
    expect(first.updates).toEqual([update]);
    expect(members[1]!.updates).toEqual([update]);
    expect(members[2]!.presences).toEqual([presenceOf(b!, { name: "zweite" })]);
  });
  expect(members[2]!.updates).toEqual([]); // nobody hears themselves

  // An older presence never follows a newer one.
  await members[1]!.network.publishPresence(presenceOf(b!, { sequence: 5, step: 5 }));
  await until(() => expect(first.presences.map(({ sequence }) => sequence)).toEqual([1, 5]));
  await members[1]!.network.publishPresence(presenceOf(b!, { sequence: 4, step: 4 }));
  await members[1]!.network.publishPresence(presenceOf(b!, { sequence: 6, step: 6 }));
  await until(() => expect(first.presences.at(-1)?.sequence).toBe(6));
  expect(first.presences.map(({ sequence }) => sequence)).toEqual([1, 5, 6]);
  for (const { network } of members) expect(network.offences()).toEqual({});
  expect(a).toBe(first.network.self);
});

test("the first peer dies and a newcomer joins through another, with the manifest from it", async () => {
  const first = await run.join();
  const second = await run.join();
  const third = await run.join({ bootstrap: first.network.addresses() });
  await until(() => expect(areConnected([first, second, third], 2)).toBe(true));
  await run.leave(first);
  await until(() => expect(second.network.connectedPeers()).toEqual([third.network.self]));

  const addresses = second.network.addresses();
  expect(await fetchRunManifest(RUN_ID, addresses, signal())).toEqual(MANIFEST);
  const fourth = await run.join({ bootstrap: addresses });
  await until(() => expect(areConnected([second, third, fourth], 2)).toBe(true));
});

test("a peer that comes back finds the others from its cache, without any bootstrap address", async () => {
  const first = await run.join();
  const saved: { peer: string; addresses: readonly string[] }[] = [];
  const peerCache = {
    load: async () => saved,
    save: async (peers: typeof saved) => void saved.splice(0, saved.length, ...peers),
  };
  const second = await run.join({}, {}, { peerCache: peerCache as never });
  await until(() => expect(areConnected([first, second], 1)).toBe(true));
  await run.leave(second);
  expect(saved.map(({ peer }) => peer)).toEqual([first.network.self]);
  const again = await run.join({ bootstrap: [] }, {}, { peerCache: peerCache as never });
  await until(() => expect(areConnected([first, again], 1)).toBe(true));
});

test("a payload of 5 MB comes from its author, and traffic says so on both sides", async () => {
  const payload = randomBytes(5_000_000);
  const author = await run.join({}, serving(payload));
  const reader = await run.join();
  await until(() => expect(areConnected([author, reader], 1)).toBe(true));
  const update = await updateOf(author.network, payload);
  expect(payload.equals(await reader.network.fetchPayload(update, [], signal()))).toBe(true);

  const { channels, links } = reader.network.traffic();
  expect(channels.payload.bytesReceived).toBeGreaterThan(5_000_000);
  expect(channels.payload.bytesReceived).toBeLessThan(5_010_000);
  expect(channels.snapshot).toEqual({ bytesSent: 0, bytesReceived: 0 });
  expect(links).toHaveLength(1);
  expect(links[0]).toMatchObject({ peer: author.network.self, direction: "outbound" });
  expect(links[0]!.bytesReceived).toBeGreaterThan(5_000_000);
  await until(() =>
    expect(links.length && reader.network.traffic().links[0]!.latencyMs).toBeGreaterThanOrEqual(0),
  );
  expect(author.network.traffic().links[0]).toMatchObject({ direction: "inbound" });
  expect(author.network.traffic().channels.payload.bytesSent).toBe(channels.payload.bytesReceived);
});

test("a payload whose author is gone comes from another holder", async () => {
  const payload = randomBytes(400_000);
  const author = await run.join({}, serving(payload));
  const update = await updateOf(author.network, payload);
  const holder = await run.join({}, serving(payload));
  const reader = await run.join();
  await until(() => expect(areConnected([holder, reader], 2)).toBe(true));
  await run.leave(author);
  expect(payload.equals(await reader.network.fetchPayload(update, [holder.network.self], signal()))).toBe(
    true,
  );
});

test("a payload nobody has is a typed failure that lists who was asked", async () => {
  const author = await run.join();
  const reader = await run.join();
  await until(() => expect(areConnected([author, reader], 1)).toBe(true));
  const update = await updateOf(author.network, randomBytes(10));
  await expect(reader.network.fetchPayload(update, [], signal())).rejects.toMatchObject({
    code: "PAYLOAD_UNAVAILABLE",
    fields: { attempts: [`${author.network.self}: does not have it`] },
  });
  const abort = new AbortController();
  abort.abort(new Error("enough"));
  await expect(reader.network.fetchPayload(update, [], abort.signal)).rejects.toThrow("enough");
});

test("an inventory comes with verified signatures and only from the asked round on", async () => {
  const held: Awaited<ReturnType<typeof updateOf>>[] = [];
  const roots = [2, 3, 4].map((round) => [round, `${round}b`.repeat(32)] as const);
  const holder = await run.join(
    {},
    {
      inventory: (fromRound) => held.filter((u) => u.announcement.round >= fromRound),
      closedRoots: (fromRound) => new Map(roots.filter(([round]) => round >= fromRound)),
    },
  );
  for (const round of [2, 3, 4]) held.push(await updateOf(holder.network, Uint8Array.of(round), round));
  const reader = await run.join();
  await until(() => expect(areConnected([holder, reader], 1)).toBe(true));
  const { updates, closedRoots } = await reader.network.fetchInventory(holder.network.self, 3, signal());
  expect(updates).toEqual(held.slice(1));
  expect([...closedRoots]).toEqual(roots.slice(1));
});

test("an inventory longer than a message comes whole, and a snapshot names as many of its updates as fit", async () => {
  const { announcement } = await updateOf(
    await run.join().then(({ network }) => network),
    Uint8Array.of(1),
    3,
  );
  const held: SignedUpdate[] = [];
  const holder = await run.join(
    {},
    {
      inventory: (fromRound) => held.filter((u) => u.announcement.round >= fromRound),
      snapshot: () => ({
        runId: announcement.runId,
        closedRound: 3,
        root: "aa".repeat(32),
        tiles: [],
        updates: held,
      }),
    },
  );
  const author = holder.network.self;
  for (let round = 3; round < 2_103; round++) {
    held.push(await holder.network.signUpdate({ ...announcement, author, round }));
  }
  const reader = await run.join();
  await until(() => expect(areConnected([holder, reader], 1)).toBe(true));
  const { updates } = await reader.network.fetchInventory(author, 4, signal());
  expect(updates).toEqual(held.slice(1));
  // Its tiles are nobody's; that it could be said at all is the point.
  await expect(reader.network.fetchSnapshot(author, signal())).rejects.toMatchObject({
    code: "PEER_MISBEHAVED",
  });
});

test("a port in use, a foreign address and a bad multiaddr are told apart", async () => {
  const { network } = await run.join();
  const taken = network.addresses()[0]!.split("/p2p/")[0]!;
  await expect(run.join({ listen: [taken] })).rejects.toMatchObject({ code: "ADDRESS_IN_USE" });
  await expect(run.join({ listen: ["/ip4/192.0.2.1/tcp/0"] })).rejects.toMatchObject({
    code: "ADDRESS_UNAVAILABLE",
  });
  for (const address of ["localhost:4001", "/ip4/999.0.0.1/tcp/1", "/ip4/127.0.0.1/udp/1/quic-v1"]) {
    await expect(run.join({ listen: [address] })).rejects.toMatchObject({ code: "ADDRESS_INVALID" });
    await expect(run.join({ bootstrap: [address] })).rejects.toMatchObject({ code: "ADDRESS_INVALID" });
  }
});

test("a manifest that does not hash to the run is refused before anything starts", async () => {
  await expect(run.join({ runId: "00".repeat(32) })).rejects.toMatchObject({ code: "MANIFEST_MISMATCH" });
});

test("a peer of one run does not take a peer of another for a member", async () => {
  const member = await run.join();
  const manifest = new TextEncoder().encode('{"another":"run"}');
  const { sha256Hex } = await import("./hash.ts");
  const stranger = await run.join({ runId: sha256Hex(manifest), runManifest: manifest });
  const other = await run.join({ bootstrap: member.network.addresses() });
  await until(() => expect(areConnected([member, other], 1)).toBe(true));
  expect(stranger.network.connectedPeers()).toEqual([]);
  expect(member.network.connectedPeers()).toEqual([other.network.self]);
  await expect(fetchRunManifest(RUN_ID, stranger.network.addresses(), signal())).rejects.toMatchObject({
    code: "MANIFEST_NOT_FOUND",
  });
});

test("stopping closes every socket, also in the middle of a transfer", async () => {
  const payload = randomBytes(8_000_000);
  const author = await run.join({ listen: LOOPBACK }, serving(payload));
  const reader = await run.join();
  await until(() => expect(areConnected([author, reader], 1)).toBe(true));
  const fetching = reader.network.fetchPayload(await updateOf(author.network, payload), [], signal());
  const outcome = fetching.then(
    () => "fetched",
    (error: unknown) => (error as { code: string }).code,
  );
  await run.leave(reader);
  await run.leave(author);
  expect(["fetched", "NETWORK_STOPPED"]).toContain(await outcome);
  await until(() =>
    expect(process.getActiveResourcesInfo().filter((name) => name.startsWith("TCP"))).toEqual([]),
  );
});
