// One end of a connection on loopback for tests of streams: a host, its streams, and what it charged others with.
import type { Stream } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import type { StreamName } from "../../wire/topics.ts";
import { protocolOfStream } from "../../wire/topics.ts";
import { Frames } from "../frames.ts";
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
  /** A stream to say anything on that fits a frame. */
  openRaw(address: string, name: StreamName): Promise<{ readonly stream: Stream; readonly frames: Frames }>;
  stop(): Promise<void>;
}

const RAW_BOUNDS = { maxFrameBytes: 64 * 1024, maxBufferedBytes: 256 * 1024 };

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
    async openRaw(address, name) {
      const stream = await host.dialProtocol(multiaddr(address), protocolOfStream(name));
      return { stream, frames: new Frames(stream, RAW_BOUNDS) };
    },
    async stop() {
      await streams.stop();
      await host.stop();
    },
  };
}
