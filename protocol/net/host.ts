// One libp2p host as glossa configures it: TCP, noise with our prologue, yamux, identify, ping; gossip if asked for.
// Owns configuration and the meaning of libp2p's start errors; knows nothing of runs.

import type { Identify } from "@libp2p/identify";
import { identify } from "@libp2p/identify";
import type { Libp2p, Metrics, ServiceMap } from "@libp2p/interface";
import { noise } from "@libp2p/noise";
import type { Ping } from "@libp2p/ping";
import { ping } from "@libp2p/ping";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import type { ServiceFactoryMap } from "libp2p";
import { createLibp2p } from "libp2p";
import type { PeerId } from "../core/types.ts";
import { NOISE_PROLOGUE } from "../wire/topics.ts";
import { requireAddress } from "./addresses.ts";
import { NetworkError, reasonOf } from "./errors.ts";
import type { Identity } from "./identity.ts";

export interface HostOptions {
  readonly identity: Identity;
  /** Multiaddrs to listen on; empty: dial only. */
  readonly listen: readonly string[];
  /** What to tell others instead of the listen addresses: the outside of a NAT or a DNS name. */
  readonly announce?: readonly string[];
  readonly maxConnections: number;
}

export type HostServices = { identify: Identify; ping: Ping };
export type Host<Services extends ServiceMap = ServiceMap> = Libp2p<HostServices & Services>;

/** Idle sockets close after this. Long: a peer may train for minutes without a word beyond its heartbeat. */
const SOCKET_INACTIVITY_MS = 300_000;

export interface HostModules {
  /** Banned peers are neither dialled nor let in. */
  readonly isBanned: (peer: PeerId) => boolean;
  readonly metrics?: Metrics;
}

/** A host that is not started yet. Throws NetworkError `ADDRESS_INVALID`. */
export async function createHost<Services extends ServiceMap>(
  options: HostOptions,
  { isBanned, metrics }: HostModules,
  services: ServiceFactoryMap<Services>,
): Promise<Host<Services>> {
  for (const address of [...options.listen, ...(options.announce ?? [])]) requireAddress(address);
  const isDenied = (peer: { toString(): string }) => isBanned(peer.toString());
  const host = await createLibp2p<HostServices & Services>({
    start: false,
    privateKey: options.identity.privateKey,
    addresses: { listen: [...options.listen], announce: [...(options.announce ?? [])] },
    transports: [
      tcp({
        inboundSocketInactivityTimeout: SOCKET_INACTIVITY_MS,
        outboundSocketInactivityTimeout: SOCKET_INACTIVITY_MS,
      }),
    ],
    connectionEncrypters: [noise({ prologueBytes: NOISE_PROLOGUE })],
    streamMuxers: [yamux()],
    connectionGater: {
      denyDialPeer: isDenied,
      denyInboundEncryptedConnection: isDenied,
      denyOutboundEncryptedConnection: isDenied,
    },
    // A peer whose event loop is busy for seconds answers no ping in time and is still a good peer.
    connectionMonitor: { abortConnectionOnPingFailure: false },
    connectionManager: {
      maxConnections: options.maxConnections,
      // The defaults (5 a second, 10 pending) shut out whole swarms behind one address, loopback among them.
      inboundConnectionThreshold: 100,
      maxIncomingPendingConnections: 100,
    },
    ...(metrics === undefined ? {} : { metrics: () => metrics }),
    nodeInfo: { name: "glossa", version: "1" },
    services: { identify: identify(), ping: ping(), ...services } as ServiceFactoryMap<
      HostServices & Services
    >,
  });
  return host;
}

/** Listens. Throws NetworkError `ADDRESS_IN_USE`, `ADDRESS_UNAVAILABLE` or `LISTEN_FAILED`; nothing stays open then. */
export async function startHost(host: Host, listen: readonly string[]): Promise<void> {
  try {
    await host.start();
  } catch (error) {
    await Promise.resolve(host.stop()).catch(() => {});
    throw listenError(error, listen);
  }
}

function listenError(error: unknown, listen: readonly string[]): NetworkError {
  const text = error instanceof Error ? error.message : String(error);
  const where = listen.join(", ");
  if (text.includes("EADDRINUSE")) {
    return new NetworkError(
      "ADDRESS_IN_USE",
      `${where} is in use by another process; choose another port, or 0 for any free one.`,
      { address: where },
      error,
    );
  }
  if (text.includes("EADDRNOTAVAIL")) {
    return new NetworkError(
      "ADDRESS_UNAVAILABLE",
      `${where} is not an address of this machine; listen on 0.0.0.0 and announce the outside address instead.`,
      { address: where },
      error,
    );
  }
  return new NetworkError(
    "LISTEN_FAILED",
    `Cannot listen on ${where} (${reasonOf(error)}); check the address and this user's permission to open the port.`,
    { address: where },
    error,
  );
}
