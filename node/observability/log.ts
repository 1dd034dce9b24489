// Logs: one line for people on a terminal, one JSON object a line otherwise, always on stderr (stdout belongs to results
// and events). Never logs what a peer was trained on: fields that could hold text are dropped wherever they appear.
import type { Writable } from "node:stream";
import { type DestinationStream, type Logger, pino } from "pino";
import { clockTime } from "../terminal/format.ts";
import type { Output } from "../terminal/output.ts";
import { type Paint, paintFor } from "../terminal/paint.ts";

export type { Logger } from "pino";

export interface LogOptions {
  readonly level: string;
  /** `auto` is `human` on a terminal and `json` elsewhere. */
  readonly format: "auto" | "human" | "json";
  /** Who speaks; part of every line. */
  readonly name: string;
}

/** Names of fields that hold a peer's private data, at the top or one level down. */
const PRIVATE_FIELDS = ["text", "texts", "document", "documents", "sample", "line", "privateKey"];

/** Identifiers that are longer than a person reads. */
const SHORTENED = /^(?:[0-9a-f]{64}|12D3Koo\w+)$/;
const SHORTENED_CHARACTERS = 12;

export function createLog(
  { level, format, name }: LogOptions,
  output: Output = process.stderr,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Logger {
  const human = format === "human" || (format === "auto" && output.isTTY === true);
  return pino(
    {
      level,
      base: { name },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: PRIVATE_FIELDS.flatMap((field) => [field, `*.${field}`]), remove: true },
    },
    human ? humanStream(output, paintFor(output, environment)) : output,
  );
}

/** pino writes JSON; people get `12:30:41 warn  ada  Message  key=value`, and the stack of an error below it. */
function humanStream(output: Writable, paint: Paint): DestinationStream {
  return { write: (line) => output.write(humanLine(line, paint)) };
}

export function humanLine(line: string, paint: Paint): string {
  const { level, time, name, msg, err, ...fields } = JSON.parse(line) as Record<string, unknown> & {
    level: number;
    time: string;
    err?: { message?: string; stack?: string };
  };
  const label = pino.levels.labels[level] ?? String(level);
  const colour = level >= 50 ? "red" : level >= 40 ? "yellow" : level <= 20 ? "gray" : "cyan";
  const details = Object.entries(fields).map(([key, value]) => `${key}=${shown(value)}`);
  if (err?.message !== undefined) details.push(`error=${JSON.stringify(err.message)}`);
  const head = [
    paint("gray", clockTime(new Date(time))),
    paint(colour, label.padEnd(5)),
    String(name),
    msg ?? "",
  ].join(" ");
  const stack = level >= 50 && err?.stack !== undefined ? `\n${paint("gray", err.stack)}` : "";
  return `${head}${details.length > 0 ? `  ${paint("gray", details.join(" "))}` : ""}${stack}\n`;
}

function shown(value: unknown): string {
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : value.toPrecision(4);
  if (typeof value !== "string") return JSON.stringify(value);
  if (SHORTENED.test(value))
    return value.slice(value.startsWith("12D3") ? -SHORTENED_CHARACTERS : 0).slice(0, SHORTENED_CHARACTERS);
  return /^[\w./:@+-]+$/.test(value) ? value : JSON.stringify(value);
}
