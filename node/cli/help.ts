// Renders `--help`: from the settings and examples of a command, or the list of commands. Pure text, no terminal codes.
import { GLOBAL_FLAGS, type Setting, settingsOf } from "../settings.ts";
import type { Command } from "./command.ts";

const WIDTH = 100;

export async function overview(commands: readonly Command[]): Promise<string> {
  return [
    "glossa: pre-train one language model across peers that share no vocabulary and no server.",
    "",
    "Usage: glossa <command> [flags]",
    "",
    "Commands:",
    ...columns(commands.map(({ name, summary }) => [name, summary])),
    "",
    "See everything work on this machine in about two minutes:  glossa demo",
    "Flags of a command:  glossa <command> --help",
    "",
  ].join("\n");
}

export function helpOf(command: Command): string {
  const settings = settingsOf(command.settings);
  const groups = Map.groupBy(settings, ({ meta }) => meta.group ?? "Flags");
  const required = settings.filter((entry) => entry.required);
  const positional = settings.find(({ key }) => key === command.positionals);
  const usage = [
    `glossa ${command.name}`,
    ...required.map(({ flag, meta }) => `--${flag} ${meta.value}`),
    settings.length > required.length ? "[flags]" : "",
    positional === undefined ? "" : `[${positional.meta.value}${positional.meta.list ? "…" : ""}]`,
  ];
  const globals = GLOBAL_FLAGS.map(({ flag, short, description }): [string, string] => [
    `--${flag}${short ? `, -${short}` : ""}`,
    description,
  ]);
  return [
    ...wrap(command.description, WIDTH),
    "",
    `Usage: ${usage.filter(Boolean).join(" ")}`,
    ...[...groups].flatMap(([group, entries]) => ["", `${group}:`, ...columns(entries.map(flagLine))]),
    "",
    "Everywhere:",
    ...columns(globals),
    ...(command.readsEnvironment
      ? ["", "A flag such as --log-level may also be set as GLOSSA_LOG_LEVEL in the environment; flags win."]
      : []),
    ...(command.examples.length === 0 ? [] : ["", "Examples:"]),
    ...command.examples.flatMap(([line, meaning]) => [`  # ${meaning}`, `  ${line}`]),
    "",
  ].join("\n");
}

function flagLine({ flag, meta, required, defaultText }: Setting): [string, string] {
  const notes = [
    required ? "Required." : "",
    defaultText === undefined ? "" : `Default: ${defaultText}.`,
    meta.list ? "May be repeated." : "",
  ];
  const head = meta.value === undefined ? `--${flag}` : `--${flag} ${meta.value}`;
  return [head, [meta.description, ...notes].filter(Boolean).join(" ")];
}

/** Two columns; a left side too long for its column gets a line of its own. */
function columns(rows: readonly (readonly [string, string])[]): string[] {
  const left = Math.min(28, Math.max(...rows.map(([head]) => head.length)));
  return rows.flatMap(([head, body]) => {
    const [first = "", ...rest] = wrap(body, WIDTH - left - 4);
    const indent = " ".repeat(left + 4);
    const lines = rest.map((line) => indent + line);
    if (head.length > left) return [`  ${head}`, indent + first, ...lines];
    return [`  ${head.padEnd(left)}  ${first}`.trimEnd(), ...lines];
  });
}

function wrap(text: string, width: number): string[] {
  return text.split("\n").flatMap((paragraph) => {
    const lines: string[] = [];
    let line = "";
    for (const word of paragraph.split(" ")) {
      if (line !== "" && line.length + 1 + word.length > width) {
        lines.push(line);
        line = word;
      } else line = line === "" ? word : `${line} ${word}`;
    }
    return [...lines, line];
  });
}
