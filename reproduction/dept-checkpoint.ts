// The state of all peers between two rounds, as the bytes of one file: a cell of DEPT is killed and goes on as one.
import { type CheckpointTensor, decodeCheckpoint, encodeCheckpoint } from "#model/checkpoint/safetensors.ts";
import type { TrainingState } from "#model/types.ts";
import type { TrainerCheckpoint } from "#node/trainer/round-trainer.ts";
import type { CurvePoint } from "./results.ts";

export interface KeptPeer {
  readonly trainer: TrainerCheckpoint;
  readonly residual: Float32Array;
  readonly payloadBytes: readonly number[];
}

export interface DeptCheckpoint {
  /** The next round. */
  readonly round: number;
  readonly shared: Float32Array;
  readonly curve: readonly CurvePoint[];
  /** In the order of the sources. */
  readonly peers: readonly KeptPeer[];
}

const STATE_ARRAYS = [
  "body",
  "bodyMoment1",
  "bodyMoment2",
  "embedding",
  "embeddingMoment1",
  "embeddingMoment2",
] as const satisfies readonly (keyof TrainingState)[];

/** What of a peer is not an array. */
type PeerFacts = Pick<KeptPeer, "payloadBytes"> &
  Pick<TrainerCheckpoint, "progress" | "batchPosition"> &
  Pick<TrainingState, "momentSteps" | "embeddingMomentSteps">;

type Facts = Pick<DeptCheckpoint, "round" | "curve"> & { readonly peers: readonly PeerFacts[] };

export function encodeDeptCheckpoint({ round, shared, curve, peers }: DeptCheckpoint): Uint8Array {
  const tensors = new Map<string, CheckpointTensor>();
  const keep = (name: string, data: Float32Array) => tensors.set(name, { shape: [data.length], data });
  keep("shared", shared);
  for (const [at, { trainer, residual }] of peers.entries()) {
    for (const name of STATE_ARRAYS) keep(`${at}.${name}`, trainer.state[name]);
    keep(`${at}.start`, trainer.start);
    keep(`${at}.residual`, residual);
  }
  const facts: Facts = {
    round,
    curve,
    peers: peers.map(({ trainer: { progress, batchPosition, state }, payloadBytes }) => ({
      payloadBytes,
      progress,
      batchPosition,
      momentSteps: state.momentSteps,
      embeddingMomentSteps: state.embeddingMomentSteps,
    })),
  };
  return encodeCheckpoint(tensors, new Map([["facts", JSON.stringify(facts)]]));
}

/** @throws CheckpointError where the bytes are damaged */
export function decodeDeptCheckpoint(bytes: Uint8Array): DeptCheckpoint {
  const { tensors, metadata } = decodeCheckpoint(bytes);
  const facts = JSON.parse(metadata.get("facts")!) as Facts;
  const array = (name: string) => tensors.get(name)!.data as Float32Array;
  return {
    round: facts.round,
    shared: array("shared"),
    curve: facts.curve,
    peers: facts.peers.map((peer, at): KeptPeer => {
      const state = Object.fromEntries(STATE_ARRAYS.map((name) => [name, array(`${at}.${name}`)])) as Record<
        (typeof STATE_ARRAYS)[number],
        Float32Array
      >;
      const { momentSteps, embeddingMomentSteps, progress, batchPosition, payloadBytes } = peer;
      return {
        trainer: {
          state: { ...state, momentSteps, embeddingMomentSteps },
          start: array(`${at}.start`),
          progress,
          batchPosition,
        },
        residual: array(`${at}.residual`),
        payloadBytes,
      };
    }),
  };
}
