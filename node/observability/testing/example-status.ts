// A status with something in every part, as input and as text, for the tests of what is made from it.
import type { MemberStatus, ProtocolStatus } from "#protocol/driver.ts";
import type { StatusInputs, TrafficByChannel } from "../status.ts";

export const quiet: TrafficByChannel = {
  gossip: { bytesSent: 0, bytesReceived: 0 },
  payload: { bytesSent: 0, bytesReceived: 0 },
  snapshot: { bytesSent: 0, bytesReceived: 0 },
  control: { bytesSent: 0, bytesReceived: 0 },
};

export function member(name: string, facts: Partial<MemberStatus> = {}): MemberStatus {
  return {
    peer: `12D3KooWPeerOf${name}`,
    name,
    phase: "training",
    round: 7,
    root: "ab".repeat(32),
    closedRound: 5,
    closedRoot: "ef".repeat(32),
    step: 10,
    steps: 25,
    bitsPerByte: 2.125,
    lag: 0,
    lastSeenMs: 1000,
    agrees: true,
    ...facts,
  };
}

export function exampleProtocol(facts: Partial<ProtocolStatus> = {}): ProtocolStatus {
  return {
    peer: "12D3KooWPeerOfada",
    name: "ada",
    phase: "training",
    round: 7,
    root: "ab".repeat(32),
    closedRound: 5,
    closedRoot: "ef".repeat(32),
    openUpdates: "01".repeat(32),
    step: 12,
    steps: 25,
    bitsPerByte: 2.3,
    updatesHeld: 2,
    agreement: { agree: 1, differ: 0, unknown: 0 },
    members: [member("grace")],
    missing: [],
    deadlineInMs: 5000,
    rounds: [],
    offences: {},
    dropped: { expired: 0, "too-early": 0, overflow: 0 },
    restrained: { clipped: 0, opposed: 0, copied: 0 },
    lateUpdates: 1,
    heals: 0,
    syncs: 0,
    returnedUpdates: 0,
    computeMs: 45_000,
    wallMs: 50_000,
    utilisation: 0.9,
    residualRatio: 0.1,
    payloadRatio: 4,
    ...facts,
  };
}

export function exampleInputs(facts: Partial<StatusInputs> = {}): StatusInputs {
  return {
    nowMs: 60_000,
    startedAtMs: 10_000,
    pid: 4242,
    runId: "cd".repeat(32),
    runName: "demo",
    stateDirectory: "/srv/glossa/ada",
    protocol: exampleProtocol(),
    network: {
      addresses: ["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWPeerOfada"],
      traffic: {
        channels: {
          gossip: { bytesSent: 5_000, bytesReceived: 6_000 },
          payload: { bytesSent: 990_000, bytesReceived: 1_980_000 },
          snapshot: { bytesSent: 0, bytesReceived: 4_000_000 },
          control: { bytesSent: 5_000, bytesReceived: 14_000 },
        },
        links: [
          {
            peer: member("grace").peer,
            direction: "outbound",
            address: "/ip4/127.0.0.1/tcp/4002",
            latencyMs: 3.25,
            bytesSent: 1,
            bytesReceived: 2,
          },
        ],
      },
      atRoundStart: { ...quiet, payload: { bytesSent: 900_000, bytesReceived: 1_900_000 } },
      offences: { "malformed-message": 2 },
    },
    training: {
      device: "cpu",
      variant: "spec-opt",
      vocabularySize: 1024,
      commonVocabularySize: undefined,
      heldRows: undefined,
      embeddingParameters: 131_072,
      bodyParameters: 800_000,
      steps: 400,
      stepsThisProcess: 187,
      tokens: 819_200,
      tokensPerSecond: 3456,
      lossNatsPerToken: 3.5,
      bitsPerByteStart: 4,
      bitsPerByte: 2.25,
      skippedSteps: 3,
      trainerRestarts: 2,
      lastTrainerCrash: "memory ran out (SIGABRT: std::bad_alloc)",
    },
    ...facts,
  };
}
