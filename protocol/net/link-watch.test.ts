import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Host } from "./host.ts";
import { createHost } from "./host.ts";
import { createIdentity } from "./identity.ts";
import { GOSSIP_SILENCE_MS, LinkWatch } from "./link-watch.ts";
import { silentLogger } from "./logger.ts";
import { ManualClock } from "./testing/manual-clock.ts";
import { LOOPBACK } from "./testing/run-fixture.ts";

const until = (condition: () => void) => vi.waitFor(condition, { timeout: 20_000, interval: 10 });

let ours: Host;
let quiet: Host;
let talking: Host;
let clock: ManualClock;
let watch: LinkWatch;
const idOf = (host: Host) => host.peerId.toString();
const connected = () => ours.getPeers().map(String);

beforeEach(async () => {
  const hosts = [];
  for (const listen of [[], LOOPBACK, LOOPBACK]) {
    const options = { identity: await createIdentity(), listen, maxConnections: 8 };
    const host: Host = await createHost(options, { isBanned: () => false }, {});
    await host.start();
    hosts.push(host);
  }
  [ours, quiet, talking] = hosts as [Host, Host, Host];
  for (const host of [quiet, talking]) await ours.dial(multiaddr(host.getMultiaddrs()[0]!.toString()));
  clock = new ManualClock();
  watch = new LinkWatch(ours, { clock, logger: silentLogger });
  watch.start();
  for (const host of [quiet, talking]) watch.joined(idOf(host));
});
afterEach(async () => {
  watch.stop();
  await Promise.all([ours, quiet, talking].map((host) => host.stop()));
});

test("a member of whom no gossip is heard is hung up, one that talks stays", async () => {
  clock.advance(GOSSIP_SILENCE_MS - 1000);
  expect(connected()).toHaveLength(2);
  watch.heard(idOf(talking));
  clock.advance(60_000);
  await until(() => expect(connected()).toEqual([idOf(talking)]));
});

test("a member that has said that it speaks seldom is given that time", async () => {
  watch.heard(idOf(quiet), 300_000);
  clock.advance(GOSSIP_SILENCE_MS + 60_000);
  await until(() => expect(connected()).toEqual([idOf(quiet)]));
  clock.advance(1_500_000);
  await until(() => expect(connected()).toEqual([]));
});

test("a link is described by direction, address and round trip", async () => {
  await until(() => {
    const link = watch.describe().find(({ peer }) => peer === idOf(quiet));
    expect(link).toMatchObject({ direction: "outbound", address: quiet.getMultiaddrs()[0]!.toString() });
    expect(link?.latencyMs).toBeGreaterThanOrEqual(0);
  });
  await ours.hangUp(quiet.peerId);
  watch.left(idOf(quiet));
  expect(watch.describe().map(({ peer }) => peer)).toEqual([idOf(talking)]);
});
