// `glossa demo`: the whole system on this machine in about two minutes, with progress and a table at the end.
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { z } from "zod";
import { demoCorpora } from "../demo/corpora.ts";
import { advance, beginning, eventLine, progressLines } from "../demo/progress.ts";
import { DemoFailedError, resultLines } from "../demo/report.ts";
import { runDemo } from "../demo/run-demo.ts";
import type { GlossaEvent } from "../observability/events.ts";
import { flagSwitch, integer, setting, text, UsageError } from "../settings.ts";
import { LiveRegion } from "../terminal/live-region.ts";
import { paintFor } from "../terminal/paint.ts";
import { type CommandContext, defineCommand } from "./command.ts";

/** A terminal is redrawn at most this often: events come by the hundred. */
const REDRAW_INTERVAL_MS = 100;

export const demoCommand = defineCommand({
  name: "demo",
  summary: "See it work: three languages, three vocabularies, one body, on this machine.",
  description:
    "Starts a rendezvous and three peers as processes of their own on loopback. Each trains a vocabulary and " +
    "embeddings on its own language; together they train one body and end with the same bits of it.",
  settings: z.object({
    rounds: setting(integer(1, 1000).default(12), {
      description: "Rounds to train and average.",
      value: "N",
    }),
    directory: setting(text("must be an empty directory").optional(), {
      description: "Where states and logs go; stays after the end.",
      value: "DIRECTORY",
      defaultText: "a temporary one",
    }),
    keep: setting(flagSwitch(), { description: "Do not remove the temporary directory at the end." }),
  }),
  examples: [
    ["glossa demo", "About two minutes on two idle cores"],
    ["glossa demo --rounds 3 --keep", "A short one, and look at its logs afterwards"],
    ["glossa demo --json | tail -1 | jq .savings", "For programs"],
  ],
  async run({ rounds, directory, keep }, context) {
    const corpora = await demoCorpora();
    const place =
      directory === undefined
        ? await mkdtemp(join(tmpdir(), "glossa-demo-"))
        : await emptyDirectory(directory);
    const remove = directory === undefined && !keep;
    const view = openView(
      corpora.map(({ name }) => name),
      rounds,
      context,
    );
    try {
      const result = await runDemo(
        { corpora, rounds, directory: place, onEvent: view.onEvent },
        context.signal,
      );
      view.end("replace");
      const { stdout, flags, environment } = context;
      const lines = flags.json
        ? [JSON.stringify(result)]
        : resultLines(result, paintFor(stdout, environment));
      stdout.write(`${lines.join("\n")}\n`);
    } catch (error) {
      view.end("keep");
      if (error instanceof DemoFailedError && remove) {
        throw new DemoFailedError(`${error.reason}; run it again with --keep to have the logs`);
      }
      throw error;
    } finally {
      if (remove) await rm(place, { recursive: true, force: true });
      else context.stderr.write(`States and logs are in ${place}\n`);
    }
  },
});

async function emptyDirectory(directory: string): Promise<string> {
  const path = resolve(directory);
  await mkdir(path, { recursive: true });
  if ((await readdir(path)).length > 0)
    throw new UsageError(`--directory ${directory} is not empty: give another one.`);
  return path;
}

interface View {
  onEvent(name: string, event: GlossaEvent): void;
  /** What was drawn last stays, or gives way to the result. */
  end(last: "keep" | "replace"): void;
}

/** Draws over itself on a terminal; prints a line for the events that matter elsewhere (to stderr with --json). */
function openView(names: readonly string[], rounds: number, context: CommandContext): View {
  const output = context.flags.json ? context.stderr : context.stdout;
  const paint = paintFor(output, context.environment);
  const startedAt = performance.now();
  if (output.isTTY !== true) {
    const seconds = () => ((performance.now() - startedAt) / 1000).toFixed(1).padStart(6);
    return {
      onEvent(name, event) {
        const line = eventLine(name, event);
        if (line !== undefined) output.write(`${seconds()} s  ${line}\n`);
      },
      end() {},
    };
  }
  const region = new LiveRegion(output);
  let progress = beginning(names);
  const draw = () => region.draw(progressLines(progress, rounds, paint));
  draw();
  let drawnAt = performance.now();
  return {
    onEvent(name, event) {
      progress = advance(progress, name, event);
      if (performance.now() - drawnAt < REDRAW_INTERVAL_MS) return;
      draw();
      drawnAt = performance.now();
    },
    end(last) {
      if (last === "keep") draw();
      else region.clear();
      region.end();
    },
  };
}
