// Turns whatever was thrown into one sentence for a person, or one JSON object for a program.
import { exitEntryOf } from "./exit-codes.ts";

export interface ErrorReport {
  readonly exitCode: number;
  /** What goes to stderr, newline included. */
  readonly text: string;
}

/** `json`: `{"error":{code,message,remedy}}` on one line. `verbose` adds the stack with its causes. */
export function reportError(
  error: unknown,
  { json, verbose }: { json: boolean; verbose: boolean },
): ErrorReport {
  const { code, exit, remedy: usualRemedy } = exitEntryOf(error);
  const message = error instanceof Error ? error.message : String(error);
  const ownRemedy = (error as { remedy?: unknown } | null)?.remedy;
  const remedy = typeof ownRemedy === "string" ? ownRemedy : usualRemedy;
  const stack = verbose ? stackOf(error) : undefined;
  if (json) {
    const body = { error: { code, message, remedy, ...(stack === undefined ? {} : { stack }) } };
    return { exitCode: exit, text: `${JSON.stringify(body)}\n` };
  }
  // Our own messages already name cause and remedy; an unknown error gets the usual remedy beside it.
  const sentence =
    code === "UNEXPECTED" ? `${firstLine(message)} (${remedy})` : message.replace(/\s*\n\s*/g, " ");
  return { exitCode: exit, text: `glossa: ${sentence}\n${stack === undefined ? "" : `${stack}\n`}` };
}

function firstLine(message: string): string {
  return message.split("\n", 1)[0]!.trim();
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const own = error.stack ?? `${error.name}: ${error.message}`;
  return error.cause === undefined ? own : `${own}\nCaused by: ${stackOf(error.cause)}`;
}
