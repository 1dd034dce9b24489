// Transfers between one serving and one asking host, where the side under test meets a slow, silent or greedy other.
import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { CHUNK_BYTES } from "../wire/bulk.ts";
import { encodeMessage } from "../wire/messages.ts";
import { protocolOfStream } from "../wire/topics.ts";
import type { BulkObject } from "./bulk.ts";
import { CHUNKS_IN_FLIGHT, pullBulk, serveBulk } from "./bulk.ts";
import { Frames } from "./frames.ts";
import { LOOPBACK, ROOT, RUN_ID } from "./testing/run-fixture.ts";
import { createSide, type Side } from "./testing/side.ts";

const until = (condition: () => void) => vi.waitFor(condition, { timeout: 20_000, interval: 10 });
const signal = () => AbortSignal.timeout(20_000);
const OPENING = { runId: RUN_ID, root: ROOT };

let server: Side;
let client: Side;

beforeEach(async () => {
  server = await createSide(LOOPBACK);
  client = await createSide([]);
  await client.host.dial(multiaddr(server.host.getMultiaddrs()[0]!.toString()));
});
afterEach(async () => {
  await client.stop();
  await server.stop();
});

/** An object of `count` chunks that notes which were read. */
function objectOf(count: number): BulkObject & { readonly reads: number[] } {
  const reads: number[] = [];
  return {
    reads,
    lengthBytes: count * CHUNK_BYTES,
    chunkBytes: CHUNK_BYTES,
    chunk(index) {
      reads.push(index);
      return new Uint8Array(CHUNK_BYTES).fill(index);
    },
  };
}

const pull = (overrides: Partial<Parameters<typeof pullBulk>[4]> = {}) => {
  let next = 0;
  const received: number[] = [];
  const done = pullBulk(
    client.streams,
    server.host.peerId.toString(),
    "tiles",
    OPENING,
    {
      accept() {},
      next: () => (next < 12 ? next++ : undefined),
      receive: (index) => void received.push(index),
      ...overrides,
    },
    signal(),
  );
  return { done, received };
};

test("chunks come in the order asked for, never more than a few ahead of what was received", async () => {
  const object = objectOf(12);
  await serveBulk(server.streams, "tiles", async () => object);
  let received = 0;
  const { done } = pull({
    receive(index, chunk) {
      expect(chunk[0]).toBe(index);
      expect(index).toBe(received++);
      expect(object.reads.length).toBeLessThanOrEqual(received + CHUNKS_IN_FLIGHT);
    },
  });
  expect(await done).toBe(true);
  expect(received).toBe(12);
});

test("a client that asks for everything and reads nothing makes the server hold a few chunks, not the object", async () => {
  const object = objectOf(1000);
  await serveBulk(server.streams, "tiles", async () => object);
  const stream = await client.host.dialProtocol(server.host.peerId, protocolOfStream("tiles"));
  stream.pause();
  const frames = new Frames(stream, { maxFrameBytes: 96, maxBufferedBytes: 1024 });
  await frames.write(encodeMessage("tilesOpen", OPENING), signal());
  for (let index = 0; index < 500; index++)
    await frames.write(encodeMessage("chunkRequest", { index }), signal());
  await until(() => expect(object.reads.length).toBeGreaterThan(0));
  // yamux grants the window once and no more while the reader stands still: a full window and one chunk, out of 1000.
  const serving = server.host.getConnections().flatMap(({ streams }) => streams);
  const inbound = serving.find(({ protocol }) => protocol === protocolOfStream("tiles"));
  await until(() => expect(inbound?.writableNeedsDrain).toBe(true));
  expect(inbound!.writeBufferLength).toBeLessThanOrEqual(2 * CHUNK_BYTES);
  expect(object.reads.length).toBeLessThan(100);
  stream.abort(new Error("done"));
});

