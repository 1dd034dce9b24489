// Links of a given rate and delay in front of TCP servers on loopback, for benches that need slow ones without being root.
// What runs over them knows nothing of it.
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/** Taken at a time, so that those who share a link take turns. */
const PIECE_BYTES = 16 * 1024;
/** Below what timers can measure, being ahead of the rate is not waited for. */
const SLACK_MS = 2;
/** On its way at most, beyond what the delay asks for: more would only wait in another place. */
const MAX_DELAYED_BYTES = 8 * 1024 * 1024;

/** Timers fire late: so much that was not taken in time may be taken at once. */
const BURST_MS = 20;

/** A rate that all who take from it share. */
export class Rate {
  readonly #bytesPerMs: number;
  #freeAtMs = 0;

  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  async take(bytes: number): Promise<void> {
    const nowMs = performance.now();
    this.#freeAtMs = Math.max(nowMs - BURST_MS, this.#freeAtMs) + bytes / this.#bytesPerMs;
    const aheadMs = this.#freeAtMs - nowMs;
    if (aheadMs > SLACK_MS) await delay(aheadMs);
  }
}

export interface ShapedLink {
  readonly port: number;
  close(): void;
}

export interface ShapedLinkPlace {
  /** Where the server is. */
  readonly host?: string;
  /** Where the link is reached, with any port where none is said. */
  readonly listen?: { readonly host: string; readonly port?: number };
  /** Bytes a second that each connection carries in each direction, beside what is shared. */
  readonly connectionRate?: number;
}

/**
 * Forwards to `port`, on loopback unless said otherwise. What the server sends passes `rates` in turn; both directions
 * arrive `delayMs` later.
 */
export async function shapedLink(
  port: number,
  rates: readonly Rate[],
  delayMs: number,
  { host = "127.0.0.1", listen = { host: "127.0.0.1" }, connectionRate }: ShapedLinkPlace = {},
): Promise<ShapedLink> {
  const sockets = new Set<Socket>();
  const ofConnection = () => (connectionRate === undefined ? [] : [new Rate(connectionRate)]);
  const server: Server = createServer((client) => {
    const upstream = connect(port, host);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => {});
    }
    const end = () => {
      client.destroy();
      upstream.destroy();
    };
    void pass(client, upstream, ofConnection(), delayMs).then(end, end);
    void pass(upstream, client, [...ofConnection(), ...rates], delayMs).then(end, end);
  });
  server.listen(listen.port ?? 0, listen.host);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function pass(from: Socket, to: Socket, rates: readonly Rate[], delayMs: number): Promise<void> {
  let delayedBytes = 0;
  for await (const chunk of from as AsyncIterable<Buffer>) {
    for (let at = 0; at < chunk.byteLength; at += PIECE_BYTES) {
      const piece = chunk.subarray(at, at + PIECE_BYTES);
      for (const rate of rates) await rate.take(piece.byteLength);
      if (delayMs > 0) {
        delayedBytes += piece.byteLength;
        setTimeout(() => {
          delayedBytes -= piece.byteLength;
          to.write(piece);
        }, delayMs);
        while (delayedBytes > MAX_DELAYED_BYTES) await delay(SLACK_MS);
      } else {
        to.write(piece);
      }
    }
    if (to.writableNeedDrain) await once(to, "drain");
  }
}
