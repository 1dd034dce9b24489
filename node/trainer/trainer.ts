// The trainer as the peer's process sees it: a process of its own that computes, so that networking never waits for a
// training step nor ends with one. Implements the protocol's TrainerPort; after a crash it goes on from the last checkpoint
// as if nothing had happened. Only the held part of the shared parameters crosses over.
import { bodyLength } from "#model/architecture.ts";
import type { RoundTraining, TrainerPort } from "#protocol/ports.ts";
import type { GroupResult } from "./group-embedding.ts";
import type {
  BodyConfig,
  CreateOptions,
  CreateResult,
  PrepareOptions,
  PrepareProgress,
  PrepareResult,
  StepProgress,
  TrainerMethods,
} from "./messages.ts";
import type { RoundProgress } from "./round-progress.ts";
import { SharedParameters } from "./shared-parameters.ts";
import { type SupervisedCall, Supervisor, type SupervisorOptions } from "./supervisor.ts";
import type { TrainerProcess } from "./trainer-process.ts";

export interface TrainerOptions extends SupervisorOptions {
  /** Training goes on after a crash, from what the last checkpoint has; `undefined` where there was none. */
  readonly onResume?: ((progress: RoundProgress | undefined) => void) | undefined;
  /** The text is another than the one that was trained on last. */
  readonly onTextChanged?: ((change: { tokensBefore: number; tokens: number }) => void) | undefined;
  /** Steps moved nothing because the loss was scaled too far for float16; `total` of them in this peer's life. */
  readonly onSkipped?: ((steps: number, total: number) => void) | undefined;
}

export class Trainer implements TrainerPort {
  readonly #supervisor: Supervisor;
  readonly #onResume: TrainerOptions["onResume"];
  readonly #onTextChanged: TrainerOptions["onTextChanged"];
  readonly #onSkipped: TrainerOptions["onSkipped"];
  #rows: Int32Array | undefined;
  #parameters: SharedParameters | undefined;
  /** What a new process is told first: everything that the last one was told and that is in no checkpoint. */
  #prepared: PrepareOptions | undefined;
  #created: CreateOptions | undefined;
  #progressRound: number | undefined;
  #skippedSteps = 0;
  #entered: TrainerMethods["enterGroup"]["args"] | undefined;
  #enough: TrainerMethods["endRound"]["args"] | undefined;

  constructor({ onResume, onTextChanged, onSkipped, ...options }: TrainerOptions = {}) {
    this.#onResume = onResume;
    this.#onTextChanged = onTextChanged;
    this.#onSkipped = onSkipped;
    this.#supervisor = new Supervisor((process) => this.#restore(process), options);
  }

  /** The shared parameters at round 0, computed from the run's seed alone. */
  genesis(
    body: BodyConfig,
    sharedVocabularySize: number | undefined,
    seed: string,
    signal: AbortSignal,
  ): Promise<Float32Array> {
    return this.#ask("genesis", { body, sharedVocabularySize, seed }, { signal });
  }

