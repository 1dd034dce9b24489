// What every decoder of remote bytes returns: a value, or a typed reason to refuse it. Decoders never throw.
// Which offence a peer is charged with is decided here; what that costs is decided in protocol/net.
import type { Offence } from "../core/types.ts";

export interface Rejection {
  readonly offence: Offence;
  /** One clause that names the field and the bound. Safe to log: it holds no remote text. */
  readonly detail: string;
}

export type Decoded<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly rejection: Rejection };

export const accepted = <T>(value: T): Decoded<T> => ({ ok: true, value });

export const rejected = (offence: Offence, detail: string): Decoded<never> => ({
  ok: false,
  rejection: { offence, detail },
});

/** Thrown by the field readers and turned into a rejection by the codecs; never leaves wire/. */
export class FieldError extends Error {
  readonly code = "WIRE_FIELD";
  readonly rejection: Rejection;

  constructor(detail: string, offence: Offence = "malformed-message") {
    super(detail);
    this.rejection = { offence, detail };
  }
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && a.every((byte, index) => byte === b[index]);
}
