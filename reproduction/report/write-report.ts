import type { Cell, Experiment } from "../cells.ts";
import type { Finished } from "../plan.ts";

export interface ReportOptions {
  readonly experiment: Experiment;
  readonly seeds: readonly number[];
  readonly rates: ReadonlyMap<number, number>;
  readonly cells: readonly Cell[];
  readonly finished: Finished;
  readonly directory: string;
}

export async function writeReport({ cells, finished, directory }: ReportOptions) {
  let count = 0;
  for (const cell of cells) if ((await finished(cell)) !== undefined) count++;
  return { path: directory, finished: count, cells: cells.length };
}
