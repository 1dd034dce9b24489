// A peer's identity: an Ed25519 key in a file (libp2p's private key protobuf, mode 0600). The same file is the same peer.
// The libp2p key types stay inside protocol/net; others hold an Identity and pass it on.
import { randomUUID } from "node:crypto";
import { link, mkdir, open, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import type { Ed25519PrivateKey } from "@libp2p/interface";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import type { PeerId } from "../core/types.ts";
import { NetworkError, reasonOf } from "./errors.ts";

export interface Identity {
  readonly peer: PeerId;
  readonly privateKey: Ed25519PrivateKey;
}

const identityOf = (privateKey: Ed25519PrivateKey): Identity => ({
  peer: peerIdFromPrivateKey(privateKey).toString(),
  privateKey,
});

/** A new identity that lives as long as the process: for tests and one-off requests. */
export async function createIdentity(): Promise<Identity> {
  return identityOf(await generateKeyPair("Ed25519"));
}

/**
 * The identity in `file`, created there if the file does not exist.
 * Throws NetworkError `IDENTITY_UNREADABLE` (file system) or `IDENTITY_INVALID` (not an Ed25519 key).
 */
export async function loadOrCreateIdentity(file: string): Promise<Identity> {
  return (await load(file)) ?? (await createIn(file));
}

async function load(file: string): Promise<Identity | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw unreadable(file, error);
  }
  try {
    const key = privateKeyFromProtobuf(bytes);
    if (key.type === "Ed25519") return identityOf(key);
  } catch {
    // Falls through: not a key at all and a key of another kind have the same remedy.
  }
  throw new NetworkError(
    "IDENTITY_INVALID",
    `${file} is not an Ed25519 identity; restore it from a backup, or move it away to start as a new peer.`,
    { path: file },
  );
}

async function createIn(file: string): Promise<Identity> {
  const identity = await createIdentity();
  const draft = `${file}.${randomUUID()}.tmp`;
  try {
    await mkdir(dirname(file), { recursive: true });
    const handle = await open(draft, "wx", 0o600);
    try {
      await handle.writeFile(privateKeyToProtobuf(identity.privateKey));
      await handle.sync();
    } finally {
      await handle.close();
    }
    // link, not rename: it fails if another process was faster, whose identity then wins.
    await link(draft, file);
    return identity;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") {
      const winner = await load(file);
      if (winner !== undefined) return winner;
    }
    throw unreadable(file, error);
  } finally {
    await rm(draft, { force: true }).catch(() => {});
  }
}

const unreadable = (file: string, error: unknown): NetworkError =>
  new NetworkError(
    "IDENTITY_UNREADABLE",
    `Cannot read or create the identity ${file} (${reasonOf(error)}); check the path and its permissions.`,
    { path: file },
    error,
  );
