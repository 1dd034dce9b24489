// Keeps a step's report in a file and puts a new one beside it. Refuses to compare what was not measured alike.
import { readFile, writeFile } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import type { StepOptions, StepReport } from "./step.ts";

export interface Comparison {
  /** New over old: above 1 is faster. */
  readonly tokensPerSecondRatio: number;
  readonly bestTokensPerSecondRatio: number;
  /** Time in nodes by operator, new over old: below 1 is faster. Operators that only one of the two has are left out. */
  readonly operatorTimeRatios: Readonly<Record<string, number>>;
  /** Whether both were measured on the same processor with the same versions. */
  readonly sameMachine: boolean;
}

export async function writeBaseline(file: string, report: StepReport): Promise<void> {
  await writeFile(file, `${JSON.stringify(report, undefined, 2)}\n`);
}

/** Throws an Error with the cause and the remedy where the file is no report, or one of another setting. */
export async function readBaseline(file: string, setting: StepOptions): Promise<StepReport> {
  let stored: Partial<StepReport> | null;
  try {
    stored = JSON.parse(await readFile(file, "utf8"));
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    throw new Error(`The baseline ${file} cannot be read (${cause}); make one with --save ${file}.`);
  }
  if (stored?.benchmark !== "step" || stored.setting === undefined) {
    throw new Error(`${file} is not a report of this benchmark; make one with --save ${file}.`);
  }
  if (!isDeepStrictEqual(workOf(stored.setting), workOf(setting))) {
    throw new Error(
      `The baseline ${file} was measured with another model, batch, device or threads; measure it again.`,
    );
  }
  return stored as StepReport;
}

/** How long one measures, and how much one prints, does not change what is measured. */
function workOf({ steps: _steps, nodes: _nodes, ...work }: StepOptions) {
  return work;
}

export function compareWith(baseline: StepReport, report: StepReport): Comparison {
  const oldMs = baseline.nodeMillisecondsPerStep ?? 0;
  const newMs = report.nodeMillisecondsPerStep ?? 0;
  const common = Object.entries(report.shares).filter(([operator]) =>
    Object.hasOwn(baseline.shares, operator),
  );
  return {
    tokensPerSecondRatio: report.tokensPerSecond / baseline.tokensPerSecond,
    bestTokensPerSecondRatio: report.bestTokensPerSecond / baseline.bestTokensPerSecond,
    operatorTimeRatios: Object.fromEntries(
      common.map(([operator, share]) => [operator, (share * newMs) / (baseline.shares[operator]! * oldMs)]),
    ),
    sameMachine: isDeepStrictEqual(baseline.machine, report.machine),
  };
}
