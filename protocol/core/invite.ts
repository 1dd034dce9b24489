// An invite: one string that names a run and addresses to begin at, safe to paste in a chat.
//
//   "glossa1" + base58btc( run id (32) | count u8 | count * { length u16 little-endian, UTF-8 address } | checksum (4) )
//   checksum = first 4 bytes of SHA-256("glossa1" + everything before it): a typo goes through once in 4e9 times
import { fromString } from "uint8arrays/from-string";
import { toString as encode } from "uint8arrays/to-string";
import { InviteError, type InviteErrorCode } from "../errors.ts";
import { type Hash, isHexSha256, toHex, utf8 } from "./hash.ts";
import type { RunId } from "./types.ts";

export interface Invite {
  readonly runId: RunId;
  /** Multiaddrs of bootstrap nodes or peers, as text (`/ip4/…/tcp/…/p2p/12D3Koo…`); may be empty. */
  readonly addresses: readonly string[];
}

const PREFIX = "glossa1";
const ANY_VERSION = /^glossa(\d)/;
const RUN_ID_BYTES = 32;
const CHECKSUM_BYTES = 4;
export const MAX_INVITE_ADDRESSES = 16;
const MAX_ADDRESS_BYTES = 512;
/** All addresses at their longest in base58 (1.37 characters a byte); base58 is quadratic, so longer is refused. */
const MAX_INVITE_CHARACTERS = 12_000;

/** Throws InviteError (INVITE_OUT_OF_BOUNDS) on a run id or addresses that an invite cannot carry. */
export function formatInvite({ runId, addresses }: Invite, hash: Hash): string {
  if (!isHexSha256(runId)) throw outOfBounds("the run id is not a hexadecimal SHA-256");
  if (addresses.length > MAX_INVITE_ADDRESSES) throw outOfBounds(`it has more than ${MAX_INVITE_ADDRESSES}`);
  const parts: number[] = [...fromString(runId, "base16"), addresses.length];
  for (const address of addresses) {
    requireAddress(address);
    const bytes = utf8(address);
    parts.push(bytes.length & 0xff, bytes.length >> 8, ...bytes);
  }
  const content = Uint8Array.from(parts);
  return PREFIX + encode(Uint8Array.from([...content, ...checksum(content, hash)]), "base58btc");
}

/**
 * Reads an invite; white space anywhere in it (a wrapped line) does not matter. Throws InviteError:
 * INVITE_NOT_AN_INVITE, INVITE_UNKNOWN_VERSION, INVITE_TYPO (a character is wrong or missing), INVITE_OUT_OF_BOUNDS.
 */
export function parseInvite(text: string, hash: Hash): Invite {
  const compact = text.replace(/\s+/g, "");
  const version = ANY_VERSION.exec(compact);
  if (version === null) {
    throw fail(
      "INVITE_NOT_AN_INVITE",
      "This is not an invite",
      "an invite begins with glossa1, copy it whole",
    );
  }
  if (!compact.startsWith(PREFIX)) {
    throw fail(
      "INVITE_UNKNOWN_VERSION",
      `The invite has version ${version[1]} and this program knows 1`,
      "update glossa",
    );
  }
  if (compact.length > MAX_INVITE_CHARACTERS) throw outOfBounds("it is too long");
  const bytes = decodeBase58(compact.slice(PREFIX.length));
  const content = bytes.subarray(0, -CHECKSUM_BYTES);
  const sum = checksum(content, hash);
  if (
    bytes.length < RUN_ID_BYTES + 1 + CHECKSUM_BYTES ||
    sum.some((byte, at) => byte !== bytes[content.length + at])
  ) {
    throw typo();
  }
  return { runId: toHex(content.subarray(0, RUN_ID_BYTES)), addresses: readAddresses(content) };
}

function readAddresses(content: Uint8Array): string[] {
  const count = content[RUN_ID_BYTES]!;
  if (count > MAX_INVITE_ADDRESSES) throw outOfBounds(`it has more than ${MAX_INVITE_ADDRESSES} addresses`);
  const addresses: string[] = [];
  let at = RUN_ID_BYTES + 1;
  for (let index = 0; index < count; index++) {
    const length = (content[at] ?? 0) | ((content[at + 1] ?? 0) << 8);
    const end = at + 2 + length;
    if (end > content.length) throw outOfBounds("an address is cut off");
    const address = new TextDecoder().decode(content.subarray(at + 2, end));
    requireAddress(address);
    addresses.push(address);
    at = end;
  }
  if (at !== content.length) throw outOfBounds("bytes follow the last address");
  return addresses;
}

function requireAddress(address: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: terminals obey control characters, addresses have none.
  if (!/^\/[^\s\u0000-\u001f\u007f]+$/.test(address) || utf8(address).length > MAX_ADDRESS_BYTES) {
    throw outOfBounds(`${JSON.stringify(address.slice(0, 60))} is not a multiaddr`);
  }
}

function decodeBase58(text: string): Uint8Array {
  try {
    return fromString(text, "base58btc");
  } catch {
    throw typo();
  }
}

const checksum = (content: Uint8Array, hash: Hash): Uint8Array =>
  hash(Uint8Array.from([...utf8(PREFIX), ...content])).subarray(0, CHECKSUM_BYTES);

const fail = (code: InviteErrorCode, cause: string, remedy: string): InviteError =>
  new InviteError(code, `${cause}; ${remedy}.`);

const typo = (): InviteError =>
  fail(
    "INVITE_TYPO",
    "The invite has a typo or is cut off: its checksum does not match",
    "copy it again, whole",
  );

const outOfBounds = (detail: string): InviteError =>
  fail("INVITE_OUT_OF_BOUNDS", `The invite cannot be used: ${detail}`, "ask for a new one");
