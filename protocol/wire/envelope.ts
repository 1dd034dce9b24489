// The signed envelope: exact body bytes, an Ed25519 signature over them and, in the field number, what kind they are.
// Pure: the shape and the bytes to sign. Signing and verifying happen in protocol/net.
import type { Codec } from "./codec.ts";
import { protoCodec } from "./codec.ts";
import { FieldError } from "./decoded.ts";
import { EnvelopeSchema } from "./generated/glossa_pb.ts";

export type EnvelopeKind = "update" | "presence";

export interface Envelope {
  readonly kind: EnvelopeKind;
  readonly body: Uint8Array;
  readonly signature: Uint8Array;
}

export const SIGNATURE_BYTES = 64;

const ascii = new TextEncoder();
/** Each ends in a zero byte, so that none is a prefix of another and no body can be read as part of a domain. */
const DOMAINS: Readonly<Record<EnvelopeKind, Uint8Array>> = {
  update: ascii.encode("glossa/1/update\0"),
  presence: ascii.encode("glossa/1/presence\0"),
};

/** The bytes that the author signs: domain | body. A signature of one kind says nothing about another. */
export function bytesToSign(kind: EnvelopeKind, body: Uint8Array): Uint8Array {
  const domain = DOMAINS[kind];
  const bytes = new Uint8Array(domain.length + body.length);
  bytes.set(domain);
  bytes.set(body, domain.length);
  return bytes;
}

export const envelopeCodec: Codec<Envelope> = protoCodec(
  EnvelopeSchema,
  {
    write({ kind, body, signature }) {
      if (signature.byteLength !== SIGNATURE_BYTES) {
        throw new RangeError(`a signature has ${SIGNATURE_BYTES} bytes, not ${signature.byteLength}`);
      }
      return { body: { case: kind, value: new Uint8Array(body) }, signature: new Uint8Array(signature) };
    },
    read({ body, signature }) {
      if (body.case === undefined) throw new FieldError("Envelope has no body");
      if (signature.byteLength !== SIGNATURE_BYTES) {
        throw new FieldError(`signature has ${signature.byteLength} bytes instead of ${SIGNATURE_BYTES}`);
      }
      return { kind: body.case, body: body.value, signature };
    },
  },
  { canonical: true },
);
