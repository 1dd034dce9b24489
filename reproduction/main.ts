// `npm run reproduce`: runs the experiments that are not finished yet and writes the report of those that are.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import type { Cell, Experiment } from "./cells.ts";
import { corporaIn, embeddedCorpora } from "./corpora.ts";
import { cellsOf, chosenRates, gridOf, selected } from "./plan.ts";
import { writeReport } from "./report/write-report.ts";
import { type CellContext, runCell } from "./run-cell.ts";
import { type ChildMessage, runCells } from "./runner.ts";
import { SCALES, type ScaleName } from "./settings.ts";
import { CellStore } from "./store.ts";
import { Vocabularies } from "./vocabularies.ts";

const USAGE = `npm run reproduce -- [--corpora DIR] [--quick] [--seeds 1,2,3] [--only WORDS] [--jobs N] [--output DIR] [--publish]
  --corpora DIR  texts by source, with a manifest.json (docs/reproduction.md says of which form); default: the three
                 that come with glossa
  --quick        a smaller model and budget: minutes instead of an hour
  --scale NAME   ${Object.keys(SCALES).join(", ")}; --quick is --scale quick (default full)
  --seeds LIST   one reproduction each; which source is held out goes by the seed (default 1,2,3; --quick 1)
  --only WORDS   methods (std, act, local, glob, trim, spec, spec-opt, untrained), one exactly ("std τ 0",
                 "std τ 0 by tokens", "glob float32") or phases (pretrain, phase2, kept, adapt), and what they
                 need; with commas
  --jobs N       cells at once, a process of one thread each (default 1)
  --output DIR   where finished cells are kept: the same command goes on (default reproduction-output)
  --publish      write the report to docs/ (docs/reproduction/NAME at another scale than full) instead of the output folder
  --report       run nothing: write the report of what is there`;

/** Words on the published results, and on no others. */
const FINDINGS = new URL("./report/findings.md", import.meta.url);

/** A cell that is killed loses at most this, or a round. */
const CHECKPOINT_INTERVAL_MS = 20_000;

const OPTIONS = {
  corpora: { type: "string" },
  quick: { type: "boolean", default: false },
  scale: { type: "string" },
  seeds: { type: "string" },
  only: { type: "string" },
  jobs: { type: "string", default: "1" },
  output: { type: "string", default: "reproduction-output" },
  publish: { type: "boolean", default: false },
  report: { type: "boolean", default: false },
  cell: { type: "string" },
  help: { type: "boolean", default: false },
} as const;

/** The command line. Resolves to the process' exit code. */
export async function reproduce(args: string[], signal: AbortSignal): Promise<number> {
  const { values: flags } = parseArgs({ args, options: OPTIONS });
  if (flags.help) {
    console.log(USAGE);
    return 0;
  }
  const scale = SCALES[scaleName(flags.scale ?? (flags.quick ? "quick" : "full"))];
  const seeds = numbers("seeds", flags.seeds ?? (flags.quick ? "1" : "1,2,3"));
  const [jobs] = numbers("jobs", flags.jobs) as [number];
  const corpora = flags.corpora === undefined ? await embeddedCorpora() : await corporaIn(flags.corpora);
  const experiment: Experiment = { scale, corpora };
  const store = await CellStore.open(join(flags.output, "cells"));
  const context: Omit<CellContext, "onSteps"> = {
    experiment,
    vocabularies: new Vocabularies(join(flags.output, "cache"), corpora, scale),
    store,
    checkpointIntervalMs: CHECKPOINT_INTERVAL_MS,
    nowMs: () => performance.now(),
  };
  if (flags.cell !== undefined) return runAsChild(JSON.parse(flags.cell) as Cell, context, signal);

  const only = flags.only?.split(",");
  const runner = { jobs, childArguments: args };
  const finished = (cell: Cell) => store.finished(cell.id);
  const rates = () => chosenRates(experiment, seeds, finished);
  if (!flags.report) {
    await runCells(gridOf(experiment, seeds), runner, context, process.stdout, signal);
    const cells = selected(cellsOf(experiment, seeds, await rates()), only);
    await runCells(cells, runner, context, process.stdout, signal);
  }
  const chosen = await rates();
  const all = [...gridOf(experiment, seeds), ...selected(cellsOf(experiment, seeds, chosen), only)];
  // What the grid chose is among the others too.
  const cells = [...new Map(all.map((cell) => [cell.id, cell])).values()];
  const isFull = scale.name === "full";
  const published = isFull ? "docs" : join("docs", "reproduction", scale.name);
  const directory = flags.publish ? published : flags.output;
  const report = await writeReport({
    ...{ experiment, seeds, rates: chosen, cells, finished, directory },
    command: commandOf(scale.name, seeds, flags.corpora !== undefined, flags.only),
    findings: flags.publish && isFull ? await readFile(FINDINGS, "utf8") : undefined,
  });
  console.log(`${report.path}: ${report.finished} of ${report.cells} cells`);
  return 0;
}

/** Every --jobs process: one cell, progress and failure as messages. */
async function runAsChild(
  cell: Cell,
  context: Omit<CellContext, "onSteps">,
  signal: AbortSignal,
): Promise<number> {
  const say = (message: ChildMessage) => process.send?.(message);
  let saidMs = 0;
  try {
    await runCell(
      cell,
      {
        ...context,
        onSteps(done) {
          if (performance.now() - saidMs < 500) return;
          saidMs = performance.now();
          say({ done });
        },
      },
      signal,
    );
    return 0;
  } catch (error) {
    say({ failed: (error as Error).message });
    return 1;
  } finally {
    if (process.connected) process.disconnect();
  }
}

/** What a reader types to get the same; where the corpora lie is the reader's business. */
function commandOf(
  scale: string,
  seeds: readonly number[],
  hasCorpora: boolean,
  only: string | undefined,
): string {
  const size = scale === "full" ? "" : ` --scale ${scale}`;
  return `npm run reproduce --${hasCorpora ? " --corpora DIR" : ""}${size} --seeds ${seeds.join(",")}${only === undefined ? "" : ` --only "${only}"`}`;
}

function scaleName(name: string): ScaleName {
  if (Object.hasOwn(SCALES, name)) return name as ScaleName;
  throw new Error(`--scale is "${name}"; give ${Object.keys(SCALES).join(", ")}.`);
}

function numbers(flag: string, list: string): number[] {
  const values = list.split(",").map(Number);
  if (values.every((value) => Number.isSafeInteger(value) && value > 0)) return values;
  throw new Error(`--${flag} is "${list}"; give whole numbers from 1, separated by commas.`);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => controller.abort());
  process.exitCode = await reproduce(process.argv.slice(2), controller.signal).catch((error: unknown) => {
    console.error((error as Error).message);
    return 1;
  });
}
