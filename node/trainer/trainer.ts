// The trainer as the peer's thread sees it: a worker that computes, so that networking never waits for a training step.
// Implements the protocol's TrainerPort; a worker that dies is reported with its cause instead of hanging its callers.
// Only the held part of the shared parameters crosses over to the worker.
import { Worker } from "node:worker_threads";
import { bodyLength } from "#model/architecture.ts";
import type { RoundTraining, TrainerPort } from "#protocol/ports.ts";
import { Caller } from "./channel.ts";
import type { GroupResult } from "./group-embedding.ts";
import type {
  BodyConfig,
  CreateOptions,
  CreateResult,
  PrepareOptions,
  PrepareProgress,
  PrepareResult,
  TrainerMethods,
} from "./messages.ts";
import { SharedParameters } from "./shared-parameters.ts";

/** The worker ended before it was asked to. Its last checkpoint is on disk and whole. */
export class TrainerCrashedError extends Error {
  readonly code = "trainer-crashed";

  constructor(cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(
      `The trainer stopped unexpectedly (${why}); start the peer again to resume from its last checkpoint.`,
      { cause },
    );
    this.name = "TrainerCrashedError";
  }
}

export class Trainer implements TrainerPort {
  readonly #worker: Worker;
  readonly #caller: Caller<TrainerMethods>;
  #closing = false;
  #rows: Int32Array | undefined;
  #parameters: SharedParameters | undefined;

  constructor() {
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), { name: "glossa-trainer" });
    this.#caller = new Caller<TrainerMethods>(this.#worker);
    this.#worker.on("error", (error) => this.#caller.failAll(new TrainerCrashedError(error)));
    this.#worker.on("exit", (code) => {
      if (!this.#closing) this.#caller.failAll(new TrainerCrashedError(`exit code ${code}`));
    });
  }

  /** The shared parameters at round 0, computed from the run's seed alone. */
  genesis(
    body: BodyConfig,
    sharedVocabularySize: number | undefined,
    seed: string,
    signal: AbortSignal,
  ): Promise<Float32Array> {
    return this.#caller.call("genesis", { body, sharedVocabularySize, seed }, { signal });
  }

  /** Tokenizer and tokens; the first step of a peer's life and a no-op where both are on disk already. */
  async prepare(
    options: PrepareOptions,
    onProgress: (progress: PrepareProgress) => void,
    signal: AbortSignal,
  ): Promise<PrepareResult> {
    const result = await this.#caller.call("prepare", options, { onProgress, signal });
    this.#rows = result.rows;
    return result;
  }

  /** Compiles the training step and restores or creates parameters. After `prepare`, before any training. */
  create(options: CreateOptions, signal: AbortSignal): Promise<CreateResult> {
    const { body, genesis, sharedVocabularySize } = options;
    this.#parameters = new SharedParameters(
      bodyLength(body),
      sharedVocabularySize === undefined
        ? undefined
        : { width: body.width, vocabularySize: sharedVocabularySize, rows: this.#rows },
    );
    return this.#caller.call("create", { ...options, genesis: this.#held.gather(genesis) }, { signal });
  }

  async warmUp(
    shared: Float32Array,
    steps: number,
    onStep: (step: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const held = this.#held.gather(shared);
    await this.#caller.call("warmUp", { held, steps }, { onProgress: onStep, signal });
  }

  async trainRound(
    round: number,
    shared: Float32Array,
    carry: boolean,
    onStep: (step: number, bitsPerByte: number) => void,
    signal: AbortSignal,
  ): Promise<RoundTraining> {
    const held = this.#held.gather(shared);
    const result = await this.#caller.call(
      "trainRound",
      { round, held, carry },
      { onProgress: ({ step, bitsPerByte }) => onStep(step, bitsPerByte), signal },
    );
    return { ...result, delta: this.#held.scatter(result.delta) };
  }

  evaluate(shared: Float32Array, signal: AbortSignal): Promise<number> {
    return this.#caller.call("evaluate", { held: this.#held.gather(shared) }, { signal });
  }

  /** A group's embedding at its round 0, computed from its seed alone. */
  groupGenesis(
    shape: { readonly width: number; readonly vocabularySize: number },
    seed: string,
    signal: AbortSignal,
  ): Promise<Float32Array> {
    return this.#caller.call("groupGenesis", { ...shape, seed }, { signal });
  }

  /** Moves this peer's own embedding onto the group's, between two steps. After `create` with a group. */
  async enterGroup(round: number, embedding: Float32Array, carry: boolean): Promise<void> {
    await this.#caller.call("enterGroup", { round, embedding, carry });
  }

  /** What this peer's own embedding has learnt for the group, at the end of a local round or `now`. */
  collectGroup(when: "round-end" | "now", signal: AbortSignal): Promise<GroupResult> {
    return this.#caller.call("collectGroup", { when }, { signal });
  }

  get #held(): SharedParameters {
    if (this.#parameters === undefined) throw new TypeError("the trainer has not been created");
    return this.#parameters;
  }

  /** Frees the session and ends the worker. Calls still open reject. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#caller.call("close", null).catch(() => undefined);
    await this.#worker.terminate();
    this.#caller.failAll(new TrainerCrashedError("closed"));
  }
}
