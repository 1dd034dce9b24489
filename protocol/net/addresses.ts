// Multiaddr text in and out: parsing what people and peers give us, and the addresses we hand on.
import type { Multiaddr } from "@multiformats/multiaddr";
import { multiaddr } from "@multiformats/multiaddr";
import type { PeerId } from "../core/types.ts";
import { keyOfPeerId } from "../wire/peer-key.ts";
import { NetworkError } from "./errors.ts";

export interface DialTarget {
  readonly peer: PeerId | undefined;
  /** The address without `/p2p`. */
  readonly address: string;
}

const HOSTS = new Set(["ip4", "ip6", "dns", "dns4", "dns6"]);

/** Splits a multiaddr for TCP into address and peer id, or undefined where it is none that we can dial. */
export function parseAddress(text: string): DialTarget | undefined {
  let parts: ReturnType<Multiaddr["getComponents"]>;
  try {
    parts = multiaddr(text).getComponents();
  } catch {
    return undefined;
  }
  const [host, transport, id] = parts;
  if (parts.length > 3 || host?.value === undefined || !HOSTS.has(host.name)) return undefined;
  if (transport?.name !== "tcp" || transport.value === undefined) return undefined;
  if (id !== undefined && (id.name !== "p2p" || id.value === undefined)) return undefined;
  if (id?.value !== undefined && keyOfPeerId(id.value) === undefined) return undefined;
  return { peer: id?.value, address: `/${host.name}/${host.value}/tcp/${transport.value}` };
}

/** As `parseAddress`, for what the user gave us: throws NetworkError `ADDRESS_INVALID`. */
export function requireAddress(text: string): DialTarget {
  const target = parseAddress(text);
  if (target === undefined) {
    throw new NetworkError(
      "ADDRESS_INVALID",
      `"${text}" is not a TCP multiaddr with an Ed25519 peer; write it like /ip4/192.0.2.1/tcp/4001 or /dns4/example.org/tcp/4001, with /p2p/<peer id> where a peer is meant.`,
      { address: text },
    );
  }
  return target;
}

export const joinAddress = ({ peer, address }: DialTarget): string =>
  peer === undefined ? address : `${address}/p2p/${peer}`;
