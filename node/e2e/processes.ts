// Real `glossa` processes on loopback for the end-to-end tests: started through the launcher, watched through their
// machine-readable events, ended by their own id. Owns no expectations.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import type { GlossaEvent } from "../observability/events.ts";

const LAUNCHER = fileURLToPath(new URL("../bin/glossa.js", import.meta.url));
const CORPORA = fileURLToPath(new URL("../demo/corpora/", import.meta.url));

/** Bounds every wait. Generous: two slow cores run several peers at once. */
const WAIT_TIMEOUT_MS = 90_000;

/** What an event of a given name carries. */
type EventOf<Name extends GlossaEvent["event"]> = Extract<GlossaEvent, { event: Name }>;

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A running command. Its events can be waited for; what it has said is part of every failure. */
export class GlossaProcess {
  readonly events: GlossaEvent[] = [];
  readonly exit: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #waiting = new Set<() => void>();
  #output = "";

  /** `prefix`: a command that runs the rest of its line as this same process, somewhere else. */
  constructor(args: readonly string[], environment: Record<string, string>, prefix: readonly string[] = []) {
    const [command, ...line] = [...prefix, process.execPath, LAUNCHER, ...args];
    this.#child = spawn(command!, line, {
      env: { ...process.env, ...environment, NO_COLOR: "1" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.exit = new Promise((resolve) => {
      this.#child.on("close", (code, signal) => {
        resolve({ code, signal });
        this.#wake();
      });
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      createInterface({ input: stream }).on("line", (line) => this.#read(line));
    }
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Everything printed so far, for the message of a failure. */
  get output(): string {
    return this.#output;
  }

  /** The next (or an earlier) event of that name that `accept` takes. Rejects when the process ends without it. */
  async event<Name extends GlossaEvent["event"]>(
    name: Name,
    accept: (event: EventOf<Name>) => boolean = () => true,
  ): Promise<EventOf<Name>> {
    const matches = (event: GlossaEvent): event is EventOf<Name> =>
      event.event === name && accept(event as EventOf<Name>);
    const deadline = AbortSignal.timeout(WAIT_TIMEOUT_MS);
    for (;;) {
      const found = this.events.find(matches);
      if (found !== undefined) return found;
      if (!this.isRunning) throw new Error(`ended before the event "${name}":\n${this.#output}`);
      if (deadline.aborted) throw new Error(`no event "${name}" in time:\n${this.#output}`);
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waiting.delete(wake);
          deadline.removeEventListener("abort", wake);
          resolve();
        };
        this.#waiting.add(wake);
        deadline.addEventListener("abort", wake);
      });
    }
  }

  /** The exit code of a process that ends by itself. */
  async finished(): Promise<number | null> {
    const timeout = AbortSignal.timeout(WAIT_TIMEOUT_MS);
    const overrun = new Promise<never>((_, reject) => {
      timeout.addEventListener("abort", () => reject(new Error(`did not end in time:\n${this.#output}`)));
    });
    return (await Promise.race([this.exit, overrun])).code;
  }

  async signal(signal: NodeJS.Signals): Promise<Exit> {
    if (this.isRunning) this.#child.kill(signal);
    return this.exit;
  }

  #read(line: string): void {
    this.#output += `${line}\n`;
    if (!line.startsWith("{")) return;
    try {
      const value = JSON.parse(line) as GlossaEvent;
      if (typeof value.event === "string") this.events.push(value);
    } catch {
      // A line of text that begins with a brace is still in the output.
    }
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}

/** A scratch network: one directory, the processes in it, and a way to end them all. */
export class TestBed {
  readonly directory: string;
  readonly #processes: GlossaProcess[] = [];

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(): Promise<TestBed> {
    return new TestBed(await mkdtemp(join(tmpdir(), "glossa-e2e-")));
  }

  run(...args: string[]): GlossaProcess {
    return this.runBehind([], ...args);
  }

  runBehind(prefix: readonly string[], ...args: string[]): GlossaProcess {
    const environment = {
      GLOSSA_HOME: join(this.directory, "home"),
      GLOSSA_RUNTIME_DIR: join(this.directory, "runtime"),
    };
    const child = new GlossaProcess(args, environment, prefix);
    this.#processes.push(child);
    return child;
  }

  /** The first `bytes` bytes or so of one of the demo's corpora, cut between documents. */
  async corpus(name: "en-novels" | "es-scripture" | "zh-poetry", bytes: number): Promise<string> {
    const text = gunzipSync(await readFile(join(CORPORA, `${name}.txt.gz`))).toString("utf8");
    const path = join(this.directory, `${name}.txt`);
    await writeFile(path, text.slice(0, text.lastIndexOf("\n\n", bytes)));
    return path;
  }

  async close(): Promise<void> {
    await Promise.all(this.#processes.map((child) => child.signal("SIGKILL")));
    await rm(this.directory, { recursive: true, force: true });
  }
}
