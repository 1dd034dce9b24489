// One `glossa` process that the demo started: its events, its log file and its end. Knows nothing of what it does.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { type GlossaEvent, readEvents } from "../observability/events.ts";

const LAUNCHER = fileURLToPath(new URL("../bin/glossa.js", import.meta.url));

/** After this a child that was asked to leave is ended. It saves within a second; a busy machine may take longer. */
const LEAVE_TIMEOUT_MS = 15_000;

/** Last lines of a child's log that an error quotes. */
const TAIL_LINES = 5;

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The last lines it printed to stderr. */
  readonly tail: readonly string[];
}

export interface GlossaProcess {
  readonly name: string;
  readonly pid: number;
  readonly events: AsyncIterable<GlossaEvent>;
  /** Resolves when the process has ended, for whatever reason; never rejects. */
  readonly exited: Promise<Exit>;
  /** Asks it to leave, ends it when it does not, and waits for its end. */
  stop(): Promise<void>;
}

/**
 * Starts `glossa` with these arguments on the Node that runs this one. The IPC channel carries no messages: its end
 * tells the child that this process is gone, however that went.
 */
export function startGlossa(name: string, args: readonly string[], logPath: string): GlossaProcess {
  const child = spawn(process.execPath, [LAUNCHER, ...args], {
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    // The caller's own settings are not the demo's.
    env: Object.fromEntries(
      Object.entries(process.env).filter(
        ([key]) => !key.startsWith("GLOSSA_") || key === "GLOSSA_RUNTIME_DIR",
      ),
    ),
  });
  const tail = keepTail(child.stderr!, logPath);
  const exited = endOf(child, tail);
  return {
    name,
    pid: child.pid ?? -1,
    events: readEvents(child.stdout!),
    exited,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), LEAVE_TIMEOUT_MS);
      await exited;
      clearTimeout(timer);
    },
  };
}

async function endOf(child: ChildProcess, tail: readonly string[]): Promise<Exit> {
  try {
    const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
    return { code, signal, tail };
  } catch (error) {
    return { code: null, signal: null, tail: [(error as Error).message] };
  }
}

/** Copies a stream to a file; the returned array always holds its last lines. */
function keepTail(stream: Readable, path: string): readonly string[] {
  const tail: string[] = [];
  let pending = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    const lines = (pending + chunk).split("\n");
    pending = lines.pop()!;
    tail.push(...lines.filter((line) => line.trim() !== ""));
    tail.splice(0, Math.max(0, tail.length - TAIL_LINES));
  });
  stream.pipe(createWriteStream(path));
  return tail;
}
