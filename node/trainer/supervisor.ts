// Keeps a trainer's process running: what it was asked when it crashed is asked again of the next one, which begins where
// the last checkpoint is. Gives up where crashes follow each other with nothing learnt between them. Knows no training.
import { setTimeout as delay } from "node:timers/promises";
import type { CallOptions } from "./channel.ts";
import { type CrashCause, causeOf, type Ending } from "./crash-cause.ts";
import type { TrainerMethods } from "./messages.ts";
import { TrainerProcess, TrainerProcessEnded } from "./trainer-process.ts";

/** The trainer has crashed again and again. Its last checkpoint is on disk and whole. */
export class TrainerCrashedError extends Error {
  readonly code = "TRAINER_CRASHED";
  readonly crashes: number;
  readonly remedy: string;

  constructor(crashes: number, { clause, remedy }: CrashCause) {
    super(
      `The trainer crashed ${crashes} times without getting any further, the last time because ${clause}; ${remedy}, and start the peer again: it resumes from its last checkpoint.`,
    );
    this.name = "TrainerCrashedError";
    this.crashes = crashes;
    this.remedy = remedy;
  }
}

export class TrainerClosedError extends Error {
  readonly code = "TRAINER_CLOSED";

  constructor() {
    super("The trainer was closed; make a new one.");
    this.name = "TrainerClosedError";
  }
}

export interface TrainerCrash {
  readonly cause: CrashCause;
  readonly ending: Ending;
  /** In a row, this one included. */
  readonly crashes: number;
  /** `undefined`: no more. */
  readonly restartInMs: number | undefined;
}

export interface SupervisorOptions {
  readonly onStart?: ((pid: number) => void) | undefined;
  readonly onCrash?: ((crash: TrainerCrash) => void) | undefined;
  /** A line that the process printed, which is not one of its messages. */
  readonly onLine?: ((line: string) => void) | undefined;
  /** Waits before the restarts after the first, second, … crash in a row; after one more it is over. */
  readonly restartDelaysMs?: readonly number[] | undefined;
}

/** A driver needs a moment to let go of a device; after a second crash memory may be short for longer. */
const RESTART_DELAYS_MS = [1_000, 5_000];

/** One step and the checkpoint of the largest models. Whoever takes longer hangs. */
const CLOSE_PATIENCE_MS = 60_000;

export interface SupervisedCall<Progress> extends CallOptions<Progress> {
  /** Asked of a new process also when it was called off meanwhile, because of what it leaves behind. */
  readonly evenIfAborted?: boolean;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #restore: (process: TrainerProcess) => Promise<void>;
  readonly #closing = new AbortController();
  /** The process that can be asked, or the one that will be; rejects for good when there is none any more. */
  #ready: Promise<TrainerProcess>;
  /** The newest; `#working` where it is ready and has not ended. */
  #process: TrainerProcess;
  #working: TrainerProcess | undefined;
  #crashes = 0;

  /** `restore` brings a new process to where the one before it was, beginning with the second. */
  constructor(restore: (process: TrainerProcess) => Promise<void>, options: SupervisorOptions = {}) {
    this.#options = options;
    this.#restore = restore;
    this.#process = this.#start();
    this.#ready = Promise.resolve(this.#watched(this.#process));
  }

  /** Something has been learnt or done that was not before: crashes are counted from here. */
  progressed(): void {
    this.#crashes = 0;
  }

  /** @throws what the method throws, TrainerCrashedError, TrainerClosedError, and as restoring a process */
  async call<Name extends keyof TrainerMethods & string>(
    method: Name,
    args: TrainerMethods[Name]["args"],
    { evenIfAborted = false, ...options }: SupervisedCall<TrainerMethods[Name]["progress"]> = {},
  ): Promise<TrainerMethods[Name]["result"]> {
    for (;;) {
      const process = await unlessAborted(this.#ready, evenIfAborted ? undefined : options.signal);
      try {
        return await process.caller.call(method, args, options);
      } catch (error) {
        if (!(error instanceof TrainerProcessEnded)) throw error;
        this.#lost(process, error.ending);
      }
    }
  }

  /** Lets what is being done end and save, and ends the process. Calls that wait for another one reject. */
  async close(): Promise<void> {
    this.#closing.abort(new TrainerClosedError());
    const closed = this.#working?.caller.call("close", null).catch(() => undefined);
    await Promise.race([closed, delay(CLOSE_PATIENCE_MS, undefined, { ref: false })]);
    await this.#process.kill();
  }

  #start(): TrainerProcess {
    const process = new TrainerProcess((line) => this.#options.onLine?.(line));
    this.#options.onStart?.(process.pid);
    return process;
  }

  /** Also a process that is asked nothing when it crashes is followed by another. */
  #watched(process: TrainerProcess): TrainerProcess {
    this.#working = process;
    void process.ended.then((ending) => this.#lost(process, ending));
    return process;
  }

  #lost(process: TrainerProcess, ending: Ending): void {
    if (process !== this.#working) return;
    this.#working = undefined;
    const next = this.#next(ending);
    this.#ready = next;
    // Whoever calls next is told.
    next.catch(() => undefined);
  }

  async #next(ending: Ending): Promise<TrainerProcess> {
    const { onCrash, restartDelaysMs = RESTART_DELAYS_MS } = this.#options;
    const { signal } = this.#closing;
    for (let last = ending; ; ) {
      signal.throwIfAborted();
      const cause = causeOf(last);
      const restartInMs = restartDelaysMs[this.#crashes++];
      onCrash?.({ cause, ending: last, crashes: this.#crashes, restartInMs });
      if (restartInMs === undefined) throw new TrainerCrashedError(this.#crashes, cause);
      await delay(restartInMs, undefined, { signal }).catch(() => signal.throwIfAborted());
      const process = this.#start();
      this.#process = process;
      try {
        await this.#restore(process);
        return this.#watched(process);
      } catch (error) {
        if (!(error instanceof TrainerProcessEnded)) throw error;
        last = error.ending;
      }
    }
  }
}

async function unlessAborted<Value>(
  waiting: Promise<Value>,
  signal: AbortSignal | undefined,
): Promise<Value> {
  if (signal === undefined) return waiting;
  const aborted = Promise.withResolvers<never>();
  const leave = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", leave, { once: true });
  try {
    return await Promise.race([waiting, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", leave);
  }
}
