// SHA-256 as an argument, and the text forms of its results. The core never imports a hash function itself.
import { toString as encode } from "uint8arrays/to-string";

/** SHA-256 of a byte string: 32 bytes. */
export type Hash = (bytes: Uint8Array) => Uint8Array;

const HEX_SHA256 = /^[0-9a-f]{64}$/;

export const toHex = (bytes: Uint8Array): string => encode(bytes, "base16");

/** Whether `text` is a lower-case hexadecimal SHA-256, the form of every id on the wire and on disk. */
export const isHexSha256 = (text: string): boolean => HEX_SHA256.test(text);

export const hexSha256 = (bytes: Uint8Array, hash: Hash): string => toHex(hash(bytes));

const encoder = new TextEncoder();

export const utf8 = (text: string): Uint8Array => encoder.encode(text);
