// Entries of an update log for people, as git shows commits. Pure.
import { bytes, count, fixed, shortPeer, shortRoot } from "../terminal/format.ts";
import type { Paint } from "../terminal/paint.ts";
import { table } from "../terminal/table.ts";
import type { LogEntry, LoggedContribution } from "./log-entries.ts";

type Logged = Extract<LogEntry, { event: "round-logged" }>;
type Began = Extract<LogEntry, { event: "log-began" }>;

/** Some lines, with an empty one at their end. */
export function entryText(entry: LogEntry, paint: Paint): string[] {
  switch (entry.event) {
    case "round-unreadable":
      return [paint("red", `round ${entry.round}  its record is damaged`), ""];
    case "log-began":
      return [
        `${paint("cyan", `begin of round ${entry.closedRound}`)}  body ${entry.bodyRoot}`,
        paint("gray", `  ${dateText(entry.time)}`),
        `  ${causeText(entry)}`,
        "",
      ];
    case "round-logged": {
      const { round, bodyRoot, time, updates } = entry;
      return [
        `${paint("yellow", `round ${round}`)}  body ${bodyRoot}`,
        paint("gray", `  ${dateText(time)}`),
        ...updateRows(updates, paint).map((line) => `  ${line}`),
        "",
      ];
    }
  }
}

export function entryLine(entry: LogEntry, paint: Paint): string {
  switch (entry.event) {
    case "round-unreadable":
      return paint("red", `${entry.round} damaged`);
    case "log-began":
      return `${paint("cyan", String(entry.closedRound))} ${shortRoot(entry.bodyRoot)} ${causeText(entry)}`;
    case "round-logged":
      return (
        `${paint("yellow", String(entry.round))} ${shortRoot(entry.bodyRoot)} ` +
        `${entry.updates.map(whoText).join(", ") || "no updates"}${paint("gray", sumText(entry))}`
      );
  }
}

function updateRows(updates: readonly LoggedContribution[], paint: Paint): string[] {
  if (updates.length === 0) return [paint("gray", "no updates: the body stays")];
  const columns = [
    ...[{ title: "author" }, { title: "" }, { title: "tokens", align: "right" as const }],
    ...[
      { title: "bits/byte", align: "right" as const },
      { title: "payload", align: "right" as const },
    ],
    ...[{ title: "codec" }, { title: "weight", align: "right" as const }, { title: "base" }, { title: "" }],
  ];
  const rows = updates.map((update) => [
    paint("bold", update.name ?? "?"),
    paint("gray", `…${shortPeer(update.author)}`),
    ...[count(update.tokens), fixed(update.bitsPerByte, 3), bytes(update.payloadBytes), update.codec],
    ...[String(update.weight), shortRoot(update.baseRoot)],
    remarks(update, paint),
  ]);
  return table(columns, rows, (title) => paint("gray", title));
}

function remarks({ late, heldRows, restraint }: LoggedContribution, paint: Paint): string {
  const said = [
    ...(restraint === undefined ? [] : [paint("yellow", restraintText(restraint))]),
    ...(late ? [paint("yellow", "late")] : []),
    ...(heldRows === undefined ? [] : [`${heldRows} rows`]),
  ];
  return said.join(", ");
}

function restraintText({ why, kept }: NonNullable<LoggedContribution["restraint"]>): string {
  if (why === "clipped") return `clipped to ${Math.max(1, Math.round(100 * kept))}%`;
  return why === "opposed" ? "left out" : "same as another";
}

const whoText = ({ name, author, late }: LoggedContribution): string =>
  `${name ?? `…${shortPeer(author)}`}${late ? " (late)" : ""}`;

function sumText({ updates }: Logged): string {
  if (updates.length === 0) return "";
  const tokens = updates.reduce((sum, update) => sum + update.tokens, 0);
  const payloadBytes = updates.reduce((sum, update) => sum + update.payloadBytes, 0);
  return `  ${count(tokens)} tokens, ${bytes(payloadBytes)}`;
}

function causeText({ cause, donor, donorName }: Began): string {
  const whom = donor === undefined ? "another peer" : `${donorName ?? ""} …${shortPeer(donor)}`.trim();
  switch (cause) {
    case "genesis":
      return "the run's first body";
    case "resumed":
      return "the body of this peer's checkpoint: what came before is in no log here";
    case "join":
      return `joined with the body of ${whom}: this peer's log begins here`;
    case "behind":
      return `was left behind and took the body of ${whom}: the log begins anew here`;
    case "diverged":
      return `was outvoted and took the body of ${whom}: the log begins anew here`;
    case "gap":
      return "the log could not be written before: it begins anew here";
  }
}

function dateText(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? "" : `${date.toDateString()} ${date.toTimeString().slice(0, 8)}`;
}
