// Why the trainer's process ended, in one clause for a person, from what the system tells of it and what it last said. Pure.

/** How a process ended that nobody asked to. */
export interface Ending {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Its last lines on stderr, oldest first. */
  readonly lastWords: readonly string[];
  /** Processes that the kernel killed for want of memory while it ran; `undefined` where that is not known. */
  readonly memoryKills: number | undefined;
  /** It could not even be started. */
  readonly startError?: Error | undefined;
}

export interface CrashCause {
  readonly kind: "memory" | "fault" | "killed" | "exit";
  /** Fits behind "because": a clause without a full stop. */
  readonly clause: string;
  /** What usually helps, as an imperative. */
  readonly remedy: string;
}

const SMALLER = "take a smaller --micro-batch or --recompute";
const ANOTHER_DEVICE = `take another --device, ${SMALLER.slice("take ".length)}`;

/** What they say when memory ends: C++, onnxruntime's arenas, V8 in a process and in a thread, CUDA. */
const MEMORY_WORDS =
  /allocation failed|bad_alloc|bad allocation|Failed to allocate memory|Available memory of \d+ is smaller|heap out of memory|OutOfMemory|out of memory|Cannot allocate memory/i;

const FAULTS: Readonly<Partial<Record<NodeJS.Signals, string>>> = {
  SIGABRT: "the runtime aborted",
  SIGSEGV: "the runtime touched memory that is not its own",
  SIGBUS: "the runtime touched memory that is not there",
  SIGILL: "the runtime used an instruction that this processor lacks",
  SIGFPE: "the runtime calculated what cannot be calculated",
  SIGTRAP: "the runtime gave up",
};

export function causeOf(ending: Ending): CrashCause {
  const { exitCode, signal, lastWords, memoryKills, startError } = ending;
  const how = signal ?? `exit code ${exitCode}`;
  if (startError !== undefined) {
    const remedy = "free memory and processes";
    return { kind: "exit", clause: `its process could not be started: ${startError.message}`, remedy };
  }
  if (signal === "SIGKILL") {
    if (memoryKills !== undefined && memoryKills > 0) {
      return { kind: "memory", clause: `the system killed it for want of memory (${how})`, remedy: SMALLER };
    }
    const who = memoryKills === undefined ? "somebody, or the system for want of memory," : "somebody";
    return { kind: "killed", clause: `${who} killed it (${how})`, remedy: SMALLER };
  }
  const memory = lastWords.findLast((line) => MEMORY_WORDS.test(line));
  if (memory !== undefined) {
    return { kind: "memory", clause: `memory ran out (${how}: ${shown(memory)})`, remedy: SMALLER };
  }
  const said = lastWords.findLast((line) => line.trim() !== "");
  const words = said === undefined ? how : `${how}: ${shown(said)}`;
  const fault = signal === null ? undefined : FAULTS[signal];
  if (fault !== undefined) return { kind: "fault", clause: `${fault} (${words})`, remedy: ANOTHER_DEVICE };
  if (signal !== null) return { kind: "killed", clause: `somebody ended it (${how})`, remedy: SMALLER };
  return { kind: "exit", clause: `it ended by itself (${words})`, remedy: ANOTHER_DEVICE };
}

const SHOWN_CHARACTERS = 160;

function shown(line: string): string {
  const text = line.trim().replaceAll(/\s+/g, " ");
  return text.length <= SHOWN_CHARACTERS ? text : `${text.slice(0, SHOWN_CHARACTERS - 1)}…`;
}
