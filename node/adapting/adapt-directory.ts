// The output folder of an adaptation while it is made: what has to survive a kill lies in .adapt beside the model to be.
//   .adapt/plan.json        settings and what follows from them; written last of what a beginning writes, so it vouches for it
//   .adapt/tokenizer.json   the vocabulary          .adapt/state.checkpoint  weights, moments, position in the text
//   .adapt/tokens/          cached token ids        .adapt/lock              who is at it
//   curve.jsonl             held-out evaluations    the model itself comes at the end; plan.json stays and says it is done
import { mkdir, readdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { ModelFolderNotEmptyError } from "#model/checkpoint/hugging-face/errors.ts";
import { makeOutputFolder } from "#model/checkpoint/model-folder.ts";
import type { ModelConfig, OptimizerConfig } from "#model/types.ts";
import { loadBaselineCheckpoint, saveBaselineCheckpoint } from "../single-machine/baseline-checkpoint.ts";
import type { BaselineCheckpoint } from "../single-machine/train-baseline.ts";
import { isLeftover, readIfPresent, writeAtomic, writeJsonAtomic } from "../storage/atomic-file.ts";
import { storageError } from "../storage/errors.ts";
import { type Lock, LockHeldError, takeLock } from "../storage/lock.ts";
import { takeBack } from "../storage/output-folder.ts";
import { differentSetting, type OutputSettings } from "../storage/output-settings.ts";
import { readJson } from "../storage/state-directory.ts";
import type { CurvePoint } from "./curve.ts";
import { AdaptationDamagedError, OtherAdaptationError, OutputInUseError } from "./errors.ts";

const LOCK = "lock";

/** Where the model came from. */
export interface AdaptSource {
  /** For people; may name a path. */
  readonly description: string;
  readonly [fact: string]: string | number;
}

/** What is decided when an adaptation begins. The model that it began with may be gone or trained on afterwards. */
export interface AdaptPlan {
  /** What the result depends on. */
  readonly settings: OutputSettings;
  readonly config: ModelConfig;
  readonly optimizer: OptimizerConfig;
  /** Peak rate of the model's pre-training. */
  readonly learningRate: number;
  readonly source: AdaptSource;
  /** Rows of the embedding that came from it. */
  readonly keptRows: number;
  readonly isDone: boolean;
}

export class AdaptDirectory {
  readonly path: string;
  readonly #output: string;
  readonly #made: string | undefined;
  readonly #lock: Lock;

  private constructor(output: string, path: string, made: string | undefined, lock: Lock) {
    this.#output = output;
    this.path = path;
    this.#made = made;
    this.#lock = lock;
  }

  /**
   * Makes or takes up the folder. `force` begins anew, whatever is in it.
   * @throws ModelFolderNotEmptyError where something else is there, OutputInUseError, errors of the file system
   */
  static async open(output: string, { force }: { readonly force: boolean }): Promise<AdaptDirectory> {
    const folder = resolve(output);
    const path = join(folder, ".adapt");
    let lock: Lock;
    let made: string | undefined;
    try {
      const { present, ...folders } = await makeOutputFolder(folder);
      made = folders.made;
      if (present.length > 0 && !present.includes(".adapt") && !force)
        throw new ModelFolderNotEmptyError(output);
      await mkdir(path, { recursive: true, mode: 0o700 });
      lock = await takeLock(join(path, LOCK));
    } catch (error) {
      if (error instanceof LockHeldError) throw new OutputInUseError(output, error.holder);
      throw storageError(error, output);
    }
    const directory = new AdaptDirectory(folder, path, made, lock);
    await directory.#clearLeftovers();
    if (force) await directory.#forget();
    return directory;
  }

  get tokenCacheDirectory(): string {
    return join(this.path, "tokens");
  }

  get tokenizerPath(): string {
    return join(this.path, "tokenizer.json");
  }

  get curvePath(): string {
    return join(this.#output, "curve.jsonl");
  }

  /**
   * The plan that was made with these settings, `undefined` where none is.
   * @throws OtherAdaptationError where it was made with others, StateCorruptError
   */
  async plan(settings: OutputSettings): Promise<AdaptPlan | undefined> {
    const plan = await readJson<AdaptPlan>(this.#planPath);
    if (plan === undefined) return undefined;
    const different = differentSetting(plan.settings, settings);
    if (different === "vocabulary") throw new OtherAdaptationError(this.#output, different);
    if (different !== undefined) throw new OtherAdaptationError(this.#output, `--${different}`);
    return plan;
  }

  async savePlan(plan: AdaptPlan): Promise<void> {
    await writeJsonAtomic(this.#planPath, plan);
  }

  /** @throws AdaptationDamagedError */
  async tokenizer(): Promise<string> {
    return Buffer.from(await this.#read(this.tokenizerPath)).toString("utf8");
  }

  async saveTokenizer(json: string): Promise<void> {
    await writeAtomic(this.tokenizerPath, json);
  }

  /** `texts` names the token files: a position means nothing in others. @throws OtherTrainingError, AdaptationDamagedError, CheckpointError */
  async checkpoint(texts: string): Promise<BaselineCheckpoint> {
    const checkpoint = await loadBaselineCheckpoint(this.#checkpointPath, texts);
    if (checkpoint === undefined) throw new AdaptationDamagedError(this.#checkpointPath);
    return checkpoint;
  }

  saveCheckpoint(texts: string, checkpoint: BaselineCheckpoint): Promise<void> {
    return saveBaselineCheckpoint(this.#checkpointPath, texts, checkpoint);
  }

  async saveCurve(points: readonly CurvePoint[]): Promise<void> {
    const lines = points.map((point) => `${JSON.stringify(point)}\n`);
    await writeAtomic(this.curvePath, lines.join(""), { durable: false });
  }

  async curve(): Promise<CurvePoint[]> {
    const lines = Buffer.from(await this.#read(this.curvePath))
      .toString("utf8")
      .trim()
      .split("\n");
    return lines.map((line) => JSON.parse(line) as CurvePoint);
  }

  /** Once the model is written: what only training needs goes, the plan stays. */
  async finish(plan: AdaptPlan): Promise<void> {
    await this.savePlan({ ...plan, isDone: true });
    await rm(this.#checkpointPath, { force: true });
    await rm(this.tokenCacheDirectory, { recursive: true, force: true });
  }

  async close(): Promise<void> {
    await this.#lock.release();
  }

  /** In place of `close`, where it came to no plan: nothing stays of what has been made, and no folder that is empty. */
  async withdraw(): Promise<void> {
    await takeBack({
      output: this.#output,
      own: this.path,
      made: this.#made,
      lock: this.#lock,
      lockName: LOCK,
    });
  }

  async #read(path: string): Promise<Uint8Array> {
    const bytes = await readIfPresent(path);
    if (bytes === undefined) throw new AdaptationDamagedError(path);
    return bytes;
  }

  get #planPath(): string {
    return join(this.path, "plan.json");
  }

  get #checkpointPath(): string {
    return join(this.path, "state.checkpoint");
  }

  /** What a kill has left half-written. */
  async #clearLeftovers(): Promise<void> {
    for (const folder of [this.#output, this.path]) {
      const leftovers = (await readdir(folder)).filter(isLeftover);
      for (const name of leftovers) await rm(join(folder, name), { force: true });
    }
  }

  /** The plan goes first: without it nothing else counts. */
  async #forget(): Promise<void> {
    for (const path of [this.#planPath, this.#checkpointPath, this.tokenizerPath, this.curvePath]) {
      await rm(path, { force: true });
    }
  }
}
