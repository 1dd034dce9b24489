// An envelope opened: the announcement or presence inside. Signatures are NOT checked here (no crypto in wire/);
// protocol/net does, before anything of this reaches the protocol.
import type { Presence, SignedUpdate } from "../core/types.ts";
import type { Decoded } from "./decoded.ts";
import { accepted, rejected } from "./decoded.ts";
import type { Envelope } from "./envelope.ts";
import { envelopeCodec } from "./envelope.ts";
import { presenceCodec, updateCodec } from "./gossip.ts";

/** An announcement is forwarded several times by the mesh; below this, three fit an Ethernet frame. */
export const MAX_ENVELOPE_BYTES = 480;

export type Opened =
  | { readonly kind: "update"; readonly envelope: Envelope; readonly message: SignedUpdate }
  | { readonly kind: "presence"; readonly envelope: Envelope; readonly message: Presence };

export function openEnvelope(bytes: Uint8Array): Decoded<Opened> {
  if (bytes.byteLength > MAX_ENVELOPE_BYTES) {
    return rejected("oversized", `the envelope has more than ${MAX_ENVELOPE_BYTES} bytes`);
  }
  const decoded = envelopeCodec.decode(bytes);
  if (!decoded.ok) return decoded;
  const envelope = decoded.value;
  if (envelope.kind === "presence") {
    const body = presenceCodec.decode(envelope.body);
    return body.ok ? accepted({ kind: "presence", envelope, message: body.value }) : body;
  }
  const body = updateCodec.decode(envelope.body);
  // A copy: `bytes` is usually a view into a network buffer many times its size, and updates are kept for rounds.
  return body.ok
    ? accepted({
        kind: "update",
        envelope,
        message: { announcement: body.value, envelope: new Uint8Array(bytes) },
      })
    : body;
}

/** An envelope that must hold an update: what inventories and snapshots carry. */
export function openUpdate(bytes: Uint8Array): Decoded<Extract<Opened, { kind: "update" }>> {
  const opened = openEnvelope(bytes);
  if (!opened.ok) return opened;
  if (opened.value.kind !== "update") return rejected("malformed-message", "the envelope holds no update");
  return accepted(opened.value);
}

/** Throws RangeError above MAX_ENVELOPE_BYTES: our own announcement grew too large, which is a bug. */
export function encodeEnvelope(envelope: Envelope): Uint8Array {
  const bytes = envelopeCodec.encode(envelope);
  if (bytes.byteLength > MAX_ENVELOPE_BYTES) {
    throw new RangeError(`an envelope has at most ${MAX_ENVELOPE_BYTES} bytes, not ${bytes.byteLength}`);
  }
  return bytes;
}
