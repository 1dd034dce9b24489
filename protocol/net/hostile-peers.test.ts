// What a malicious or broken peer of the run can do, over real TCP: it is dropped, counted and banned, and the honest
// peers go on.
import { randomBytes } from "node:crypto";
import type { GossipSub } from "@chainsafe/libp2p-gossipsub";
import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { encodeMessage } from "../wire/messages.ts";
import { encodeEnvelope } from "../wire/signed.ts";
import { protocolOfStream, topicOfRun } from "../wire/topics.ts";
import { systemClock } from "./clock.ts";
import { gossipService } from "./gossip.ts";
import type { Host } from "./host.ts";
import { createHost } from "./host.ts";
import type { Identity } from "./identity.ts";
import { createIdentity } from "./identity.ts";
import { OffenceBook } from "./offences.ts";
import { signPresence, signUpdate } from "./signatures.ts";
import type { Member } from "./testing/run-fixture.ts";
import {
  areConnected,
  presenceOf,
  ROOT,
  RUN_ID,
  serving,
  servingBody,
  TestRun,
  updateOf,
} from "./testing/run-fixture.ts";

const run = new TestRun();
const until = (condition: () => void) => vi.waitFor(condition, { timeout: 20_000, interval: 20 });
const signal = () => AbortSignal.timeout(20_000);

let identity: Identity;
let villain: Host<{ pubsub: GossipSub }>;
let victim: Member;
let honest: Member;

/** A libp2p host that speaks gossipsub and whatever else the test makes it say. */
beforeEach(async () => {
  identity = await createIdentity();
  victim = await run.join();
  honest = await run.join();
  villain = await createHost(
    { identity, listen: [], maxConnections: 8 },
    { isBanned: () => false },
    { pubsub: gossipService(new OffenceBook(systemClock), () => true, 100) },
  );
  await villain.start();
  villain.services.pubsub.subscribe(topicOfRun(RUN_ID));
  await villain.dial(multiaddr(victim.network.addresses()[0]!));
  await until(() => {
    expect(victim.network.connectedPeers()).toContain(identity.peer);
    expect(villain.services.pubsub.getSubscribers(topicOfRun(RUN_ID)).length).toBeGreaterThan(0);
    expect(areConnected([victim, honest], 1)).toBe(true);
  });
});
afterEach(async () => {
  await villain.stop();
  await run.end();
});

const shout = (data: Uint8Array) => villain.services.pubsub.publish(topicOfRun(RUN_ID), data);

/** The honest two still hear each other, and nothing of what the villain said. */
async function expectUnharmed(): Promise<void> {
  await honest.network.publishPresence(presenceOf(honest.network.self));
  await until(() => expect(victim.presences.map(({ author }) => author)).toContain(honest.network.self));
  for (const { updates, presences } of [victim, honest]) {
    expect(updates).toEqual([]);
    expect(presences.filter(({ author }) => author === identity.peer)).toEqual([]);
  }
  expect(victim.network.connectedPeers()).toContain(honest.network.self);
  expect(honest.network.offences()).toEqual({}); // garbage was not forwarded
}

const forgedUpdate = async (fields: object = {}): Promise<Uint8Array> => {
  const announcement = {
    runId: RUN_ID,
    round: 3,
    author: identity.peer,
    payload: ROOT,
    payloadBytes: 100,
    baseRoot: ROOT,
    tokens: 1,
    lossNatsPerToken: 1,
    bitsPerByte: 1,
    ...fields,
  };
  return (await signUpdate(identity, announcement)).envelope;
};

test.each<[string, string, () => Promise<Uint8Array>]>([
  ["noise", "malformed-message", async () => randomBytes(200)],
  ["a message far above the envelope's size", "oversized", async () => randomBytes(100_000)],
  ["an announcement of another run", "wrong-run", () => forgedUpdate({ runId: "00".repeat(32) })],
  [
    "an announcement of a payload 100 times too large",
    "oversized",
    () => forgedUpdate({ payloadBytes: 1e9 }),
  ],
  [
    "an announcement signed by somebody else",
    "bad-signature",
    async () => {
      const body = encodeMessage("presence", presenceOf(honest.network.self));
      return encodeEnvelope({ kind: "presence", body, signature: new Uint8Array(64).fill(1) });
    },
  ],
  [
    "a presence's signature under an update",
    "malformed-message",
    async () => {
      const envelope = await signPresence(identity, presenceOf(identity.peer));
      envelope[0] = 0x0a; // field 1: update
      return envelope;
    },
  ],
])("%s over gossip is dropped and counted as %s", async (_, offence, message) => {
  await shout(await message());
  await until(() => expect(victim.network.offences()).toEqual({ [offence]: 1 }));
  await expectUnharmed();
});

test("a peer that keeps sending garbage is banned, disconnected and not let in again", async () => {
  for (let index = 0; index < 5; index++) await shout(randomBytes(64));
  await until(() => expect(victim.network.connectedPeers()).toEqual([honest.network.self]));
  await expectUnharmed();
  await expect(
    villain
      .dial(multiaddr(victim.network.addresses()[0]!))
      .then((connection) => connection.newStream(protocolOfStream("inventory"), { signal: signal() })),
  ).rejects.toThrow();
  expect(victim.network.connectedPeers()).toEqual([honest.network.self]);
});

