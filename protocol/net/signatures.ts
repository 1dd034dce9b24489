// Signs our own announcements and checks those of others. The author's peer id is its public key, so nothing else is
// needed to verify an envelope, whoever hands it on.
import { publicKeyFromRaw } from "@libp2p/crypto/keys";
import type { Presence, SignedUpdate, UpdateAnnouncement } from "../core/types.ts";
import { bytesToSign } from "../wire/envelope.ts";
import { encodeMessage } from "../wire/messages.ts";
import { keyOfPeerId } from "../wire/peer-key.ts";
import type { Opened } from "../wire/signed.ts";
import { encodeEnvelope } from "../wire/signed.ts";
import { NetworkError } from "./errors.ts";
import type { Identity } from "./identity.ts";

export async function signUpdate(
  identity: Identity,
  announcement: UpdateAnnouncement,
): Promise<SignedUpdate> {
  requireOwn(identity, announcement.author);
  const envelope = await seal(identity, "update", encodeMessage("update", announcement));
  return { announcement, envelope };
}

/** The signed envelope of a presence. */
export async function signPresence(identity: Identity, presence: Presence): Promise<Uint8Array> {
  requireOwn(identity, presence.author);
  return seal(identity, "presence", encodeMessage("presence", presence));
}

/** Whether the author named in the body signed exactly this body as this kind of message. */
export async function verifyOpened({ kind, envelope, message }: Opened): Promise<boolean> {
  const author = kind === "update" ? message.announcement.author : message.author;
  const key = keyOfPeerId(author);
  if (key === undefined) return false;
  try {
    return await publicKeyFromRaw(key).verify(bytesToSign(kind, envelope.body), envelope.signature);
  } catch {
    return false; // 32 bytes that are no point on the curve
  }
}

async function seal(identity: Identity, kind: Opened["kind"], body: Uint8Array): Promise<Uint8Array> {
  const signature = await identity.privateKey.sign(bytesToSign(kind, body));
  return encodeEnvelope({ kind, body, signature });
}

function requireOwn(identity: Identity, author: string): void {
  if (author === identity.peer) return;
  throw new NetworkError(
    "WRONG_SIGNER",
    `Peer ${identity.peer} cannot sign for ${author}; use the identity that the announcement names.`,
    { peer: author },
  );
}
