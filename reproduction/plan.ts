// Which cells are run, and in which order: the learning rates of std first, on which the others depend; then what the paper
// compares, seed by seed; then the same with compression.
import {
  type Cell,
  type Experiment,
  gridCells,
  isCompressed,
  labelOf,
  mainCells,
  type Pretraining,
  sourcesOf,
} from "./cells.ts";
import type { FinishedCell } from "./results.ts";

export type Finished = (cell: Cell) => Promise<FinishedCell | undefined>;

/** The grid is one seed's, the first: its choice holds for all. */
export const gridOf = (experiment: Experiment, seeds: readonly number[]): Cell[] =>
  gridCells(experiment, seeds[0]!);

/** Learning rate of std by temperature: of the grid's, the one with the fewest bits per byte over the sources trained on. */
export async function chosenRates(
  experiment: Experiment,
  seeds: readonly number[],
  finished: Finished,
): Promise<ReadonlyMap<number, number>> {
  const best = new Map<number, { rate: number; bitsPerByte: number }>();
  for (const cell of gridOf(experiment, seeds)) {
    const done = await finished(cell);
    const bitsPerByte = done === undefined ? undefined : meanOver(done, sourcesOf(experiment, cell.heldOut));
    if (bitsPerByte === undefined) continue;
    const { temperature, learningRate: rate } = cell.pretraining as Extract<
      Pretraining,
      { method: "std" | "act" }
    >;
    const known = best.get(temperature);
    if (known === undefined || bitsPerByte < known.bitsPerByte) best.set(temperature, { rate, bitsPerByte });
  }
  return new Map([...best].map(([temperature, { rate }]) => [temperature, rate]));
}

/** Mean bits per byte over `sources`; undefined where the cell diverged. */
export function meanOver({ result }: FinishedCell, sources: readonly string[]): number | undefined {
  const values = sources.map((source) => result.bitsPerByte[source]);
  if (values.some((value) => value === undefined)) return undefined;
  return values.reduce<number>((sum, value) => sum + value!, 0) / sources.length;
}

/** Everything but the grid, given what the grid chose. Each cell stands behind the one whose body it needs. */
export function cellsOf(
  experiment: Experiment,
  seeds: readonly number[],
  rates: ReadonlyMap<number, number>,
): Cell[] {
  const { learningRate } = experiment.scale;
  const all = seeds.flatMap((seed) =>
    mainCells(experiment, seed, (temperature) => rates.get(temperature) ?? learningRate),
  );
  // Stable: within a tier the order stays, so that a body is made before it is used.
  return all.toSorted((a, b) => tierOf(a) - tierOf(b));
}

/** What says most comes first, of every seed: a reproduction that is cut short has that. */
function tierOf({ pretraining }: Cell): number {
  if (pretraining === undefined) return 0;
  if (isCompressed(pretraining)) return 2;
  const isExtra =
    "matched" in pretraining && pretraining.matched === "tokens" && !isFirstOfItsKind(pretraining);
  return isExtra ? 1 : 0;
}

const isFirstOfItsKind = ({ method, temperature }: { method: string; temperature: number }): boolean =>
  method === "std" && temperature === 0;

/** The cells whose phase, method, label or method with its codec is among `only`, and those that they need. */
export function selected(cells: readonly Cell[], only: readonly string[] | undefined): Cell[] {
  if (only === undefined) return [...cells];
  const wanted = cells.filter(({ pretraining, phase }) =>
    only.some(
      (word) =>
        word === phase ||
        word === pretraining?.method ||
        word === labelOf(pretraining) ||
        (pretraining !== undefined &&
          "codec" in pretraining &&
          word === `${pretraining.method} ${pretraining.codec}`),
    ),
  );
  const needed = new Set(wanted.flatMap(({ id, from }) => (from === undefined ? [id] : [id, from])));
  return cells.filter(({ id }) => needed.has(id));
}
