// The small pieces of bookkeeping, on a clock that only moves when told.
import { expect, test } from "vitest";
import { peerIdOfKey } from "../wire/peer-key.ts";
import { parseAddress } from "./addresses.ts";
import { Backoff } from "./backoff.ts";
import { BAN_POINTS, OFFENCE_POINTS, OffenceBook } from "./offences.ts";
import { PeerDirectory } from "./peer-directory.ts";
import { RateLimiter } from "./rate-limit.ts";
import { KeyedSemaphore } from "./semaphore.ts";
import { ManualClock } from "./testing/manual-clock.ts";

const peer = (byte: number) => peerIdOfKey(new Uint8Array(32).fill(byte));
const MINUTE_MS = 60_000;

test("two false hashes ban a peer, one and a rare malformed message do not", () => {
  const clock = new ManualClock();
  const book = new OffenceBook(clock);
  expect(book.penalise("a", "hash-mismatch")).toEqual({ banned: false });
  expect(book.penalise("a", "malformed-message")).toEqual({ banned: false });
  clock.advance(1000);
  expect(book.penalise("a", "hash-mismatch")).toEqual({ banned: true });
  expect(book.isBanned("a")).toBe(true);
  expect(book.isBanned("b")).toBe(false);
  expect(book.counts()).toEqual({ "hash-mismatch": 2, "malformed-message": 1 });
});

test("points halve in ten minutes, so that accidents of a long run never add up to a ban", () => {
  const clock = new ManualClock();
  const book = new OffenceBook(clock);
  book.penalise("a", "oversized");
  clock.advance(10 * MINUTE_MS);
  expect(book.points("a")).toBeCloseTo(OFFENCE_POINTS.oversized / 2);
  for (let hour = 0; hour < 50; hour++) {
    clock.advance(60 * MINUTE_MS);
    expect(book.penalise("a", "hash-mismatch").banned).toBe(false);
  }
});

test("a ban ends, and the next one lasts twice as long", () => {
  const clock = new ManualClock();
  const book = new OffenceBook(clock);
  const offend = () => book.penalise("a", "equivocation");
  expect(OFFENCE_POINTS.equivocation).toBeGreaterThan(BAN_POINTS);
  offend();
  clock.advance(10 * MINUTE_MS - 1);
  expect(book.isBanned("a")).toBe(true);
  clock.advance(1);
  expect(book.isBanned("a")).toBe(false);
  offend();
  clock.advance(20 * MINUTE_MS - 1);
  expect(book.isBanned("a")).toBe(true);
  clock.advance(1);
  expect(book.isBanned("a")).toBe(false);
});

test("a rate allows its burst, then its refill, each key for itself", () => {
  const clock = new ManualClock();
  const limiter = new RateLimiter(clock);
  const rate = { burst: 3, perSecond: 2 };
  const take = (key: string, times: number) => Array.from({ length: times }, () => limiter.take(key, rate));
  expect(take("a", 5)).toEqual([true, true, true, false, false]);
  expect(take("b", 1)).toEqual([true]);
  clock.advance(1000);
  expect(take("a", 3)).toEqual([true, true, false]);
  clock.advance(3_600_000);
  expect(take("a", 4)).toEqual([true, true, true, false]);
});

test("back-off grows with failures, is bounded, and ends with a success", () => {
  const clock = new ManualClock();
  const backoff = new Backoff(clock);
  expect(backoff.isDue("a")).toBe(true);
  backoff.failed("a");
  expect(backoff.isDue("a")).toBe(false);
  clock.advance(750); // 500 ms with a jitter of at most a half
  expect(backoff.isDue("a")).toBe(true);
  for (let index = 0; index < 20; index++) backoff.failed("a");
  clock.advance(29_999); // 60 s with a jitter of at least a half
  expect(backoff.isDue("a")).toBe(false);
  clock.advance(60_001);
  expect(backoff.isDue("a")).toBe(true);
  backoff.failed("a");
  backoff.succeeded("a");
  expect(backoff.isDue("a")).toBe(true);
});