test("a frame that claims 200 MB, and a prefix that never ends, cost the stream and are counted", async () => {
  const peer = villain.getPeers()[0]!;
  for (const [bytes, offence] of [
    [Uint8Array.of(0x80, 0x84, 0xaf, 0x5f), "oversized"],
    [new Uint8Array(64).fill(0xff), "malformed-message"],
  ] as const) {
    const stream = await villain.dialProtocol(peer, protocolOfStream("payload"));
    stream.send(bytes);
    await until(() => expect(victim.network.offences()[offence]).toBe(1));
    await until(() => expect(stream.status).not.toBe("open"));
  }
  await expectUnharmed();
});

test("asking far too often is counted and answered no more", async () => {
  const peer = villain.getPeers()[0]!;
  const request = encodeMessage("snapshotRequest", { runId: RUN_ID });
  const frame = Uint8Array.of(request.length, ...request);
  for (let index = 0; index < 25; index++) {
    const stream = await villain.dialProtocol(peer, protocolOfStream("snapshot"));
    stream.send(frame);
    await until(() => expect(stream.readBufferLength > 0 || stream.status !== "open").toBe(true));
    stream.abort(new Error("done"));
  }
  expect(victim.network.offences()["rate-exceeded"]).toBeGreaterThanOrEqual(1);
});

test("a holder that serves wrong bytes is blamed, and the payload comes from the next", async () => {
  const payload = randomBytes(600_000);
  const author = await run.join();
  const update = await updateOf(author.network, payload);
  const garbage = randomBytes(600_000);
  const liar = await run.join({}, { payload: async () => garbage });
  const holder = await run.join({}, serving(payload));
  await until(() => expect(areConnected([victim, liar, holder, author], 4)).toBe(true));
  const holders = [liar.network.self, holder.network.self];
  for (const round of [1, 2]) {
    expect(payload.equals(await victim.network.fetchPayload(update, holders, signal()))).toBe(true);
    expect(victim.network.offences()).toEqual({ "hash-mismatch": round });
  }
  await until(() => expect(victim.network.connectedPeers()).not.toContain(liar.network.self));
  expect(victim.network.connectedPeers()).toContain(holder.network.self);
});

test("when two holders together gave a wrong payload nobody is blamed until each has been tried alone", async () => {
  const payload = randomBytes(600_000);
  const garbage = randomBytes(600_000);
  let servedByLiar = 0;
  // Gives one wrong chunk and breaks off: the next holder resumes on top of it.
  const quitter = await run.join(
    {},
    {
      payload: async () => (servedByLiar++ === 0 ? breakingAfter(garbage, 1) : undefined),
    },
  );
  const holder = await run.join({}, serving(payload));
  await until(() => expect(areConnected([victim, quitter, holder], 3)).toBe(true));
  const update = await updateOf(quitter.network, payload);
  const holders = [holder.network.self];
  expect(payload.equals(await victim.network.fetchPayload(update, holders, signal()))).toBe(true);
  expect(victim.network.offences()).toEqual({});
});

/** Bytes whose chunks after the first `chunks` cannot be read. */
function breakingAfter(bytes: Uint8Array, chunks: number): Uint8Array {
  let asked = 0;
  return new Proxy(bytes, {
    get(target, property) {
      if (property === "subarray" && asked++ >= chunks) throw new Error("the disk is gone");
      const value = Reflect.get(target, property, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

test("a holder that offers another length than announced is passed over", async () => {
  const payload = randomBytes(1000);
  const author = await run.join({}, { payload: async () => randomBytes(100_000) });
  const holder = await run.join({}, serving(payload));
  await until(() => expect(areConnected([victim, author, holder], 3)).toBe(true));
  const update = await updateOf(author.network, payload);
  expect(payload.equals(await victim.network.fetchPayload(update, [holder.network.self], signal()))).toBe(
    true,
  );
});

test("an inventory with a forged update is refused and its sender blamed", async () => {
  const real = await updateOf(honest.network, randomBytes(10));
  const envelope = real.envelope.slice();
  envelope[envelope.length - 1]! ^= 1;
  const forger = await run.join({}, { inventory: () => [real, { ...real, envelope }] });
  await until(() => expect(areConnected([victim, forger], 2)).toBe(true));
  await expect(victim.network.fetchInventory(forger.network.self, 0, signal())).rejects.toMatchObject({
    code: "PEER_MISBEHAVED",
  });
  expect(victim.network.offences()).toEqual({ "bad-signature": 1 });
});

test("a snapshot whose tiles do not hash to its root is refused before a tile is fetched", async () => {
  const forger = await run.join({}, servingBody(new Float32Array(1000), ROOT));
  await until(() => expect(areConnected([victim, forger], 2)).toBe(true));
  await expect(victim.network.fetchSnapshot(forger.network.self, signal())).rejects.toMatchObject({
    code: "PEER_MISBEHAVED",
  });
  expect(victim.network.offences()).toEqual({ "hash-mismatch": 1 });
  expect(victim.network.traffic().channels.snapshot.bytesReceived).toBeLessThan(500);
});
