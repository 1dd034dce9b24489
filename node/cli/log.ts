// `glossa log`: how a peer's body came to be, read from its update log.
import { z } from "zod";
import { LogNotFoundError } from "../auditing/errors.ts";
import { findLog } from "../auditing/find-log.ts";
import {
  beginningOf,
  entriesOf,
  type LogEntry,
  type LogSelection,
  roundOf,
  selected,
} from "../auditing/log-entries.ts";
import { entryLine, entryText } from "../auditing/log-text.ts";
import { readTerms } from "../auditing/run-terms.ts";
import { flagSwitch, setting, text, UsageError } from "../settings.ts";
import { followUpdateLog, readLogRun, readUpdateLog } from "../storage/update-log-reader.ts";
import { paintFor } from "../terminal/paint.ts";
import { type CommandContext, defineCommand } from "./command.ts";

/** Before --follow goes on, unless rounds were asked for. */
const SHOWN_BEFORE_FOLLOWING = 10;
const ROUNDS = /^(\d*)(\.\.)?(\d*)$/;

/** Which peer's log; shared with `glossa verify`. */
export const logReference = {
  peer: setting(text("must be a peer").optional(), {
    description: "The state directory of a peer, or the name of one that runs or has run here.",
    value: "NAME|DIRECTORY",
    defaultText: "the only one",
  }),
  group: setting(text("must be a name").optional(), {
    description: "The log of the peer's group of this name, which is about its embedding.",
    value: "NAME",
  }),
};

export const logCommand = defineCommand({
  name: "log",
  summary: "Show how a peer's body came to be: who contributed what, round by round.",
  description:
    "Lists the closed rounds of a peer that runs or not, newest first: the body's root after each, and of each update its author, " +
    "the tokens it was trained on, their bits per byte, the size of its payload, its weight, and the body it was trained from. Late ones came when " +
    "this peer was in a later round already. Where the peer took a body from another one, the log begins anew. " +
    "Signatures are not checked here: that is `glossa verify`.",
  settings: z.object({
    ...logReference,
    round: setting(
      z.string().regex(ROUNDS, { error: "must be a round, or two as A..B, A.. or ..B" }).optional(),
      { description: "These rounds only.", value: "A..B", defaultText: "all" },
    ),
    author: setting(text("must be a peer").optional(), {
      description: "Updates of this author only: a name, a peer id, or the end of one.",
      value: "PEER",
    }),
    oneline: setting(flagSwitch(), { description: "One line for each round." }),
    follow: setting(flagSwitch(), {
      description: "The last rounds, oldest first, and then those to come, until stopped.",
    }),
  }),
  examples: [
    ["glossa log", "Of the only peer on this machine"],
    [
      "glossa log --peer ada --round 10..20 --author bruno",
      "What bruno gave in ten rounds, as ada counted it",
    ],
    ["glossa log --peer ~/.glossa/3f2a…/ada --oneline --follow", "By its state directory, as rounds close"],
    ["glossa log --json | jq .bodyRoot", "For programs"],
  ],
  async run({ peer, group, round, author, oneline, follow }, context) {
    const directory = await findLog({ peer, group }, context.environment);
    const [log, run] = [await readUpdateLog(directory), await readLogRun(directory)];
    if (log === undefined || run === undefined) {
      throw new LogNotFoundError(`in ${directory}`, "it begins when the peer holds its first body");
    }
    const { config } = readTerms(run.runId, run.manifest, directory);
    const names = new Map(log.history.names);
    const show = printer({ ...roundsOf(round), author }, oneline, context);
    const past = entriesOf(log.history.lineages, { config, names });
    if (!follow) return past.reverse().forEach(show);
    past.slice(round === undefined ? -SHOWN_BEFORE_FOLLOWING : 0).forEach(show);
    for await (const record of followUpdateLog(directory, log.end, context.signal)) {
      if (record.kind === "named") names.set(record.peer, record.name);
      if (record.kind === "began") show(beginningOf(record, { config, names }));
      if (record.kind === "round") show(roundOf(record, { config, names }));
    }
  },
});

function printer(
  selection: LogSelection,
  oneline: boolean,
  { stdout, flags, environment, signal }: CommandContext,
): (entry: LogEntry) => void {
  const paint = paintFor(stdout, environment);
  return (entry) => {
    const shown = selected(entry, selection);
    // Whoever reads has seen enough (`glossa log | head`).
    if (shown === undefined || signal.aborted) return;
    const lines = flags.json
      ? [JSON.stringify(shown)]
      : oneline
        ? [entryLine(shown, paint)]
        : entryText(shown, paint);
    stdout.write(lines.map((line) => `${line}\n`).join(""));
  };
}

function roundsOf(given: string | undefined): Pick<LogSelection, "firstRound" | "lastRound"> {
  const [, first = "", range, last = ""] = ROUNDS.exec(given ?? "..")!;
  if (range === undefined && first === "") throw new UsageError("--round must be a round, or two as A..B.");
  const firstRound = first === "" ? 0 : Number(first);
  const lastRound = range === undefined ? firstRound : last === "" ? Number.POSITIVE_INFINITY : Number(last);
  if (lastRound < firstRound) throw new UsageError(`--round ${given} ends before it begins.`);
  return { firstRound, lastRound };
}
