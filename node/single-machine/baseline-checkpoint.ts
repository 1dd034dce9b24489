// A baseline's state on disk, replaced atomically. Owns the file's form and the check that it is of the same training.
import {
  decodeTrainingCheckpoint,
  encodeTrainingCheckpoint,
  type JsonValue,
} from "#model/checkpoint/training-checkpoint.ts";
import { readIfPresent, writeAtomic } from "../storage/atomic-file.ts";
import type { MixedPosition } from "./mixed-batches.ts";
import type { BaselineCheckpoint, BaselineProgress } from "./train-baseline.ts";

type Extra = {
  readonly identity: string;
  readonly progress: BaselineProgress;
  readonly position: MixedPosition;
};

/** What is there belongs to a training with other settings, vocabulary or text. */
export class OtherTrainingError extends Error {
  readonly code = "STATE_OF_ANOTHER_TRAINING";
  readonly path: string;

  constructor(path: string, difference = "text") {
    super(
      `${path} holds a training with a different ${difference}: give the same to go on with it, another --output, ` +
        "or --force to begin anew.",
    );
    this.name = "OtherTrainingError";
    this.path = path;
  }
}

/**
 * `identity` names the training: whatever it depends on. `undefined` where there is no checkpoint.
 * @throws OtherTrainingError, CheckpointError where the file is damaged
 */
export async function loadBaselineCheckpoint(
  path: string,
  identity: string,
): Promise<BaselineCheckpoint | undefined> {
  const bytes = await readIfPresent(path);
  if (bytes === undefined) return undefined;
  const { state, extra } = decodeTrainingCheckpoint(bytes);
  const { identity: kept, progress, position } = extra as unknown as Extra;
  if (kept !== identity) throw new OtherTrainingError(path);
  return { state, progress, position };
}

export async function saveBaselineCheckpoint(
  path: string,
  identity: string,
  { state, progress, position }: BaselineCheckpoint,
): Promise<void> {
  const extra: Extra = { identity, progress, position };
  // The embedding may hold what a private text says.
  await writeAtomic(path, encodeTrainingCheckpoint({ state, extra: extra as unknown as JsonValue }), {
    mode: 0o600,
  });
}
