// One end of a connection on loopback for tests of streams: a host, its streams, and what it charged others with.
import type { Host } from "../host.ts";
import { createHost } from "../host.ts";
import { createIdentity } from "../identity.ts";
import { silentLogger } from "../logger.ts";
import { RateLimiter } from "../rate-limit.ts";
import { Streams } from "../streams.ts";
import { ManualClock } from "./manual-clock.ts";

export interface Side {
  readonly host: Host;
  readonly streams: Streams;
  readonly offences: string[];
  readonly addresses: readonly string[];
  stop(): Promise<void>;
}

/** A started host whose clock stands still: what its limits give, they give once. */
export async function createSide(listen: readonly string[]): Promise<Side> {
  const host = await createHost(
    { identity: await createIdentity(), listen, maxConnections: 16 },
    { isBanned: () => false },
    {},
  );
  const offences: string[] = [];
  const streams = new Streams(host, {
    logger: silentLogger,
    limiter: new RateLimiter(new ManualClock()),
    penalise: (_peer, offence) => offences.push(offence),
  });
  await host.start();
  return {
    host,
    streams,
    offences,
    addresses: host.getMultiaddrs().map(String),
    async stop() {
      await streams.stop();
      await host.stop();
    },
  };
}