test("a server that pushes what nobody asked for is cut off at the buffer's bound", async () => {
  await server.host.handle(protocolOfStream("tiles"), async (stream) => {
    const frames = new Frames(stream, { maxFrameBytes: 96, maxBufferedBytes: 1024 });
    await frames.read(signal());
    const head = { found: true, lengthBytes: 12 * CHUNK_BYTES, chunkBytes: CHUNK_BYTES };
    await frames.write(encodeMessage("bulkHead", head), signal());
    const flood = new Uint8Array(2 * 1024 * 1024); // one frame of this is above the bound as well
    while (stream.status === "open") await frames.write(flood, signal()).catch(() => {});
  });
  const { done } = pull();
  await expect(done).rejects.toMatchObject({ code: "PEER_MISBEHAVED" });
  expect(client.offences).toEqual(["oversized"]);
});

test("a chunk of the wrong length is an offence, a missing object is not", async () => {
  const object = { ...objectOf(12), chunk: () => new Uint8Array(5) };
  let found = false;
  await serveBulk(server.streams, "tiles", async () => (found ? object : undefined));
  expect(await pull().done).toBe(false);
  expect(client.offences).toEqual([]);
  found = true;
  await expect(pull().done).rejects.toMatchObject({ code: "PEER_MISBEHAVED" });
  expect(client.offences).toEqual(["malformed-message"]);
});

test("asking for chunks that do not exist, or again and again, ends the stream and is counted", async () => {
  await serveBulk(server.streams, "tiles", async () => objectOf(2));
  for (const [indices, offence] of [
    [[7], "malformed-message"],
    [[0, 0, 0, 0, 0], "rate-exceeded"],
  ] as const) {
    let asked = 0;
    const { done } = pull({ next: () => indices[asked++], receive() {} });
    await done.catch(() => {}); // how the client learns of it is the server's business
    await until(() => expect(server.offences).toContain(offence));
  }
});

test("an object that disappears while it is read ends the transfer without blame on either side", async () => {
  const object = {
    ...objectOf(12),
    chunk: (index: number) => (index < 2 ? new Uint8Array(CHUNK_BYTES) : undefined),
  };
  await serveBulk(server.streams, "tiles", async () => object);
  const { done, received } = pull();
  await expect(done).rejects.toMatchObject({ code: "PEER_UNREACHABLE" });
  expect(received.every((index) => index < 2)).toBe(true);
  expect([...server.offences, ...client.offences]).toEqual([]);
});

test("a handler that throws costs one stream and nothing else", async () => {
  let calls = 0;
  await server.streams.answer("snapshot", async () => {
    if (calls++ === 0) throw new Error("a bug of ours");
    return { snapshot: undefined };
  });
  const ask = () =>
    client.streams.ask(server.host.peerId.toString(), "snapshot", { runId: RUN_ID }, signal());
  await expect(ask()).rejects.toMatchObject({ code: expect.stringMatching(/PEER_UNREACHABLE|NOT_SERVED/) });
  expect(await ask()).toEqual({ snapshot: undefined });
  expect([...server.offences, ...client.offences]).toEqual([]);
});

test("a peer that does not serve a stream, a silent one and our own abort are told apart", async () => {
  const peer = server.host.peerId.toString();
  await expect(
    client.streams.ask(peer, "inventory", { runId: RUN_ID, fromRound: 0 }, signal()),
  ).rejects.toMatchObject({
    code: "NOT_SERVED",
  });
  await server.streams.answer("snapshot", () => new Promise(() => {}));
  const abort = new AbortController();
  const asking = client.streams.ask(peer, "snapshot", { runId: RUN_ID }, abort.signal);
  abort.abort(new Error("changed my mind"));
  await expect(asking).rejects.toThrow("changed my mind");
  const pending = client.streams.ask(peer, "snapshot", { runId: RUN_ID }, signal());
  await client.streams.stop();
  await expect(pending).rejects.toMatchObject({ code: "NETWORK_STOPPED" });
});
