import { createPublicKey, verify as verifyWithNode } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateKeyPair, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import { afterEach, beforeEach, expect, test } from "vitest";
import { bytesToSign } from "../wire/envelope.ts";
import { keyOfPeerId } from "../wire/peer-key.ts";
import { openUpdate } from "../wire/signed.ts";
import { createIdentity, loadOrCreateIdentity } from "./identity.ts";
import { signUpdate, verifyOpened } from "./signatures.ts";
import { ROOT, RUN_ID } from "./testing/run-fixture.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-identity-"));
});
afterEach(() => rm(directory, { recursive: true }));

test("an identity is created once, for its owner's eyes only, and is the same peer afterwards", async () => {
  const file = join(directory, "deep", "identity.key");
  const { peer } = await loadOrCreateIdentity(file);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await loadOrCreateIdentity(file)).peer).toBe(peer);
  expect(await readdir(join(directory, "deep"))).toEqual(["identity.key"]);
});

test("processes that create it at the same moment end up as one peer", async () => {
  const file = join(directory, "identity.key");
  const identities = await Promise.all(Array.from({ length: 8 }, () => loadOrCreateIdentity(file)));
  expect(new Set(identities.map(({ peer }) => peer)).size).toBe(1);
});

test("what is no Ed25519 key is named and left alone", async () => {
  const file = join(directory, "identity.key");
  for (const bytes of [
    new TextEncoder().encode("hello"),
    new Uint8Array(),
    privateKeyToProtobuf(await generateKeyPair("secp256k1")),
  ]) {
    await writeFile(file, bytes);
    await expect(loadOrCreateIdentity(file)).rejects.toMatchObject({
      code: "IDENTITY_INVALID",
      fields: { path: file },
    });
    expect((await stat(file)).size).toBe(bytes.byteLength);
  }
});

test("a path that cannot be read is a typed failure with the reason", async () => {
  const file = join(directory, "identity.key");
  await mkdir(file);
  await expect(loadOrCreateIdentity(file)).rejects.toMatchObject({ code: "IDENTITY_UNREADABLE" });
  await writeFile(join(directory, "plain"), "");
  await expect(loadOrCreateIdentity(join(directory, "plain", "key"))).rejects.toMatchObject({
    code: "IDENTITY_UNREADABLE",
  });
  await chmod(directory, 0o700);
});

test("a signature can be checked by anyone who knows Ed25519 and the peer id", async () => {
  const identity = await createIdentity();
  const { envelope } = await signUpdate(identity, {
    runId: RUN_ID,
    round: 1,
    author: identity.peer,
    payload: ROOT,
    payloadBytes: 1,
    baseRoot: ROOT,
    tokens: 1,
    lossNatsPerToken: 1,
    bitsPerByte: 1,
  });
  const opened = openUpdate(envelope);
  if (!opened.ok) throw new Error(opened.rejection.detail);
  const { body, signature } = opened.value.envelope;
  // Independent of our code and libp2p's: OpenSSL with the raw key behind its fixed DER prefix.
  const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), keyOfPeerId(identity.peer)!]);
  const key = createPublicKey({ key: der, format: "der", type: "spki" });
  expect(verifyWithNode(null, bytesToSign("update", body), key, signature)).toBe(true);
  expect(await verifyOpened(opened.value)).toBe(true);

  for (let at = 0; at < envelope.length; at++) {
    const changed = envelope.slice();
    changed[at]! ^= 1;
    const reopened = openUpdate(changed);
    if (reopened.ok) expect(await verifyOpened(reopened.value)).toBe(false);
  }
});

test("nobody signs in another's name", async () => {
  const identity = await createIdentity();
  const { peer } = await createIdentity();
  const announcement = {
    runId: RUN_ID,
    round: 1,
    author: peer,
    payload: ROOT,
    payloadBytes: 1,
    baseRoot: ROOT,
  };
  await expect(
    signUpdate(identity, { ...announcement, tokens: 1, lossNatsPerToken: 1, bitsPerByte: 1 }),
  ).rejects.toMatchObject({ code: "WRONG_SIGNER" });
});
