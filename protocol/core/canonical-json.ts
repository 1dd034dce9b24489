// JSON with one possible spelling, so that equal values have equal bytes and one hash: RFC 8785 (JCS).
// Keys sorted by UTF-16 code units, no white space, numbers and strings as ECMAScript's JSON.stringify writes them.
import { utf8 } from "./hash.ts";

export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json | undefined };

/** Throws TypeError on NaN and infinities, which JSON cannot say. Absent (`undefined`) fields are left out. */
export function canonicalJson(value: Json): string {
  if (value === null || typeof value === "boolean" || typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new TypeError(`canonical JSON cannot hold ${value}`);
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item)).join(",")}]`;
  const fields = Object.entries(value as { readonly [key: string]: Json | undefined })
    .filter((field): field is [string, Json] => field[1] !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(",")}}`;
}

export const canonicalJsonBytes = (value: Json): Uint8Array => utf8(canonicalJson(value));
