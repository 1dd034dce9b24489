// The trainer's state on disk: embeddings, moments, progress and the position in the data, replaced atomically.
import {
  decodeTrainingCheckpoint,
  encodeTrainingCheckpoint,
  type JsonValue,
} from "#model/checkpoint/training-checkpoint.ts";
import { readIfPresent, writeAtomic } from "../storage/atomic-file.ts";
import type { RoundProgress, TrainerCheckpoint } from "./round-trainer.ts";

/** What is kept as JSON beside the arrays. */
type Extra = { readonly progress: RoundProgress; readonly batchPosition: JsonValue };

/** `undefined` where this peer has not trained yet. Throws CheckpointError where the file is damaged. */
export async function loadTrainerCheckpoint(path: string): Promise<TrainerCheckpoint | undefined> {
  const bytes = await readIfPresent(path);
  if (bytes === undefined) return undefined;
  const { state, arrays, extra } = decodeTrainingCheckpoint(bytes);
  const { progress, batchPosition } = extra as Extra;
  return { state, start: arrays.get("start") ?? state.body, progress, batchPosition };
}

export async function saveTrainerCheckpoint(path: string, checkpoint: TrainerCheckpoint): Promise<void> {
  const { state, start, progress, batchPosition } = checkpoint;
  const extra: Extra = { progress, batchPosition: batchPosition as JsonValue };
  await writeAtomic(path, encodeTrainingCheckpoint({ state, arrays: new Map([["start", start]]), extra }), {
    // Embeddings are the user's own: nobody else on the machine reads them.
    mode: 0o600,
  });
}