  /** Tokenizer and tokens; the first step of a peer's life and a no-op where both are on disk already. */
  async prepare(
    options: PrepareOptions,
    onProgress: (progress: PrepareProgress) => void,
    signal: AbortSignal,
  ): Promise<PrepareResult> {
    const result = await this.#ask("prepare", options, { onProgress, signal });
    this.#rows = result.rows;
    // What it goes on with after a crash is what was prepared, whatever has become of the files meanwhile.
    const { vocabulary } = options;
    const kept = { kind: "own", tokenizerPath: undefined, vocabularySize: undefined } as const;
    this.#prepared = {
      ...options,
      vocabulary: vocabulary.kind === "own" ? kept : vocabulary,
      dataset: result.dataset,
    };
    return result;
  }

  /** Compiles the training step and restores or creates parameters. After `prepare`, before any training. */
  async create(options: CreateOptions, signal: AbortSignal): Promise<CreateResult> {
    const { body, genesis, sharedVocabularySize } = options;
    this.#parameters = new SharedParameters(
      bodyLength(body),
      sharedVocabularySize === undefined
        ? undefined
        : { width: body.width, vocabularySize: sharedVocabularySize, rows: this.#rows },
    );
    const held = { ...options, genesis: this.#held.gather(genesis) };
    const result = await this.#ask("create", held, { signal });
    // Whatever device was the fastest, it stays: another one gives other bits.
    this.#created = { ...options, device: result.device };
    this.#progressRound = result.progressRound;
    this.#tellOfText(result);
    this.#skippedSteps = result.resumed?.skippedSteps ?? 0;
    return result;
  }

  get progressRound(): number | undefined {
    return this.#progressRound;
  }

  async warmUp(
    shared: Float32Array,
    steps: number,
    onStep: (step: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const held = this.#held.gather(shared);
    const onProgress = this.#notingSteps(onStep);
    await this.#ask("warmUp", { held, steps }, { onProgress, signal, evenIfAborted: true });
  }

  async trainRound(
    round: number,
    shared: Float32Array,
    carry: boolean,
    onStep: (step: number, bitsPerByte: number) => void,
    signal: AbortSignal,
    goOn = false,
  ): Promise<RoundTraining> {
    const held = this.#held.gather(shared);
    const noteStep = this.#notingSteps((step, bitsPerByte: number) => onStep(step, bitsPerByte));
    const result = await this.#ask(
      "trainRound",
      { round, held, carry, goOn },
      {
        onProgress: (progress) => this.#take(progress, noteStep),
        signal,
        // A process that starts from an older checkpoint has to stand in this round before it can carry what is of it.
        evenIfAborted: true,
      },
    );
    return { ...result, delta: this.#held.scatter(result.delta) };
  }

  async trainAhead(
    round: number,
    onStep: (step: number, bitsPerByte: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const noteStep = this.#notingSteps((step, bitsPerByte: number) => onStep(step, bitsPerByte));
    await this.#ask(
      "trainAhead",
      { round },
      { onProgress: (progress) => this.#take(progress, noteStep), signal },
    );
  }

  endRound(round: number): void {
    this.#enough = { round };
    // A process that has ended meanwhile is followed by one that is told; whoever waits for the round hears of the rest.
    this.#supervisor.call("endRound", this.#enough).catch(() => undefined);
  }

  evaluate(shared: Float32Array, signal: AbortSignal): Promise<number> {
    return this.#ask("evaluate", { held: this.#held.gather(shared) }, { signal });
  }

  /** A group's embedding at its round 0, computed from its seed alone. */
  groupGenesis(
    shape: { readonly width: number; readonly vocabularySize: number },
    seed: string,
    signal: AbortSignal,
  ): Promise<Float32Array> {
    return this.#ask("groupGenesis", { ...shape, seed }, { signal });
  }

  /** Moves this peer's own embedding onto the group's, between two steps. After `create` with a group. */
  async enterGroup(round: number, embedding: Float32Array, carry: boolean): Promise<void> {
    const entered = { round, embedding, carry };
    await this.#supervisor.call("enterGroup", entered);
    this.#entered = entered;
  }

  /** What this peer's own embedding has learnt for the group, at the end of a local round or `now`. */
  async collectGroup(when: "round-end" | "now", signal: AbortSignal): Promise<GroupResult> {
    const result = await this.#supervisor.call("collectGroup", { when }, { signal });
    // It was saved with what is handed out.
    this.#entered = undefined;
    return result;
  }

  get #held(): SharedParameters {
    if (this.#parameters === undefined) throw new TypeError("the trainer has not been created");
    return this.#parameters;
  }

  /** Ends the process. Calls still open reject. */
  async close(): Promise<void> {
    await this.#supervisor.close();
  }

  /** Asks, and takes the answer as progress. */
  async #ask<Name extends keyof TrainerMethods & string>(
    method: Name,
    args: TrainerMethods[Name]["args"],
    options: SupervisedCall<TrainerMethods[Name]["progress"]>,
  ): Promise<TrainerMethods[Name]["result"]> {
    const result = await this.#supervisor.call(method, args, options);
    this.#supervisor.progressed();
    return result;
  }

  #take(progress: StepProgress, noteStep: (step: number, bitsPerByte: number) => void): void {
    const { step, bitsPerByte, skippedSteps } = progress;
    noteStep(step, bitsPerByte);
    // After a crash some are skipped again.
    if (skippedSteps > this.#skippedSteps) this.#onSkipped?.(skippedSteps - this.#skippedSteps, skippedSteps);
    this.#skippedSteps = Math.max(this.#skippedSteps, skippedSteps);
  }

  /** Takes each step that was never reached before as progress: after a crash some are taken again. */
  #notingSteps<Rest extends unknown[]>(
    onStep: (step: number, ...rest: Rest) => void,
  ): (step: number, ...rest: Rest) => void {
    let furthest = -1;
    return (step, ...rest) => {
      if (step > furthest) this.#supervisor.progressed();
      furthest = Math.max(furthest, step);
      onStep(step, ...rest);
    };
  }

  #tellOfText({ trainTokensBefore, trainTokens }: Pick<CreateResult, "trainTokensBefore" | "trainTokens">) {
    if (trainTokensBefore === undefined) return;
    this.#onTextChanged?.({ tokensBefore: trainTokensBefore, tokens: trainTokens });
  }

  async #restore({ caller }: TrainerProcess): Promise<void> {
    if (this.#prepared === undefined) return;
    await caller.call("prepare", this.#prepared);
    if (this.#created === undefined) return;
    const held = { ...this.#created, genesis: this.#held.gather(this.#created.genesis) };
    const { resumed, ...text } = await caller.call("create", held);
    this.#tellOfText(text);
    // Before it was collected, the group's base is in a checkpoint only by chance. Twice is as good as once.
    if (this.#entered !== undefined) await caller.call("enterGroup", this.#entered);
    if (this.#enough !== undefined) await caller.call("endRound", this.#enough);
    this.#onResume?.(resumed);
  }
}
