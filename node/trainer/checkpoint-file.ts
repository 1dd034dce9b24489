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
import type { RoundProgress } from "./round-progress.ts";
import type { TrainerCheckpoint } from "./round-trainer.ts";

/** What is kept as JSON beside the arrays. */
type Extra = {
  readonly progress: RoundProgress;
  /** Of the round that was handed out last, where steps of the next one were taken ahead. */
  readonly handed?: RoundProgress;
  readonly batchPosition: JsonValue;
  readonly group?: { readonly runId: string; readonly progress: GroupProgress };
};
const HANDED_START = "handedStart";
const GROUP_START = "groupStart";
const GROUP_COLLECTED = "groupCollected";

/** `undefined` where this peer has not trained yet. Throws CheckpointError where the file is damaged. */
export async function loadTrainerCheckpoint(path: string): Promise<TrainerCheckpoint | undefined> {
  const bytes = await readIfPresent(path);
  if (bytes === undefined) return undefined;
  const { state, arrays, extra } = decodeTrainingCheckpoint(bytes);
  const { progress, batchPosition, group, handed } = extra as Extra;
  const handedStart = arrays.get(HANDED_START);
  return {
    state,
    start: arrays.get("start") ?? state.body,
    progress,
    handed: handed && handedStart && { start: handedStart, progress: handed },
    batchPosition,
    group: group && { ...group, start: arrays.get(GROUP_START), collected: arrays.get(GROUP_COLLECTED) },
  };
}

export async function saveTrainerCheckpoint(path: string, checkpoint: TrainerCheckpoint): Promise<void> {
  const { state, start, progress, handed, batchPosition, group } = checkpoint;
  const extra: Extra = {
    progress,
    ...(handed && { handed: handed.progress }),
    batchPosition: batchPosition as JsonValue,
    ...ofGroup(group),
  };
  const arrays = new Map([["start", start]]);
  if (handed !== undefined) arrays.set(HANDED_START, handed.start);
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
