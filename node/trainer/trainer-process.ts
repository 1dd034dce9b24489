// One life of the trainer's process: started, called, listened to, and at its end asked what happened. Restarts nothing.
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import type { Duplex, Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { trainingEnvironment } from "#model/runtime/process-environment.ts";
import { sharedMemory } from "../arithmetic/shared-memory.ts";
import { Caller } from "./channel.ts";
import type { Ending } from "./crash-cause.ts";
import type { TrainerMethods } from "./messages.ts";
import { PipePort, TRAINER_PIPE } from "./pipe.ts";

const CHILD = fileURLToPath(new URL("./child.ts", import.meta.url));

/** A native stack is a dozen lines, and the reason stands above it. */
const LAST_WORDS = 40;

/** Nobody's death is taken for the trainer's that lies twice this far back. */
const LOOK_MS = 10_000;

/** An open call, or a later one, of a process that has ended. Whoever made it may make it again in the next life. */
export class TrainerProcessEnded extends Error {
  readonly ending: Ending;

  constructor(ending: Ending) {
    super("the trainer's process has ended");
    this.name = "TrainerProcessEnded";
    this.ending = ending;
  }
}

export class TrainerProcess {
  readonly caller: Caller<TrainerMethods>;
  /** Resolves when it is gone, whoever ended it. By then everything it said has been read. */
  readonly ended: Promise<Ending>;
  readonly #child: ChildProcess | undefined;
  readonly #lastWords: string[] = [];
  readonly #looking: NodeJS.Timeout;
  /** Before the last look, and then: one of hours ago says nothing. */
  #memoryKills = [memoryKills(), memoryKills()] as const;

  /** `onLine`: what it prints, which is not its messages. */
  constructor(onLine: (line: string) => void) {
    this.#looking = setInterval(() => {
      this.#memoryKills = [this.#memoryKills[1], memoryKills()];
    }, LOOK_MS);
    this.#looking.unref();
    const { promise, resolve } = Promise.withResolvers<Ending>();
    this.ended = promise;
    const child = startChild();
    if (child instanceof Error) {
      this.caller = new Caller<TrainerMethods>({ postMessage: () => undefined, on: () => undefined });
      queueMicrotask(() => resolve(this.#end(null, null, child)));
      return;
    }
    this.#child = child;
    // What a round gives goes on to the thread that averages.
    const port = new PipePort(child.stdio[TRAINER_PIPE] as Duplex, sharedMemory);
    this.caller = new Caller<TrainerMethods>(port);
    for (const stream of [child.stdout, child.stderr]) this.#listen(stream, onLine);
    child.on("error", (error) => {
      // Also said of a signal that could not be sent.
      if (child.pid === undefined) resolve(this.#end(null, null, error));
    });
    child.on("close", (exitCode, signal) => {
      if (child.pid !== undefined) resolve(this.#end(exitCode, signal));
    });
  }

  /** -1 where it could not be started. */
  get pid(): number {
    return this.#child?.pid ?? -1;
  }

  /** Ends it at once. What it has saved is whole. */
  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.ended;
  }

  #listen(stream: Readable | null, onLine: (line: string) => void): void {
    if (stream === null) return;
    createInterface({ input: stream }).on("line", (line) => {
      this.#lastWords.push(line);
      this.#lastWords.splice(0, this.#lastWords.length - LAST_WORDS);
      onLine(line);
    });
  }

  #end(exitCode: number | null, signal: NodeJS.Signals | null, startError?: Error): Ending {
    clearInterval(this.#looking);
    const [killsBefore] = this.#memoryKills;
    const killsNow = memoryKills();
    const ending: Ending = {
      exitCode,
      signal,
      lastWords: this.#lastWords,
      memoryKills: killsNow === undefined || killsBefore === undefined ? undefined : killsNow - killsBefore,
      startError,
    };
    this.caller.failAll(new TrainerProcessEnded(ending));
    return ending;
  }
}

/** Want of memory or of process slots comes as an event or as an exception, depending on where it shows. */
function startChild(): ChildProcess | Error {
  try {
    return spawn(process.execPath, [CHILD], {
      env: trainingEnvironment(process.env),
      // Messages have a pipe of their own: libraries print where they like.
      stdio: ["ignore", "pipe", "pipe", "overlapped"],
      windowsHide: true,
    });
  } catch (error) {
    return error as Error;
  }
}

/** Processes of this machine that Linux has killed for want of memory, containers included; `undefined` elsewhere. */
function memoryKills(): number | undefined {
  try {
    const [, count] = /^oom_kill (\d+)$/m.exec(readFileSync("/proc/vmstat", "utf8")) ?? [];
    return count === undefined ? undefined : Number(count);
  } catch {
    return undefined;
  }
}
