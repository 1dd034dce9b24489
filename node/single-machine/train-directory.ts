// The output folder of a training on one machine while it is made. What has to survive a kill lies in .train beside the
// model to be, and goes when the model is there.
//   .train/tokenizer.json   the vocabulary          .train/state.checkpoint   weights, moments, position in the text
//   .train/tokens/          cached token ids        .train/lock               who is at it
import { mkdir, readdir, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { ModelFolderNotEmptyError } from "#model/checkpoint/hugging-face/errors.ts";
import { makeOutputFolder } from "#model/checkpoint/model-folder.ts";
import { StateInUseError, storageError } from "../storage/errors.ts";
import { type Lock, LockHeldError, takeLock } from "../storage/lock.ts";

const NAME = ".train";
const LOCK = "lock";

export class TrainDirectory {
  /** The model folder to be. */
  readonly output: string;
  readonly #path: string;
  readonly #lock: Lock;

  private constructor(output: string, path: string, lock: Lock) {
    this.output = output;
    this.#path = path;
    this.#lock = lock;
  }

  /**
   * Makes the folder, or takes up a training that was cut off there; with `anew` that one is forgotten.
   * @throws ModelFolderNotEmptyError where anything else is there, StateInUseError, errors of the file system
   */
  static async open(output: string, { anew }: { readonly anew: boolean }): Promise<TrainDirectory> {
    const folder = resolve(output);
    const path = join(folder, NAME);
    try {
      const present = await makeOutputFolder(folder);
      if (present.length > 0 && !present.includes(NAME)) throw new ModelFolderNotEmptyError(output);
      await mkdir(path, { recursive: true, mode: 0o700 });
      const directory = new TrainDirectory(folder, path, await takeLock(join(path, LOCK)));
      if (anew) await directory.#forget();
      return directory;
    } catch (error) {
      if (error instanceof LockHeldError) throw new StateInUseError(output, error.holder, hostname());
      throw storageError(error, output);
    }
  }

  get tokenizerFile(): string {
    return join(this.#path, "tokenizer.json");
  }

  get rowsFile(): string {
    return join(this.#path, "rows.json");
  }

  get checkpointFile(): string {
    return join(this.#path, "state.checkpoint");
  }

  get tokenCacheDirectory(): string {
    return join(this.#path, "tokens");
  }

  /** When the model is written: nothing of the training is needed any more. */
  async finish(): Promise<void> {
    await this.#lock.release();
    await rm(this.#path, { recursive: true, force: true });
  }

  /** Gives the lock back and leaves everything for the next start. */
  async close(): Promise<void> {
    await this.#lock.release();
  }

  async #forget(): Promise<void> {
    for (const name of await readdir(this.#path)) {
      if (name !== LOCK) await rm(join(this.#path, name), { recursive: true, force: true });
    }
  }
}
