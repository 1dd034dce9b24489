import fc from "fast-check";
import { fromString } from "uint8arrays/from-string";
import { toString as bytesToString } from "uint8arrays/to-string";
import { expect, test } from "vitest";
import { bytesToSign } from "./envelope.ts";
import { encodeMessage } from "./messages.ts";
import { encodeEnvelope, MAX_ENVELOPE_BYTES, openEnvelope, openUpdate } from "./signed.ts";
import golden from "./testdata/golden.json" with { type: "json" };
import { SAMPLES, SIGNED } from "./testing/samples.ts";

const signature = new Uint8Array(64).fill(11);
const presence = encodeEnvelope({
  kind: "presence",
  body: encodeMessage("presence", SAMPLES.presence),
  signature,
});

test("an update's envelope is its golden body, framed, and far below 480 bytes", () => {
  const bodyBytes = golden.update.length / 2;
  const frame = `0a${bodyBytes.toString(16)}01${golden.update}7a40${"0b".repeat(64)}`;
  expect(bytesToString(SIGNED.envelope, "base16")).toBe(frame);
  expect(SIGNED.envelope.length).toBeLessThan(256);
});

test("the longest announcement and presence that the bounds allow still fit an envelope", () => {
  const most = 2 ** 31 - 1;
  const update = { round: most, payloadBytes: most, tokens: Number.MAX_SAFE_INTEGER, lossNatsPerToken: 1.1 };
  const long = { name: "x".repeat(64), round: most, closedRound: most, step: most, steps: most };
  for (const [kind, body] of [
    ["update", encodeMessage("update", { ...SAMPLES.update, ...update })],
    ["presence", encodeMessage("presence", { ...SAMPLES.presence, ...long })],
  ] as const) {
    expect(encodeEnvelope({ kind, body, signature }).length).toBeLessThanOrEqual(MAX_ENVELOPE_BYTES);
  }
});

test("opening gives the kind, the message and the exact signed bytes", () => {
  expect(openEnvelope(presence)).toMatchObject({
    ok: true,
    value: { kind: "presence", message: SAMPLES.presence },
  });
  const opened = openUpdate(SIGNED.envelope);
  expect(opened).toMatchObject({ ok: true, value: { kind: "update", message: SIGNED } });
  expect(openUpdate(presence)).toMatchObject({ ok: false, rejection: { offence: "malformed-message" } });
});

test("a body signed as one kind has other bytes to sign than as the other", () => {
  const body = Uint8Array.of(1, 2, 3);
  expect(bytesToString(bytesToSign("update", body), "utf8")).toBe("glossa/1/update\0\x01\x02\x03");
  expect(bytesToString(bytesToSign("presence", body), "utf8")).toBe("glossa/1/presence\0\x01\x02\x03");
});

test("an envelope has one encoding only: nothing can be added, doubled or reordered", () => {
  const hex = bytesToString(SIGNED.envelope, "base16");
  const signatureHex = `7a40${"0b".repeat(64)}`;
  const bodyHex = hex.slice(0, -signatureHex.length);
  for (const forged of [
    `${hex}f80101`,
    signatureHex + bodyHex,
    hex + signatureHex,
    bodyHex,
    signatureHex,
    "",
  ]) {
    expect(openEnvelope(fromString(forged, "base16")).ok).toBe(false);
  }
});

test("no bytes make opening throw, and what opens is what was said", () => {
  const mutations = fc.array(fc.tuple(fc.nat(SIGNED.envelope.length - 1), fc.nat(255)), { maxLength: 4 });
  fc.assert(
    fc.property(mutations, (edits) => {
      const bytes = SIGNED.envelope.slice();
      for (const [at, byte] of edits) bytes[at] = byte;
      const opened = openUpdate(bytes);
      if (opened.ok) expect(opened.value.message.envelope).toEqual(bytes);
    }),
    { numRuns: 1000 },
  );
});
