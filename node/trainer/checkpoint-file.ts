// The trainer's state on disk: embeddings, moments, progress and the position in the data, replaced atomically.
import { readdir, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import {
  decodeTrainingCheckpoint,
  encodeTrainingCheckpoint,
  type JsonValue,
} from "#model/checkpoint/training-checkpoint.ts";
import { isLeftover, readIfPresent, writeAtomic } from "../storage/atomic-file.ts";
import type { GroupCheckpoint, GroupProgress } from "./group-embedding.ts";
import type { RoundProgress, TrainerCheckpoint } from "./round-trainer.ts";

/** What is kept as JSON beside the arrays. */
type Extra = {
  readonly progress: RoundProgress;
  readonly batchPosition: JsonValue;
  readonly group?: { readonly runId: string; readonly progress: GroupProgress };
};
const GROUP_START = "groupStart";
const GROUP_COLLECTED = "groupCollected";

/** `undefined` where this peer has not trained yet. Throws CheckpointError where the file is damaged. */
export async function loadTrainerCheckpoint(path: string): Promise<TrainerCheckpoint | undefined> {
  const bytes = await readIfPresent(path);
  if (bytes === undefined) return undefined;
  const { state, arrays, extra } = decodeTrainingCheckpoint(bytes);
  const { progress, batchPosition, group } = extra as Extra;
  return {
    state,
    start: arrays.get("start") ?? state.body,
    progress,
    batchPosition,
    group: group && { ...group, start: arrays.get(GROUP_START), collected: arrays.get(GROUP_COLLECTED) },
  };
}

export async function saveTrainerCheckpoint(path: string, checkpoint: TrainerCheckpoint): Promise<void> {
  const { state, start, progress, batchPosition, group } = checkpoint;
  const extra: Extra = { progress, batchPosition: batchPosition as JsonValue, ...ofGroup(group) };
  const arrays = new Map([["start", start]]);
  if (group?.start !== undefined) arrays.set(GROUP_START, group.start);
  if (group?.collected !== undefined) arrays.set(GROUP_COLLECTED, group.collected);
  await writeAtomic(path, encodeTrainingCheckpoint({ state, arrays, extra }), {
    // Embeddings are the user's own: nobody else on the machine reads them.
    mode: 0o600,
  });
}

/** Removes what a process that crashed in the middle of a save has left. For the only one that saves there. */
export async function clearInterruptedSaves(path: string): Promise<void> {
  const directory = dirname(path);
  for (const name of await readdir(directory)) {
    const isOne = name.startsWith(`${basename(path)}.`) && isLeftover(name);
    if (isOne) await rm(join(directory, name), { force: true });
  }
}

const ofGroup = (group: GroupCheckpoint | undefined): Pick<Extra, "group"> =>
  group === undefined ? {} : { group: { runId: group.runId, progress: group.progress } };
