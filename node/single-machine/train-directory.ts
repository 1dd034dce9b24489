// The output folder of a training on one machine. What has to survive a kill lies in .train beside the model to be; when
// the model is there, only plan.json stays, and says so.
//   .train/plan.json        settings, and the report once it is done
//   .train/tokenizer.json   the vocabulary          .train/state.checkpoint   weights, moments, position in the text
//   .train/tokens/          cached token ids        .train/lock               who is at it
import { mkdir, readdir, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { ModelFolderNotEmptyError } from "#model/checkpoint/hugging-face/errors.ts";
import { makeOutputFolder } from "#model/checkpoint/model-folder.ts";
import { readIfPresent, writeJsonAtomic } from "../storage/atomic-file.ts";
import { StateInUseError, storageError } from "../storage/errors.ts";
import { type Lock, LockHeldError, takeLock } from "../storage/lock.ts";
import { takeBack } from "../storage/output-folder.ts";
import { differentSetting, type OutputSettings } from "../storage/output-settings.ts";
import { readJson } from "../storage/state-directory.ts";
import { OtherTrainingError } from "./baseline-checkpoint.ts";

const NAME = ".train";
const LOCK = "lock";

interface Plan<Report> {
  readonly settings: OutputSettings;
  /** `null` while it is trained. */
  readonly report: Report | null;
}

/** `Report`: what is said of a training when it is done. */
export class TrainDirectory<Report> {
  /** The model folder to be. */
  readonly output: string;
  readonly #path: string;
  readonly #made: string | undefined;
  readonly #lock: Lock;
  /** The plan is this process' own, and no other has worked by it. */
  #isNew = false;

  private constructor(output: string, path: string, made: string | undefined, lock: Lock) {
    this.output = output;
    this.#path = path;
    this.#made = made;
    this.#lock = lock;
  }

  /**
   * Makes the folder, or takes up the training that is there. `force` begins anew, whatever is in it.
   * @throws ModelFolderNotEmptyError where something else is there, StateInUseError, errors of the file system
   */
  static async open<Report>(
    output: string,
    { force }: { readonly force: boolean },
  ): Promise<TrainDirectory<Report>> {
    const folder = resolve(output);
    const path = join(folder, NAME);
    try {
      const { present, made } = await makeOutputFolder(folder);
      if (present.length > 0 && !present.includes(NAME) && !force) throw new ModelFolderNotEmptyError(output);
      await mkdir(path, { recursive: true, mode: 0o700 });
      const lock = await takeLock(join(path, LOCK));
      const directory = new TrainDirectory<Report>(folder, path, made, lock);
      if (force) await directory.#forget();
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

  /**
   * Begins a training, or goes on with the one that began with the same settings. The report where that one is done.
   * @throws OtherTrainingError, StateCorruptError
   */
  async begin(settings: OutputSettings): Promise<Report | undefined> {
    const plan = await readJson<Plan<Report>>(this.#planFile);
    if (plan === undefined) {
      this.#isNew = true;
      await this.#save({ settings, report: null });
      return undefined;
    }
    const different = differentSetting(plan.settings, settings);
    if (different !== undefined) throw new OtherTrainingError(this.output, `--${different}`);
    return plan.report ?? undefined;
  }

  /** When the model is written: nothing else of the training is needed any more. */
  async finish(settings: OutputSettings, report: Report): Promise<void> {
    await this.#save({ settings, report });
    for (const path of [this.tokenizerFile, this.rowsFile, this.checkpointFile, this.tokenCacheDirectory]) {
      await rm(path, { recursive: true, force: true });
    }
  }

  /** Gives the lock back and leaves everything for the next start. */
  async close(): Promise<void> {
    await this.#lock.release();
  }

  /**
   * In place of `close`, after an error: a training that this process began and that has saved no step leaves nothing behind,
   * and no folder that is empty. Any other stays.
   */
  async withdraw(): Promise<void> {
    const hasBegun = !this.#isNew || (await readIfPresent(this.checkpointFile)) !== undefined;
    if (hasBegun) return this.close();
    const { output } = this;
    await takeBack({ output, own: this.#path, made: this.#made, lock: this.#lock, lockName: LOCK });
  }

  get #planFile(): string {
    return join(this.#path, "plan.json");
  }

  async #save(plan: Plan<Report>): Promise<void> {
    await writeJsonAtomic(this.#planFile, plan);
  }

  async #forget(): Promise<void> {
    for (const name of await readdir(this.#path)) {
      if (name !== LOCK) await rm(join(this.#path, name), { recursive: true, force: true });
    }
  }
}
