// A checkpoint whose every part says the same number: any mixture of two is visible.
import type { SignedUpdate } from "#protocol/core/types.ts";
import type { ProtocolCheckpoint } from "#protocol/ports.ts";

const FLOATS = 50_000;

export function uniformCheckpoint(round: number): ProtocolCheckpoint {
  return {
    closedRound: round,
    round,
    publishedRound: round,
    presenceSequence: round,
    closedBody: new Float32Array(FLOATS).fill(round),
    residual: new Float32Array(FLOATS).fill(-round),
    updates: [signedUpdate(round)],
    pendingOwn: [signedUpdate(round)],
  };
}

export function signedUpdate(round: number): SignedUpdate {
  return {
    announcement: {
      runId: "aa".repeat(32),
      round,
      author: "12D3KooWExample",
      payload: "bb".repeat(32),
      payloadBytes: 1234,
      baseRoot: "cc".repeat(32),
      tokens: 4096,
      lossNatsPerToken: 3.25,
      bitsPerByte: 1.5,
    },
    envelope: Uint8Array.from([round & 255, 0, 255, 128]),
  };
}