test("hearsay never replaces what a peer says of itself, and is not handed on", () => {
  const directory = new PeerDirectory({ maxPeers: 10, lifetimeMs: 1000 }, new ManualClock());
  directory.mention({ peer: peer(1), addresses: ["/ip4/192.0.2.9/tcp/1"] });
  expect(directory.all()).toHaveLength(1);
  expect(directory.answerFor(peer(2))).toEqual([]);
  directory.introduce({ peer: peer(1), addresses: ["/ip4/192.0.2.1/tcp/1"] });
  directory.mention({ peer: peer(1), addresses: ["/ip4/192.0.2.9/tcp/1"] });
  const known = [{ peer: peer(1), addresses: ["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.9/tcp/1"] }];
  expect(directory.answerFor(peer(2))).toEqual(known);
  expect(directory.answerFor(peer(1))).toEqual([]); // nobody is told of themselves
});

test("a peer that is only talked about expires, one that is met stays", () => {
  const clock = new ManualClock();
  const directory = new PeerDirectory({ maxPeers: 10, lifetimeMs: 1000 }, clock);
  const record = (byte: number) => ({ peer: peer(byte), addresses: ["/ip4/192.0.2.1/tcp/1"] });
  directory.introduce(record(1));
  directory.mention(record(2));
  clock.advance(600);
  directory.confirm(peer(1));
  directory.mention(record(2));
  clock.advance(600);
  expect(directory.all().map((known) => known.peer)).toEqual([peer(1)]);
  clock.advance(600);
  expect(directory.size).toBe(0);
});

test("the directory is bounded and drops the one seen longest ago", () => {
  const directory = new PeerDirectory({ maxPeers: 2, lifetimeMs: 1000 }, new ManualClock());
  for (const byte of [1, 2, 3])
    directory.introduce({ peer: peer(byte), addresses: ["/ip4/192.0.2.1/tcp/1"] });
  expect(directory.all().map((known) => known.peer)).toEqual([peer(3), peer(2)]);
});

test("addresses that cannot be dialled, or that name another peer, are not taken up", () => {
  const directory = new PeerDirectory({ maxPeers: 10, lifetimeMs: 1000 }, new ManualClock());
  directory.introduce({
    peer: peer(1),
    addresses: [
      "nonsense",
      "/ip4/192.0.2.1/udp/1",
      `/ip4/192.0.2.1/tcp/1/p2p/${peer(2)}`,
      "/ip4/192.0.2.1/tcp/1",
    ],
  });
  expect(directory.all()).toEqual([{ peer: peer(1), addresses: ["/ip4/192.0.2.1/tcp/1"] }]);
});

test.each([
  ["/ip4/192.0.2.1/tcp/4001", { peer: undefined, address: "/ip4/192.0.2.1/tcp/4001" }],
  [`/dns4/example.org/tcp/1/p2p/${peer(1)}`, { peer: peer(1), address: "/dns4/example.org/tcp/1" }],
  ["/ip6/::1/tcp/1", { peer: undefined, address: "/ip6/::1/tcp/1" }],
  ["", undefined],
  ["/ip4/192.0.2.1", undefined],
  ["/ip4/192.0.2.1/tcp/99999", undefined],
  ["/ip4/192.0.2.1/udp/1/quic-v1", undefined],
  ["/ip4/192.0.2.1/tcp/1/ws", undefined],
  ["/ip4/192.0.2.1/tcp/1/p2p/QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", undefined],
  [`/ip4/192.0.2.1/tcp/1/p2p/${peer(1)}/p2p-circuit`, undefined],
])("the address %s is read as what it is", (text, expected) => {
  expect(parseAddress(text)).toEqual(expected);
});

test("a semaphore admits in order up to its limit, and lets those who give up go", async () => {
  const semaphore = new KeyedSemaphore(1);
  const order: string[] = [];
  const gate = Promise.withResolvers<void>();
  const never = new AbortController();
  const first = semaphore.run("a", never.signal, () => gate.promise);
  const quitter = new AbortController();
  const second = semaphore.run("a", quitter.signal, async () => order.push("second"));
  const third = semaphore.run("a", never.signal, async () => order.push("third"));
  await semaphore.run("b", never.signal, async () => order.push("other key"));
  quitter.abort(new Error("gave up"));
  await expect(second).rejects.toThrow("gave up");
  expect(order).toEqual(["other key"]);
  gate.resolve();
  await Promise.all([first, third]);
  expect(order).toEqual(["other key", "third"]);
  await expect(semaphore.run("a", never.signal, () => Promise.reject(new Error("failed")))).rejects.toThrow();
  await semaphore.run("a", never.signal, async () => order.push("still open"));
  expect(order.at(-1)).toBe("still open");
});
