// Prints docs/configuration.md: every setting of every command and every exit code, from the schemas and tables that the
// program itself uses. `node node/cli/print-configuration.ts > docs/configuration.md`
import { pathToFileURL } from "node:url";
import { type Setting, settingsOf } from "../settings.ts";
import type { Command } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { EXIT_TABLE, INTERRUPTED_EXIT, UNEXPECTED } from "./exit-codes.ts";

export async function configurationDocument(): Promise<string> {
  const commands = await Promise.all(COMMANDS.map(({ load }) => load()));
  return [
    "<!-- Printed by node/cli/print-configuration.ts; a test keeps it current. -->",
    "# Configuration",
    "",
    "Two configurations are kept apart. What all peers of a run agree on is made once by `glossa init` and hashed into " +
      "the run's id. What a peer decides for itself is set by flags of `glossa peer`, or in the environment.",
    "",
    ...commands.flatMap(commandSection),
    ...exitSection(),
    "",
  ].join("\n");
}

function commandSection(command: Command): string[] {
  const settings = settingsOf(command.settings);
  if (settings.length === 0) return [];
  const groups = Map.groupBy(settings, ({ meta }) => meta.group ?? "");
  return [
    `## glossa ${command.name}`,
    "",
    markdownText(command.description),
    "",
    ...[...groups].flatMap(([group, entries]) => [
      ...(group === "" ? [] : [`### ${group}`, ""]),
      ...markdownTable(
        ["Flag", ...(command.readsEnvironment ? ["Environment"] : []), "Default", "Meaning"],
        entries.map((entry) => settingRow(entry, command.readsEnvironment === true)),
      ),
      "",
    ]),
  ];
}

function settingRow(
  { flag, environment, meta, required, defaultText }: Setting,
  readsEnvironment: boolean,
): string[] {
  const value = meta.value === undefined ? "" : ` ${meta.value}${meta.list ? " …" : ""}`;
  return [
    `\`--${flag}${value}\``,
    ...(readsEnvironment ? [`\`${environment}\``] : []),
    required ? "required" : (defaultText ?? (meta.value === undefined ? "off" : "none")),
    meta.description,
  ];
}

function exitSection(): string[] {
  const rows = EXIT_TABLE.map(({ exit, meaning, remedy, codes }) => [
    String(exit),
    meaning,
    remedy,
    codes.map((code) => `\`${code}\``).join(", "),
  ]);
  return [
    "## Exit codes",
    "",
    'Every failure gives one sentence on stderr; with `--json` it is `{"error":{code,message,remedy}}`.',
    "",
    ...markdownTable(
      ["Exit", "What went wrong", "What helps", "Codes"],
      [
        ["0", "nothing; also a peer that was asked to leave", "", ""],
        [String(UNEXPECTED.exit), UNEXPECTED.meaning, UNEXPECTED.remedy, "`UNEXPECTED`"],
        ...rows,
        [String(INTERRUPTED_EXIT), "stopped before there was a result", "", ""],
      ],
    ),
  ];
}

/** Padded, so that the table reads as well in a terminal and the formatter leaves it alone. */
function markdownTable(titles: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const cells = [titles, ...rows].map((row) => row.map((cell) => cell.replace(/[|<]/g, "\\$&")));
  const widths = titles.map((_, column) => Math.max(3, ...cells.map((row) => row[column]!.length)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`;
  const [head, ...body] = cells;
  return [line(head!), line(widths.map((width) => "-".repeat(width))), ...body.map(line)];
}

/** Indented lines of a description are a list. */
function markdownText(description: string): string {
  return description.replace(/\n {2}/, "\n\n- ").replace(/\n {2}/g, "\n- ");
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.stdout.write(await configurationDocument());
}
