// Evaluations as people read them, and as programs do. Pure.
import type { EvaluationEvent } from "../observability/events.ts";
import { bytes, count } from "../terminal/format.ts";
import { type Column, table } from "../terminal/table.ts";
import { type AverageEvaluation, averageOf, type SourceEvaluation } from "./evaluate-model.ts";

export interface ModelEvaluation {
  /** What the person called it. */
  readonly model: string;
  readonly description: string;
  readonly sources: readonly SourceEvaluation[];
}

const right = (title: string): Column => ({ title, align: "right" });

/** One model: a row a source, all numbers. Several: for each number a table with a column a model. */
export function evaluationText(evaluations: readonly ModelEvaluation[]): string {
  const [first] = evaluations;
  const labels = labelsOf(evaluations.map(({ model }) => model));
  const lines =
    evaluations.length === 1
      ? [first!.description, "", ...tableOfOne(first!.sources)]
      : [
          ...evaluations.map(({ description }, at) => `${labels[at]}: ${description}`),
          ...tablesOfAll(evaluations, labels),
        ];
  return `${lines.join("\n")}\n`;
}

/** Each source of each model, and each model's average. */
export function evaluationEvents(evaluations: readonly ModelEvaluation[]): EvaluationEvent[] {
  return evaluations.flatMap(({ model, sources }): EvaluationEvent[] => [
    ...sources.map((source) => ({ event: "evaluation" as const, model, ...source })),
    { event: "average", model, sources: sources.length, ...averageOf(sources) },
  ]);
}

function tableOfOne(sources: readonly SourceEvaluation[]): string[] {
  const numbers = (values: AverageEvaluation) => METRICS.map(({ show }) => show(values));
  const rows = sources.map((source) => [
    source.source,
    ...numbers(source),
    count(source.tokens),
    bytes(source.bytes),
    count(source.tokensPerSecond),
  ]);
  if (sources.length > 1) rows.push(["average", ...numbers(averageOf(sources))]);
  const columns = [...METRICS.map(({ title }) => title), "tokens", "text", "tokens/s"];
  return table([{ title: "source" }, ...columns.map(right)], rows);
}

function tablesOfAll(evaluations: readonly ModelEvaluation[], labels: readonly string[]): string[] {
  const names = evaluations[0]!.sources.map(({ source }) => source);
  return METRICS.flatMap(({ title, note, show }) => {
    const rows = names.map((name, at) => [name, ...evaluations.map(({ sources }) => show(sources[at]!))]);
    if (names.length > 1)
      rows.push(["average", ...evaluations.map(({ sources }) => show(averageOf(sources)))]);
    const columns = [{ title: "source" }, ...labels.map(right)];
    return ["", `${title}: ${note}`, ...table(columns, rows)];
  });
}

/** Columns are headed by as much of a path's end as tells the models apart. */
function labelsOf(models: readonly string[]): readonly string[] {
  const parts = models.map((model) => model.replace(/[\\/]+$/, "").split(/[\\/]/));
  for (let length = 1; length < Math.max(...parts.map((part) => part.length)); length++) {
    const labels = parts.map((part) => part.slice(-length).join("/"));
    if (new Set(labels).size === labels.length) return labels;
  }
  return models;
}

/** A model that knows another language reaches millions. */
function perplexityText(perplexity: number): string {
  if (perplexity >= 1e6) return perplexity.toExponential(2);
  return perplexity.toFixed(perplexity < 100 ? 2 : 1);
}

const METRICS: readonly {
  readonly title: string;
  readonly note: string;
  readonly show: (values: AverageEvaluation) => string;
}[] = [
  {
    title: "bits/byte",
    note: "compares any models",
    show: ({ bitsPerByte }) => bitsPerByte.toFixed(4),
  },
  {
    title: "perplexity",
    note: "per token, compares models of one vocabulary",
    show: ({ perplexity }) => perplexityText(perplexity),
  },
  {
    title: "loss - unigram",
    note: "nats per token beyond the source's own token frequencies, the lower the more context helps",
    show: ({ normalizedNatsPerToken }) => normalizedNatsPerToken.toFixed(4),
  },
  {
    title: "over unigram",
    note: "perplexity over that of the source's own token frequencies",
    show: ({ normalizedPerplexity }) => normalizedPerplexity.toPrecision(4),
  },
];
