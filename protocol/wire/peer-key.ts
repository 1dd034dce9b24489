// A peer id and the Ed25519 public key inside it: on the wire the 32 raw key bytes, in the program the base58 text.
// text = base58btc( 00 24 | 08 01 | 12 20 | key ): an identity multihash over libp2p's PublicKey protobuf.
import { fromString } from "uint8arrays/from-string";
import { toString as bytesToString } from "uint8arrays/to-string";
import type { PeerId } from "../core/types.ts";
import { equalBytes, FieldError } from "./decoded.ts";

const PREFIX = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20);
const KEY_BYTES = 32;

export function peerIdOfKey(key: Uint8Array, field = "peer"): PeerId {
  if (key.byteLength !== KEY_BYTES) {
    throw new FieldError(`${field} has ${key.byteLength} bytes instead of ${KEY_BYTES}`);
  }
  const bytes = new Uint8Array(PREFIX.length + KEY_BYTES);
  bytes.set(PREFIX);
  bytes.set(key, PREFIX.length);
  return bytesToString(bytes, "base58btc");
}

/** The raw public key in `peer`, or undefined where it is no Ed25519 peer id. */
export function keyOfPeerId(peer: PeerId): Uint8Array | undefined {
  let bytes: Uint8Array;
  try {
    bytes = fromString(peer, "base58btc");
  } catch {
    return undefined;
  }
  const isEd25519 =
    bytes.byteLength === PREFIX.length + KEY_BYTES && equalBytes(bytes.subarray(0, PREFIX.length), PREFIX);
  return isEd25519 ? bytes.slice(PREFIX.length) : undefined;
}

/** As `keyOfPeerId`, for our own values: anything else is a bug. */
export function writePeer(peer: PeerId, field: string): Uint8Array<ArrayBuffer> {
  const key = keyOfPeerId(peer);
  if (key === undefined) throw new RangeError(`${field} must be an Ed25519 peer id`);
  return new Uint8Array(key);
}
