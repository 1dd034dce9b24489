// Takes back an output folder whose making has come to nothing, so that wrong input leaves nothing behind.
import { readdir, rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Lock } from "./lock.ts";

export interface Beginning {
  /** The output folder, and the folder in it that is this process' own. */
  readonly output: string;
  readonly own: string;
  /** The outermost folder that had to be made for it; `undefined` where all were there. */
  readonly made: string | undefined;
  /** Of `own`, where it lies. */
  readonly lock: Lock;
  readonly lockName: string;
}

/** Removes everything in `own`, gives the lock back, and removes the folders that were made and are empty now. */
export async function takeBack({ output, own, made, lock, lockName }: Beginning): Promise<void> {
  for (const name of await readdir(own)) {
    if (name !== lockName) await rm(join(own, name), { recursive: true, force: true });
  }
  await lock.release();
  // Somebody else's beginning, or anything at all that is in them, keeps them.
  if (!(await removeEmpty(own)) || made === undefined) return;
  for (let folder = output; await removeEmpty(folder); folder = dirname(folder)) if (folder === made) return;
}

const removeEmpty = (folder: string): Promise<boolean> =>
  rmdir(folder).then(
    () => true,
    () => false,
  );
