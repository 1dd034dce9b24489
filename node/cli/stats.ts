// `glossa stats`: asks the running peers of this user on this machine how they are.
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { askStatus, findPeers, type Wanted } from "../observability/control-client.ts";
import type { PeerStatus } from "../observability/status.ts";
import { statusText } from "../observability/status-text.ts";
import { decimal, flagSwitch, setting, text } from "../settings.ts";
import { LiveRegion } from "../terminal/live-region.ts";
import { type Paint, paintFor } from "../terminal/paint.ts";
import { type CommandContext, defineCommand } from "./command.ts";

export const statsCommand = defineCommand({
  name: "stats",
  summary: "Show how the peers on this machine are doing.",
  description:
    "Asks running peers for their round, the root of their body and whether the others have the same, traffic, " +
    "speed and learning. With --json, one object a line, in a format that is kept stable.",
  settings: z.object({
    stateDir: setting(text("must be a directory").optional(), {
      description: "The peer with this state directory.",
      value: "DIRECTORY",
      defaultText: "all running peers",
    }),
    name: setting(text("must be a name").optional(), {
      description: "The peers with this name.",
      value: "NAME",
    }),
    watch: setting(flagSwitch(), { description: "Keep showing, until stopped." }),
    intervalSeconds: setting(decimal(0.1, 3600).default(1), {
      description: "Time between two looks of --watch.",
      value: "SECONDS",
    }),
  }),
  examples: [
    ["glossa stats", "One look at every peer that runs here"],
    ["glossa stats --watch --name ada", "Keep an eye on one of them"],
    ["glossa stats --json | jq .bodyRoot", "For programs"],
  ],
  async run({ watch, intervalSeconds, ...wanted }, context) {
    if (!watch) {
      await show(wanted, context);
      return;
    }
    await keepShowing(wanted, intervalSeconds * 1000, context);
  },
});

/** A peer may leave between being found and being asked: an error only when nobody answers. */
async function look(wanted: Wanted, { signal, environment }: CommandContext): Promise<readonly PeerStatus[]> {
  const records = await findPeers(wanted, environment);
  const answers = await Promise.allSettled(records.map((record) => askStatus(record, signal)));
  const statuses = answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
  if (statuses.length > 0) return statuses;
  throw (answers.find((answer) => answer.status === "rejected") as PromiseRejectedResult).reason;
}

async function show(wanted: Wanted, context: CommandContext): Promise<void> {
  const statuses = await look(wanted, context);
  const lines = context.flags.json
    ? statuses.map((status) => JSON.stringify(status))
    : textOf(statuses, paintFor(context.stdout, context.environment));
  context.stdout.write(lines.map((line) => `${line}\n`).join(""));
}

/** Draws over itself on a terminal, prints one look after another elsewhere. Ends when stopped or when no peer is left. */
async function keepShowing(wanted: Wanted, intervalMs: number, context: CommandContext): Promise<void> {
  const { stdout, signal, flags, environment } = context;
  const inPlace = stdout.isTTY === true && !flags.json;
  const region = inPlace ? new LiveRegion(stdout) : undefined;
  try {
    while (!signal.aborted) {
      if (region === undefined) await show(wanted, context);
      else region.draw(textOf(await look(wanted, context), paintFor(stdout, environment)));
      // Being stopped is how watching ends.
      await delay(intervalMs, undefined, { signal }).catch(() => {});
    }
  } finally {
    region?.end();
  }
}

function textOf(statuses: readonly PeerStatus[], paint: Paint): string[] {
  return statuses.flatMap((status, index) => [...(index === 0 ? [] : [""]), ...statusText(status, paint)]);
}
