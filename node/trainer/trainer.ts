// The trainer as the peer's thread sees it: a worker that computes, so that networking never waits for a training step.
// Implements the protocol's TrainerPort; a worker that dies is reported with its cause instead of hanging its callers.
import { Worker } from "node:worker_threads";
import type { RoundTraining, TrainerPort } from "#protocol/ports.ts";
import { Caller } from "./channel.ts";
import type {
  BodyConfig,
  CreateOptions,
  CreateResult,
  PrepareOptions,
  PrepareProgress,
  PrepareResult,
  TrainerMethods,
} from "./messages.ts";

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

  constructor() {
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), { name: "glossa-trainer" });
    this.#caller = new Caller<TrainerMethods>(this.#worker);
    this.#worker.on("error", (error) => this.#caller.failAll(new TrainerCrashedError(error)));
    this.#worker.on("exit", (code) => {
      if (!this.#closing) this.#caller.failAll(new TrainerCrashedError(`exit code ${code}`));
    });
  }

  /** The common body at round 0, computed from the run's seed alone. */
  genesis(body: BodyConfig, seed: string, signal: AbortSignal): Promise<Float32Array> {
    return this.#caller.call("genesis", { body, seed }, { signal });
  }

  /** Tokenizer and tokens; the first step of a peer's life and a no-op where both are on disk already. */
  prepare(
    options: PrepareOptions,
    onProgress: (progress: PrepareProgress) => void,
    signal: AbortSignal,
  ): Promise<PrepareResult> {
    return this.#caller.call("prepare", options, { onProgress, signal });
  }

  /** Compiles the training step and restores or creates parameters. After `prepare`, before any training. */
  create(options: CreateOptions, signal: AbortSignal): Promise<CreateResult> {
    return this.#caller.call("create", options, { signal });
  }

  async warmUp(
    body: Float32Array,
    steps: number,
    onStep: (step: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#caller.call("warmUp", { body, steps }, { onProgress: onStep, signal });
  }

  trainRound(
    round: number,
    body: Float32Array,
    carry: boolean,
    onStep: (step: number, bitsPerByte: number) => void,
    signal: AbortSignal,
  ): Promise<RoundTraining> {
    return this.#caller.call(
      "trainRound",
      { round, body, carry },
      { onProgress: ({ step, bitsPerByte }) => onStep(step, bitsPerByte), signal },
    );
  }

  evaluate(body: Float32Array, signal: AbortSignal): Promise<number> {
    return this.#caller.call("evaluate", { body }, { signal });
  }

  /** Frees the session and ends the worker. Calls still open reject. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#caller.call("close", null).catch(() => undefined);
    await this.#worker.terminate();
    this.#caller.failAll(new TrainerCrashedError("closed"));
  }
}
