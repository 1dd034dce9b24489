// How many bytes the protocol's messages have on the wire, from the production encoders. Constants of the format: what a
// message says changes them by a few bytes at most.
import type { SignedUpdate } from "../core/types.ts";
import { encodeMessage } from "../wire/messages.ts";
import { peerIdOfKey } from "../wire/peer-key.ts";
import { encodeEnvelope } from "../wire/signed.ts";
import { topicOfRun } from "../wire/topics.ts";

export interface MessageSizes {
  /** An announcement and a heartbeat as gossipsub carries them, topic and lengths included. */
  readonly update: number;
  readonly presence: number;
  /** An update in an inventory or a snapshot manifest. */
  readonly listed: number;
  /** A request, or an answer that has nothing to give. */
  readonly request: number;
}

const HEX = "a7".repeat(32);
/** Protobuf's lengths and tags around a message in gossipsub's RPC. */
const RPC_OVERHEAD_BYTES = 12;
/** A tag and a length in a list. */
const LIST_OVERHEAD_BYTES = 3;
/** Length prefix of a frame, and yamux's and noise's headers around it. */
const FRAME_OVERHEAD_BYTES = 4 + 12 + 18;

export function messageSizes(): MessageSizes {
  const author = peerIdOfKey(new Uint8Array(32).fill(7));
  const signature = new Uint8Array(64).fill(9);
  const update: SignedUpdate["announcement"] = {
    runId: HEX,
    round: 700,
    author,
    payload: HEX,
    payloadBytes: 10_000_000,
    baseRoot: HEX,
    tokens: 10_000_000,
    lossNatsPerToken: 2.345_678,
    bitsPerByte: 1.234_567,
  };
  const updateBytes = encodeEnvelope({
    kind: "update",
    body: encodeMessage("update", update),
    signature,
  }).length;
  const presence = encodeMessage("presence", {
    runId: HEX,
    author,
    name: "a-machine-17",
    sequence: 1_800_000_000_000,
    phase: "training",
    round: 700,
    root: HEX,
    closedRound: 699,
    closedRoot: HEX,
    openUpdates: HEX,
    step: 250,
    steps: 500,
    bitsPerByte: 1.234_567,
    leaving: false,
  });
  const presenceBytes = encodeEnvelope({ kind: "presence", body: presence, signature }).length;
  const around = topicOfRun(HEX).length + RPC_OVERHEAD_BYTES + FRAME_OVERHEAD_BYTES;
  const request = encodeMessage("payloadOpen", { runId: HEX, contentId: HEX });
  return {
    update: updateBytes + around,
    presence: presenceBytes + around,
    listed: updateBytes + LIST_OVERHEAD_BYTES,
    request: request.length + FRAME_OVERHEAD_BYTES,
  };
}
