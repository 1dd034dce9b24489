// The `glossa` command: finds the command, reads its settings, runs it, and reports what went wrong in one sentence.
// The only place that touches the process' exit code and its signals.
import { globalFlagsIn, nearestWord, readSettings, UsageError } from "../settings.ts";
import type { Command, CommandContext } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { INTERRUPTED_EXIT } from "./exit-codes.ts";
import { helpOf, overview } from "./help.ts";
import { reportError } from "./report-error.ts";

/** Entry of the launcher: runs `argv` against the real process and sets its exit code. Never rejects. */
export async function main(argv: readonly string[]): Promise<void> {
  const controller = new AbortController();
  const seen = new Set<NodeJS.Signals>();
  const interrupt = (signal: NodeJS.Signals) => {
    // Ctrl-C in a terminal reaches a parent and its children, and the parent then ends them with SIGTERM: only the
    // same signal twice means impatience.
    if (seen.has(signal)) process.exit(INTERRUPTED_EXIT);
    seen.add(signal);
    controller.abort();
  };
  process.on("SIGINT", interrupt);
  process.on("SIGTERM", interrupt);
  // A child of another glossa (the demo) leaves when its parent is gone, however that went.
  process.once("disconnect", () => controller.abort());
  // Listening alone must not keep the process alive.
  process.channel?.unref();
  // A reader that goes away (`glossa stats | head -1`) has what it wanted: the work is over, and nothing went wrong.
  let hasReader = true;
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    hasReader = false;
    controller.abort();
  });
  const { stdout, stderr, env: environment } = process;
  const exitCode = await runCli(argv, { signal: controller.signal, stdout, stderr, environment });
  process.exitCode = exitCode === INTERRUPTED_EXIT && !hasReader ? 0 : exitCode;
  process.off("SIGINT", interrupt);
  process.off("SIGTERM", interrupt);
}

/** The command line as a function: everything it needs is an argument, its result is the exit code. Never rejects. */
export async function runCli(argv: readonly string[], world: Omit<CommandContext, "flags">): Promise<number> {
  const flags = globalFlagsIn(argv);
  try {
    const command = await commandOf(argv);
    if (command === undefined) {
      world.stdout.write(await overview(await Promise.all(COMMANDS.map(({ load }) => load()))));
      return 0;
    }
    if (flags.help) {
      world.stdout.write(helpOf(command));
      return 0;
    }
    const environment = command.readsEnvironment ? world.environment : undefined;
    const settings = readSettings(command.settings, argv.slice(1), environment, command.positionals);
    await command.run(settings, { ...world, flags });
    return 0;
  } catch (error) {
    // A command that leaves cleanly resolves; one that was cut off in the middle has no result to call success.
    if (world.signal.aborted && isAbort(error)) return INTERRUPTED_EXIT;
    const { exitCode, text } = reportError(error, flags);
    world.stderr.write(text);
    return exitCode;
  }
}

/** The command that the first word names; `undefined` asks for the overview. */
async function commandOf(argv: readonly string[]): Promise<Command | undefined> {
  const [name] = argv;
  if (name === undefined || name === "help" || name === "--help" || name === "-h") return undefined;
  const wanted = name === "--version" ? "version" : name;
  const entry = COMMANDS.find((candidate) => candidate.name === wanted);
  if (entry !== undefined) return entry.load();
  const names = COMMANDS.map((candidate) => candidate.name);
  const nearest = nearestWord(name, names);
  throw new UsageError(
    `There is no command ${name}; ${nearest ? `did you mean glossa ${nearest}?` : `the commands are ${names.join(", ")}.`}`,
  );
}

function isAbort(error: unknown): boolean {
  return (
    error instanceof Error &&
    (error.name === "AbortError" || (error as { code?: unknown }).code === "ABORT_ERR")
  );
}
