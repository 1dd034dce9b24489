// Writes the report: reproduction.md, its plots and the raw results beside it. Everything in it but the findings is made
// from the finished cells.
import { mkdir } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import { writeAtomic } from "#node/storage/atomic-file.ts";
import { duration } from "#node/terminal/format.ts";
import { type Cell, type Experiment, heldOutUnder, labelOf, type Phase, sourcesOf } from "../cells.ts";
import { type Finished, gridOf } from "../plan.ts";
import { Results } from "./collect.ts";
import { compressionTable, measuredCostTable, paperCostTable } from "./cost-tables.ts";
import { type Figure, figures } from "./figures.ts";
import {
  adaptTable,
  bodyTable,
  directTable,
  gridTable,
  normTable,
  STEP_MATCHED,
  sourceTable,
  TOKEN_MATCHED,
  UNTRAINED,
  UNTUNED,
} from "./tables.ts";
import { CORPORA_FORMAT, INTRODUCTION, METHODS, setupText } from "./words.ts";

export interface ReportOptions {
  readonly experiment: Experiment;
  readonly seeds: readonly number[];
  /** std's learning rate by temperature. */
  readonly rates: ReadonlyMap<number, number>;
  /** All that there should be. */
  readonly cells: readonly Cell[];
  readonly finished: Finished;
  readonly directory: string;
  /** The command that runs what is missing. */
  readonly command: string;
  /** Words on the results, where they are these results'. */
  readonly findings: string | undefined;
}

const VARIANTS_IN_PLOTS = ["glob", "trim", "spec", "spec-opt"];
const BODIES_IN_PLOTS = [UNTRAINED, STEP_MATCHED, TOKEN_MATCHED, UNTUNED, "act", ...VARIANTS_IN_PLOTS];
/** As many steps each: one axis. */
const TRAININGS_IN_PLOTS = [
  STEP_MATCHED,
  "std τ 0 at DEPT's rate",
  "std τ 0.3",
  "std τ 1",
  "act",
  ...VARIANTS_IN_PLOTS,
];

export async function writeReport(options: ReportOptions) {
  const { experiment, seeds, cells, finished, directory } = options;
  const grid = gridOf(experiment, seeds);
  const inGrid = new Set(grid.map(({ id }) => id));
  const main = cells.filter(({ id, phase }) => phase !== "pretrain" || !inGrid.has(id));
  const chosen = cells.filter((cell) => isChosen(cell, options));
  const results = await Results.collect(experiment, [...chosen, ...main], finished);
  const folder = join(directory, "reproduction");
  await mkdir(folder, { recursive: true });
  const drawn = [
    ...figures(results, BODIES_IN_PLOTS, ["phase-2.svg", "plasticity.svg"]),
    ...figures(results, TRAININGS_IN_PLOTS, ["activations.svg", "parameters.svg"]),
  ];
  for (const { file, svg } of drawn) await writeAtomic(join(folder, file), svg);
  await writeRaw(folder, cells, finished);
  const missing = await missingOf(cells, finished);
  const path = join(directory, "reproduction.md");
  await writeAtomic(path, await compose(options, grid, results, drawn, missing));
  return { path, finished: cells.length - missing.length, cells: cells.length };
}

/** Of the grid's cells those that stand for std: the seed's own with the chosen rate. */
function isChosen({ phase, pretraining }: Cell, { rates }: ReportOptions): boolean {
  if (phase !== "pretrain" || pretraining?.method !== "std") return false;
  return rates.get(pretraining.temperature) === pretraining.learningRate;
}

/** One line a cell: what the tables are made of. */
async function writeRaw(folder: string, cells: readonly Cell[], finished: Finished): Promise<void> {
  const all = [];
  for (const cell of cells) {
    const done = await finished(cell);
    if (done !== undefined) all.push(done);
  }
  const lines = all.map((cell) => `${JSON.stringify(cell)}\n`);
  await writeAtomic(join(folder, "cells.jsonl"), lines.join(""));
}

async function missingOf(cells: readonly Cell[], finished: Finished): Promise<Cell[]> {
  const missing: Cell[] = [];
  for (const cell of cells) if ((await finished(cell)) === undefined) missing.push(cell);
  return missing;
}

