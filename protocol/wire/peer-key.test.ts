import fc from "fast-check";
import { expect, test } from "vitest";
import { keyOfPeerId, peerIdOfKey } from "./peer-key.ts";
import { runOfTopic, streamOfProtocol, topicOfRun } from "./topics.ts";

test("a peer id is the libp2p text form of its Ed25519 key", () => {
  // RFC 8032, test 1; the text as js-libp2p prints it.
  const key = Uint8Array.from(
    Buffer.from("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "hex"),
  );
  expect(peerIdOfKey(key)).toBe("12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV");
});

test("keys survive the way into text and back", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (key) => {
      expect(keyOfPeerId(peerIdOfKey(key))).toEqual(key);
    }),
  );
});

test("texts that are no Ed25519 peer id have no key", () => {
  for (const text of ["", "0OIl", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "12D3Koo"]) {
    expect(keyOfPeerId(text)).toBeUndefined();
  }
});

test("topics and protocol ids name what they were built from and nothing else", () => {
  const runId = "0f".repeat(32);
  expect(runOfTopic(topicOfRun(runId))).toBe(runId);
  for (const topic of ["", runId, `glossa/2/run/${runId}`, `glossa/1/run/${runId.toUpperCase()}`]) {
    expect(runOfTopic(topic)).toBeUndefined();
  }
  expect(streamOfProtocol("/glossa/payload/1")).toBe("payload");
  for (const protocol of ["/glossa/payload/2", "/meshsub/1.2.0", "payload"]) {
    expect(streamOfProtocol(protocol)).toBeUndefined();
  }
});
