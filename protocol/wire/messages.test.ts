import fc from "fast-check";
import { fromString } from "uint8arrays/from-string";
import { toString as bytesToString } from "uint8arrays/to-string";
import { describe, expect, test } from "vitest";
import type { MessageName, WireMessages } from "./messages.ts";
import { decodeMessage, EXCHANGES, encodeMessage, MESSAGES } from "./messages.ts";
import golden from "./testdata/golden.json" with { type: "json" };
import { SAMPLES } from "./testing/samples.ts";
import { streamOfProtocol } from "./topics.ts";

const NAMES = Object.keys(MESSAGES) as MessageName[];
const unhex = (hex: string): Uint8Array => fromString(hex, "base16");
const plain = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, item) => (item instanceof Uint8Array ? bytesToString(item, "base16") : item)),
  );

/** The sample of `name` with some fields replaced, as bytes. */
function altered<Name extends MessageName>(name: Name, fields: Partial<WireMessages[Name]>): Uint8Array {
  return encodeMessage(name, { ...SAMPLES[name], ...fields });
}

function offenceOf(name: MessageName, bytes: Uint8Array): string {
  const decoded = decodeMessage(name, bytes);
  return decoded.ok ? "none" : decoded.rejection.offence;
}

describe.each(NAMES)("the message %s", (name) => {
  test("has the golden bytes, in both directions", () => {
    const bytes = encodeMessage(name, SAMPLES[name]);
    expect(bytesToString(bytes, "base16")).toBe(golden[name]);
    const decoded = decodeMessage(name, unhex(golden[name]));
    expect(plain(decoded)).toEqual(plain({ ok: true, value: SAMPLES[name] }));
  });

  test("is refused above its size without being parsed", () => {
    expect(offenceOf(name, new Uint8Array(MESSAGES[name].maxBytes + 1))).toBe("oversized");
  });

  test("never makes the decoder throw, whatever the bytes", () => {
    const sample = unhex(golden[name]);
    const mutations = fc.array(fc.tuple(fc.nat(sample.length - 1), fc.nat(255)), {
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        mutations,
        fc.nat(sample.length),
        (noise, edits, cut) => {
          const mutated = sample.slice();
          for (const [at, byte] of edits) mutated[at] = byte;
          for (const bytes of [noise, mutated, mutated.subarray(0, cut)]) {
            const decoded = decodeMessage(name, bytes);
            if (!decoded.ok) expect(decoded.rejection.detail).not.toBe("");
            // What is accepted can be said again: no value slips through that we could not have sent.
            else expect(() => encodeMessage(name, decoded.value)).not.toThrow();
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

test("message ids are unique and every stream of an exchange carries its request and response", () => {
  expect(new Set(NAMES.map((name) => MESSAGES[name].id)).size).toBe(NAMES.length);
  for (const [stream, { request, response }] of Object.entries(EXCHANGES)) {
    expect(MESSAGES[request].channel).toEqual([stream]);
    expect(MESSAGES[response].channel).toEqual([stream]);
    expect(MESSAGES[request].rate).toBeDefined();
  }
});

describe("bounds that protobuf does not know", () => {
  test.each<[string, () => Uint8Array]>([
    ["a negative round", () => altered("update", { round: -1 })],
    ["a fractional round", () => altered("update", { round: 1.5 })],
    ["a round of 2^31", () => altered("update", { round: 2 ** 31 })],
    ["an empty payload", () => altered("update", { payloadBytes: 0 })],
    ["a loss that is not a number", () => altered("update", { lossNatsPerToken: Number.NaN })],
    ["an infinite measure", () => altered("presence", { bitsPerByte: Number.POSITIVE_INFINITY })],
    ["a hash in capitals", () => altered("update", { payload: "AB".repeat(32) })],
    ["a hash that is too short", () => altered("update", { baseRoot: "ab" })],
    ["an author that is no Ed25519 peer", () => altered("update", { author: "QmSomething" })],
    ["a name with a line break", () => altered("presence", { name: "a\nb" })],
    ["a name that reverses the line", () => altered("presence", { name: "a\u202eb" })],
    ["a name of 65 bytes", () => altered("presence", { name: "x".repeat(65) })],
    ["half a surrogate pair", () => altered("presence", { name: "\ud800" })],
    ["an empty manifest", () => altered("storeManifestRequest", { manifest: new Uint8Array() })],
    ["an asset of no bytes", () => altered("storeAssetOpen", { lengthBytes: 0 })],
    ["an asset above 32 MiB", () => altered("storeAssetOpen", { lengthBytes: 2 ** 25 + 1 })],
    ["an asset that is stored and wanted", () => altered("storeAssetAnswer", { stored: true, wanted: true })],
    [
      "nine addresses",
      () => altered("peerExchangeRequest", { addresses: Array(9).fill("/ip4/192.0.2.1/tcp/1") }),
    ],
  ])("we never send %s", (_, encode) => {
    expect(encode).toThrow(RangeError);
  });

  // Golden update: field 3 (round) is at byte 68 as 18 07.
  const updateHex = golden.update;
  test.each<[string, MessageName, string]>([
    ["a round of 2^31", "update", updateHex.replace("1807", "188080808008")],
    ["a payload of zero bytes", "update", updateHex.replace("28c0843d", "")],
    ["tokens above 2^53", "update", updateHex.replace("38808080" + "01", "38ffffffffffffffffff01")],
    ["a loss that is not a number", "update", updateHex.replace("410000000000000c40", "41000000000000f87f")],
    ["a negative loss", "update", updateHex.replace("410000000000000c40", "410000000000000cc0")],
    ["an infinite loss", "update", updateHex.replace("410000000000000c40", "41000000000000f07f")],
    ["a round written in five bytes", "update", updateHex.replace("1807", "188780808000")],
    ["an unknown field", "update", `${updateHex}5001`],
    ["a field twice", "update", updateHex.replace("1807", "18071807")],
    ["a short run id", "runManifestRequest", "0a02a1a1"],
    ["no run id", "tilesOpen", ""],
    ["chunks of no bytes", "bulkHead", "080110c0843d"],
    ["an asset of no bytes", "storeAssetOpen", golden.storeAssetOpen.slice(0, 2 * 68)],
    ["an asset that is stored and wanted", "storeAssetAnswer", "08011001"],
    ["a phase nobody knows", "presence", golden.presence.replace("2804", "2807")],
    ["a name that is not UTF-8", "presence", golden.presence.replace("1a12c39c", "1a12ff9c")],
  ])("we refuse %s", (_, name, hex) => {
    expect(hex).not.toBe(golden[name]);
    expect(offenceOf(name, unhex(hex))).toBe("malformed-message");
  });

  test("chunks above a mebibyte are refused as oversized", () => {
    const hex = golden.bulkHead.replace("18808010", "18818040");
    expect(offenceOf("bulkHead", unhex(hex))).toBe("oversized");
  });
});

test("an asset above 32 MiB is refused as oversized", () => {
  const hex = `${golden.storeAssetOpen.slice(0, 2 * 68)}1881808010`;
  expect(offenceOf("storeAssetOpen", unhex(hex))).toBe("oversized");
});

test("streams tolerate fields of a later version, gossip does not", () => {
  expect(offenceOf("inventoryRequest", unhex(`${golden.inventoryRequest}f80101`))).toBe("none");
  expect(offenceOf("presence", unhex(`${golden.presence}f80101`))).toBe("malformed-message");
});

test("every stream in the table has a protocol id that is found again", () => {
  for (const { channel } of Object.values(MESSAGES)) {
    if (channel === "gossip") continue;
    for (const stream of channel) expect(streamOfProtocol(`/glossa/${stream}/1`)).toBe(stream);
  }
});
