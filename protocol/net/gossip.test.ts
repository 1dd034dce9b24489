// What gossipsub keeps of runs that are not ours: their subscribers, because we may join later, and none of their messages.
import type { GossipSub } from "@chainsafe/libp2p-gossipsub";
import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, expect, test, vi } from "vitest";
import { systemClock } from "./clock.ts";
import { gossipService } from "./gossip.ts";
import { createHost, type Host } from "./host.ts";
import { createIdentity } from "./identity.ts";
import { OffenceBook } from "./offences.ts";
import { LOOPBACK } from "./testing/run-fixture.ts";

const until = (condition: () => void) => vi.waitFor(condition, { timeout: 20_000, interval: 20 });
const hosts: Host<{ pubsub: GossipSub }>[] = [];
afterEach(() => Promise.all(hosts.splice(0).map((host) => host.stop())));

async function gossiping(isOurs: (topic: string) => boolean) {
  const host = await createHost(
    { identity: await createIdentity(), listen: LOOPBACK, maxConnections: 8 },
    { isBanned: () => false },
    { pubsub: gossipService(new OffenceBook(systemClock), isOurs, 100) },
  );
  await host.start();
  hosts.push(host);
  return host;
}

/** What the package keeps to itself: its message cache, and who is subscribed to what. */
interface Inside {
  readonly mcache: { readonly msgs: ReadonlyMap<string, unknown> };
  readonly topics: Map<string, Set<string>>;
}
const inside = ({ services }: Host<{ pubsub: GossipSub }>) => services.pubsub as unknown as Inside;

test("subscribers of other topics are remembered up to a bound, their messages are not kept", async () => {
  const ours = await gossiping((topic) => topic === "ours");
  const other = await gossiping(() => true);
  ours.services.pubsub.subscribe("ours");
  for (let topic = 0; topic < 200; topic++) other.services.pubsub.subscribe(`foreign ${topic}`);
  await other.dial(multiaddr(ours.getMultiaddrs()[0]!.toString()));
  await until(() => {
    expect(ours.services.pubsub.getSubscribers("foreign 0").map(String)).toEqual([other.peerId.toString()]);
    expect(other.services.pubsub.getSubscribers("ours")).toHaveLength(1);
  });
  expect(inside(ours).topics.size).toBeLessThan(70);

  // gossipsub sends to subscribers; this one believes that we are one.
  inside(other).topics.set("foreign 0", new Set([ours.peerId.toString()]));
  for (const topic of ["foreign 0", "ours"]) {
    const { recipients } = await other.services.pubsub.publish(topic, new TextEncoder().encode(topic));
    expect(recipients).toHaveLength(1);
  }
  await until(() => expect(inside(ours).mcache.msgs.size).toBeGreaterThan(0));
  expect(inside(ours).mcache.msgs.size).toBe(1);
});
