// Finished cells as the report asks for them: by label, phase and seed. Owns the pairing of seeds.
import {
  type Cell,
  type Experiment,
  isCompressed,
  labelOf,
  mainCells,
  type Phase,
  sourcesOf,
} from "../cells.ts";
import type { Finished } from "../plan.ts";
import type { CellResult, CurvePoint, FinishedCell } from "../results.ts";
import { type Summary, summary } from "./statistics.ts";

export interface Entry {
  readonly label: string;
  readonly cell: Cell;
  readonly result: CellResult;
  readonly seconds: number;
  /** Mean over the sources that are trained on; undefined where the cell diverged. */
  readonly inDistribution: number | undefined;
  /** Of the source that is held out. */
  readonly outOfDistribution: number | undefined;
}

export class Results {
  readonly entries: readonly Entry[];
  readonly #order: readonly string[];

  private constructor(entries: readonly Entry[], order: readonly string[]) {
    this.entries = entries;
    this.#order = order;
  }

  static async collect(experiment: Experiment, cells: readonly Cell[], finished: Finished): Promise<Results> {
    const entries: Entry[] = [];
    const seen = new Set<string>();
    for (const cell of cells) {
      // The grid's choice is among the grid's cells and among the others.
      if (seen.has(cell.id)) continue;
      seen.add(cell.id);
      const done = await finished(cell);
      if (done !== undefined) entries.push(entryOf(experiment, cell, done));
    }
    const seeds = [...new Set(cells.map(({ seed }) => seed))];
    // A rate that is not DEPT's: with std's untuned ones too.
    const order = seeds.flatMap((seed) => mainCells(experiment, seed, () => 0));
    return new Results(entries, [...new Set(order.map(({ pretraining }) => labelOf(pretraining)))]);
  }

  /** Labels that have a finished cell of the phase, in the order in which the experiment names them; uncompressed ones. */
  labels(phase: Phase): string[] {
    const entries = this.of(phase).filter(({ cell }) => !isCompressed(cell.pretraining));
    const found = new Set(entries.map(({ label }) => label));
    return this.#order.filter((label) => found.has(label));
  }

  of(phase: Phase, label?: string): Entry[] {
    return this.entries.filter(
      (entry) => entry.cell.phase === phase && (label === undefined || entry.label === label),
    );
  }

  summaryOf(phase: Phase, label: string, value: (entry: Entry) => number | undefined): Summary | undefined {
    const values = this.of(phase, label)
      .map(value)
      .filter((found) => found !== undefined);
    return values.length === 0 ? undefined : summary(values);
  }

  /** Of the seeds that both have: `label` minus `reference`. */
  pairedDifference(
    phase: Phase,
    label: string,
    reference: string,
    value: (entry: Entry) => number | undefined,
  ): Summary | undefined {
    const references = new Map(this.of(phase, reference).map((entry) => [entry.cell.seed, value(entry)]));
    const differences = this.of(phase, label).flatMap((entry) => {
      const [mine, other] = [value(entry), references.get(entry.cell.seed)];
      return mine === undefined || other === undefined ? [] : [mine - other];
    });
    return differences.length === 0 ? undefined : summary(differences);
  }

  /** The mean over seeds of a number at each step that all seeds have, with its deviation. */
  curve(phase: Phase, label: string, value: (point: CurvePoint, entry: Entry) => number) {
    const byStep = new Map<number, number[]>();
    const entries = this.of(phase, label);
    for (const entry of entries) {
      for (const point of entry.result.curve) {
        const values = byStep.get(point.step) ?? [];
        values.push(value(point, entry));
        byStep.set(point.step, values);
      }
    }
    return [...byStep]
      .filter(([, values]) => values.length === entries.length)
      .sort(([a], [b]) => a - b)
      .map(([step, values]) => ({ step, ...summary(values) }));
  }
}

function entryOf(experiment: Experiment, cell: Cell, { result, seconds }: FinishedCell): Entry {
  const local = cell.pretraining?.method === "local" && cell.phase === "pretrain";
  const sources = local ? Object.keys(result.bitsPerByte) : sourcesOf(experiment, cell.heldOut);
  const values = sources.map((source) => result.bitsPerByte[source]).filter((value) => value !== undefined);
  return {
    label: labelOf(cell.pretraining),
    cell,
    result,
    seconds,
    inDistribution: values.length === sources.length && values.length > 0 ? summary(values).mean : undefined,
    outOfDistribution: result.bitsPerByte[cell.heldOut],
  };
}
