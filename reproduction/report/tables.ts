// The report's tables of quality, each from the results to Markdown.
import { type Cell, type Experiment, type Phase, type Pretraining, TEMPERATURES } from "../cells.ts";
import type { FinishedCell } from "../results.ts";
import type { Entry, Results } from "./collect.ts";
import { difference, markdownTable, quantity, spread } from "./markdown.ts";
import { summary } from "./statistics.ts";

/** What others are compared with: the mixture that DEPT sees, as many steps, and as many tokens. */
export const STEP_MATCHED = "std τ 0";
export const TOKEN_MATCHED = "std τ 0 by tokens";
export const UNTRAINED = "untrained";
/** The second of them where its learning rate is not chosen. */
export const UNTUNED = "std τ 0 by tokens at DEPT's rate";

const inDistribution = ({ inDistribution: value }: Entry) => value;
const outOfDistribution = ({ outOfDistribution: value }: Entry) => value;

/** Tokens of all workers together. */
function tokensOf(results: Results, label: string): string {
  const [entry] = results.of("pretrain", label);
  if (entry === undefined) return "–";
  const tokens = Object.values(entry.result.peers).reduce((sum, peer) => sum + peer.tokens, 0);
  return quantity(tokens);
}

/** `2 diverged`, or nothing. */
function divergedNote(results: Results, phase: Phase, label: string): string {
  const count = results.of(phase, label).filter(({ result }) => result.divergedAtStep !== undefined).length;
  return count === 0 ? "" : ` (${count} diverged)`;
}

/** How good bodies are: phase 2, or what followed with kept embeddings. */
export function bodyTable(results: Results, phase: "phase2" | "kept"): string {
  const columns = [
    "body by",
    "seeds",
    "tokens of pre-training",
    "in distribution",
    `− ${STEP_MATCHED}`,
    `− ${TOKEN_MATCHED}`,
    "held-out source",
    `− ${STEP_MATCHED}`,
    `− ${TOKEN_MATCHED}`,
  ];
  const rows = results.labels(phase).map((label) => {
    const against = (value: (entry: Entry) => number | undefined) =>
      [STEP_MATCHED, TOKEN_MATCHED].map((reference) =>
        label === reference ? "" : difference(results.pairedDifference(phase, label, reference, value)),
      );
    return [
      `${label}${divergedNote(results, phase, label)}`,
      String(results.of(phase, label).length),
      tokensOf(results, label),
      spread(results.summaryOf(phase, label, inDistribution)),
      ...against(inDistribution),
      spread(results.summaryOf(phase, label, outOfDistribution)),
      ...against(outOfDistribution),
    ];
  });
  return markdownTable(columns, rows);
}

/** Bits per byte of each source, in the mean over the seeds in which it is trained on, and over those in which it is not. */
export function sourceTable({ corpora }: Experiment, results: Results, phase: Phase): string {
  const names = corpora.map(({ name }) => name);
  const rows = results.labels(phase).map((label) => [
    label,
    ...names.map((name) => {
      const entries = results.of(phase, label).filter(({ cell }) => cell.heldOut !== name);
      const values = entries
        .map(({ result }) => result.bitsPerByte[name])
        .filter((value) => value !== undefined);
      return values.length === 0 ? "–" : spread(summary(values), 2);
    }),
  ]);
  return markdownTable(["body by", ...names], rows);
}

/** After pre-training, each source with the embedding that was trained with the body; local is one model for each. */
export function directTable({ corpora }: Experiment, results: Results): string {
  const names = corpora.map(({ name }) => name);
  const methods = [
    ...new Set(results.labels("pretrain").map((label) => label.replace(/^local .*/, "local"))),
  ];
  const rows = methods.map((method) => {
    const entries = results
      .of("pretrain")
      .filter(({ label }) => (method === "local" ? label.startsWith("local ") : label === method));
    const cells = names.map((name) => {
      const values = entries
        .filter(({ cell }) => cell.heldOut !== name)
        .map(({ result }) => result.bitsPerByte[name])
        .filter((value) => value !== undefined);
      return values.length === 0 ? undefined : summary(values);
    });
    const known = cells.filter((cell) => cell !== undefined).map(({ mean }) => mean);
    const mean = known.length === names.length ? summary(known).mean.toFixed(2) : "–";
    return [method, ...cells.map((cell) => spread(cell, 2)), mean];
  });
  return markdownTable(["trained by", ...names, "mean"], rows);
}

/** Where the curves of adapting end. */
export function adaptTable(results: Results): string {
  const references = [UNTRAINED, STEP_MATCHED, TOKEN_MATCHED, UNTUNED];
  const rows = results
    .labels("adapt")
    .map((label) => [
      label,
      String(results.of("adapt", label).length),
      spread(results.summaryOf("adapt", label, outOfDistribution)),
      ...references.map((reference) =>
        label === reference
          ? ""
          : difference(results.pairedDifference("adapt", label, reference, outOfDistribution)),
      ),
    ]);
  return markdownTable(["body by", "seeds", "at the end", ...references.map((label) => `− ${label}`)], rows);
}

/** What the grid of learning rates gave. */
export async function gridTable(
  grid: readonly Cell[],
  finished: (cell: Cell) => Promise<FinishedCell | undefined>,
  sources: readonly string[],
): Promise<string> {
  const rateOf = (cell: Cell) =>
    (cell.pretraining as Extract<Pretraining, { temperature: number }>).learningRate;
  const rates = [...new Set(grid.map(rateOf))].toSorted((a, b) => b - a);
  const rows: string[][] = [];
  for (const temperature of TEMPERATURES) {
    const cells: string[] = [];
    for (const rate of rates) {
      const cell = grid.find(
        (candidate) =>
          rateOf(candidate) === rate &&
          (candidate.pretraining as { temperature: number }).temperature === temperature,
      );
      const done = cell && (await finished(cell));
      if (done === undefined) cells.push("–");
      else if (done.result.divergedAtStep !== undefined) cells.push("diverged");
      else cells.push(summary(sources.map((name) => done.result.bitsPerByte[name]!)).mean.toFixed(3));
    }
    rows.push([`τ ${temperature}`, ...cells]);
  }
  return markdownTable(["std", ...rates.map(String)], rows);
}

/** Sizes at the end of pre-training: what blows up where training is unstable. */
export function normTable(results: Results): string {
  const rows = results
    .labels("pretrain")
    .filter((label) => !label.startsWith("local "))
    .map((label) => {
      const last = (value: (entry: Entry) => number | undefined, digits: number) =>
        spread(results.summaryOf("pretrain", label, value), digits);
      const largest = (entry: Entry) =>
        entry.result.curve.length === 0
          ? undefined
          : Math.max(...entry.result.curve.map(({ activation }) => activation));
      return [
        `${label}${divergedNote(results, "pretrain", label)}`,
        last((entry) => entry.result.curve.at(-1)?.activation, 2),
        last(largest, 2),
        last((entry) => entry.result.curve.at(-1)?.bodyNorm, 1),
        last((entry) => entry.result.curve.at(-1)?.embeddingRowNorm, 2),
      ];
    });
  return markdownTable(
    [
      "pre-training",
      "activations at the end",
      "at their largest",
      "norm of the body",
      "norm of an embedding row",
    ],
    rows,
  );
}
