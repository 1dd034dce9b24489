// What a command of `glossa` is. Commands hold no parsing and no error handling: main.ts does both for all of them.
import type { z } from "zod";
import type { GlobalFlags } from "../settings.ts";
import type { Output } from "../terminal/output.ts";

export interface CommandContext {
  /** Fires on the first Ctrl-C or SIGTERM: leave cleanly. A second one ends the process at once. */
  readonly signal: AbortSignal;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly flags: GlobalFlags;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface Command<Schema extends z.ZodObject = z.ZodObject> {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Paragraphs for the command's own help. */
  readonly description: string;
  readonly settings: Schema;
  /** The setting that takes the words without a flag, one word where it is no list; absent: such words are refused. */
  readonly positionals?: (keyof z.output<Schema> & string) | undefined;
  /** Settings may also come from GLOSSA_* variables: for processes that run as services. */
  readonly readsEnvironment?: boolean;
  /** What to type, and what it does. */
  readonly examples: readonly (readonly [command: string, meaning: string])[];
  /** Resolves when the work is done or was left cleanly; rejects with a typed error, which main.ts reports. */
  run(settings: z.output<Schema>, context: CommandContext): Promise<void>;
}

/** Lets the compiler tie the type of `run`'s settings to the schema. */
export function defineCommand<Schema extends z.ZodObject>(command: Command<Schema>): Command<Schema> {
  return command;
}