async function compose(
  { experiment, seeds, finished, command, findings }: ReportOptions,
  grid: readonly Cell[],
  results: Results,
  drawn: readonly Figure[],
  missing: readonly Cell[],
): Promise<string> {
  const figure = (file: string) =>
    drawn.filter((each) => each.file === file).map(({ title }) => `![${title}](reproduction/${file})\n`);
  const gridSources = sourcesOf(experiment, heldOutUnder(experiment, seeds[0]!));
  const seconds = results.entries.reduce((sum, entry) => sum + entry.seconds, 0);
  return [
    "<!-- Written by `npm run reproduce`. The findings are reproduction/report/findings.md; change the words there. -->",
    "# DEPT, reproduced in small",
    "",
    INTRODUCTION,
    "",
    ...(findings === undefined ? [] : ["## What came out", "", findings.trim(), ""]),
    "## What was done",
    "",
    METHODS,
    "",
    setupText(experiment, seeds),
    "",
    `The learning rates of std, as the mean of bits per byte over the sources under seed ${seeds[0]}; each τ takes its best, ` +
      "with as many tokens too. As in the paper DEPT and act are not tuned.",
    "",
    await gridTable(grid, finished, gridSources),
    "",
    "## Bodies: phase 2 from random embeddings",
    "",
    "Every body gets a new random embedding of the global vocabulary and is trained on all sources that it was trained on, " +
      "the same sequences in the same order for all. In distribution: the mean over those sources.",
    "",
    bodyTable(results, "phase2"),
    "",
    ...figure("phase-2.svg"),
    "By source, in the mean over the seeds that train on it:",
    "",
    sourceTable(experiment, results, "phase2"),
    "",
    "## Bodies: going on with the trained embedding",
    "",
    "Where there is one for all sources, from half of the peak rate. For trim it is the whole embedding, as every peer keeps it.",
    "",
    bodyTable(results, "kept"),
    "",
    "## Directly: each source with the embedding trained on it",
    "",
    "The paper always replaces the embeddings; a peer of glossa uses its own. At the end of pre-training, no phase 2. Mind the " +
      "vocabularies: spec-opt and local have their own, trim and spec what the source uses of the global one.",
    "",
    directTable(experiment, results),
    "",
    "## Plasticity: adapting to the source that was held out",
    "",
    "New random embeddings of the global vocabulary, which knows nothing of that source, and training on its text alone.",
    "",
    adaptTable(results),
    "",
    ...figure("plasticity.svg"),
    "## Memory and communication",
    "",
    "The paper's tables 2 and 9, by the formulas of its table 1 (`glossa plan` prints them for any run):",
    "",
    paperCostTable(),
    "",
    "The same columns of these runs, in the mean over workers and rounds; bytes are those of the payloads that were made. A " +
      "payload of float32 is the formula's parameters, 24 bytes of header and, in trim, the set of rows.",
    "",
    measuredCostTable(experiment, results),
    "",
    "What compression costs a body, as the difference after phase 2:",
    "",
    compressionTable(results),
    "",
    "## Stability",
    "",
    "Sizes over pre-training, in the mean over seeds, and for DEPT over peers with the averaged parameters.",
    "",
    ...figure("activations.svg"),
    ...figure("parameters.svg"),
    normTable(results),
    "",
    "## Running it",
    "",
    "```sh",
    command,
    "npm run reproduce -- --quick          # the three corpora that come with glossa, one seed: minutes",
    "```",
    "",
    `Finished cells are kept and not run again; a cell that is killed goes on. These took ${duration(1000 * seconds)} of ` +
      `one thread on ${cpus()[0]?.model ?? "an unknown processor"} that other work shared. The raw results are in ` +
      "[reproduction/cells.jsonl](reproduction/cells.jsonl), one cell a line.",
    "",
    ...missingText(missing, command),
    "### Corpora of your own",
    "",
    CORPORA_FORMAT,
    "",
  ].join("\n");
}

/** `pretrain, phase2 (seeds 4, 5), adapt (seed 5)`. */
function phasesOf(cells: readonly Cell[]): string {
  const bySeeds = new Map<string, Phase[]>();
  for (const [phase, ofPhase] of Map.groupBy(cells, (cell) => cell.phase)) {
    const seeds = ofPhase.map(({ seed }) => seed);
    const words = `${seeds.length === 1 ? "seed" : "seeds"} ${seeds.join(", ")}`;
    bySeeds.set(words, [...(bySeeds.get(words) ?? []), phase]);
  }
  return [...bySeeds].map(([seeds, phases]) => `${phases.join(", ")} (${seeds})`).join("; ");
}

function missingText(missing: readonly Cell[], command: string): string[] {
  if (missing.length === 0) return [];
  return [
    "### Not yet run",
    "",
    `${missing.length} cells are not run yet; the tables are without them. \`${command}\` runs them:`,
    "",
    ...[...Map.groupBy(missing, ({ pretraining }) => labelOf(pretraining))].map(
      ([label, cells]) => `- ${label}: ${phasesOf(cells)}`,
    ),
    "",
  ];
}
