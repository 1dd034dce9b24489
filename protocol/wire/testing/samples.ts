// One value of every message, with its golden bytes in testdata/golden.json. Shared by the wire tests only.
import type { SignedUpdate } from "../../core/types.ts";
import type { WireMessages } from "../messages.ts";
import { encodeMessage } from "../messages.ts";
import { peerIdOfKey } from "../peer-key.ts";
import { encodeEnvelope } from "../signed.ts";

const hex = (byte: string): string => byte.repeat(32);
const peer = (byte: number): string => peerIdOfKey(new Uint8Array(32).fill(byte));

const runId = hex("a1");

const update: WireMessages["update"] = {
  runId,
  round: 7,
  author: peer(2),
  payload: hex("b2"),
  payloadBytes: 1_000_000,
  baseRoot: hex("c3"),
  tokens: 2_097_152,
  lossNatsPerToken: 3.5,
  bitsPerByte: 2,
  probation: 3,
};
/** Well-formed; the signature is not valid, and wire/ does not look. */
export const SIGNED: SignedUpdate = {
  announcement: update,
  envelope: encodeEnvelope({
    kind: "update",
    body: encodeMessage("update", update),
    signature: new Uint8Array(64).fill(11),
  }),
};

export const SAMPLES: WireMessages = {
  update,
  presence: {
    runId,
    author: peer(2),
    name: "Übersetzer 翻訳",
    sequence: 2 ** 53 - 1,
    phase: "collecting",
    round: 7,
    root: hex("d4"),
    closedRound: 5,
    closedRoot: hex("e5"),
    openUpdates: hex("f6"),
    step: 12,
    steps: 64,
    bitsPerByte: 2.25,
    leaving: true,
  },
  peerExchangeRequest: { runId, register: true, addresses: ["/ip4/192.0.2.1/tcp/4001"] },
  peerExchangeResponse: {
    known: true,
    peers: [{ peer: peer(3), addresses: ["/dns4/example.org/tcp/4001", "/ip6/2001:db8::1/tcp/4001"] }],
  },
  runManifestRequest: { runId },
  runManifestResponse: { manifest: Uint8Array.of(0x7b, 0x7d) },
  storeManifestRequest: { manifest: Uint8Array.of(0x7b, 0x7d) },
  storeManifestResponse: { stored: false, reason: "the manifest is not a JSON object" },
  inventoryRequest: {
    runId,
    fromRound: 6,
    after: { round: 7, author: peer(2), statement: hex("b7") },
  },
  inventoryResponse: {
    updates: [SIGNED],
    more: true,
    opposed: [SIGNED],
    closedRoots: new Map([
      [4, hex("c4")],
      [5, hex("d4")],
    ]),
  },
  snapshotRequest: { runId },
  snapshotResponse: {
    snapshot: { runId, closedRound: 5, root: hex("d4"), tiles: [hex("01"), hex("02")], updates: [SIGNED] },
  },
  payloadOpen: { runId, contentId: hex("b2") },
  tilesOpen: { runId, root: hex("d4") },
  bulkHead: { found: true, lengthBytes: 1_000_000, chunkBytes: 262_144 },
  chunkRequest: { index: 3 },
  assetOpen: { runId, contentId: hex("b2") },
  storeAssetOpen: { runId, contentId: hex("b2"), lengthBytes: 20_000_000 },
  offerRequest: { update: SIGNED },
  offerResponse: { held: true },
  storeAssetAnswer: { stored: false, wanted: false, reason: "no manifest here names this file" },
};
