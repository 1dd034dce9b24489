// The report's plots: which lines, and what they say of themselves. The drawing is node/plots/'.

import { type LinePlot, linePlot, type Series } from "#node/plots/line-plot.ts";
import type { Phase } from "../cells.ts";
import type { CurvePoint } from "../results.ts";
import type { Entry, Results } from "./collect.ts";
import { summary } from "./statistics.ts";

export interface Figure {
  readonly file: string;
  readonly title: string;
  readonly svg: string;
}

interface SeriesOptions {
  readonly fromStep: number;
  readonly hasBand: boolean;
}

/**
 * The first points of these are all the same random embedding's, and would make the rest of the plot flat. Their seeds hold
 * out different sources, and how hard those are is most of what a band would show.
 */
const SHIFTED: SeriesOptions = { fromStep: 1, hasBand: false };
const WHOLE: SeriesOptions = { fromStep: 0, hasBand: true };

/** Those of `files` that there is anything to draw in, with a line for each label. */
export function figures(results: Results, labels: readonly string[], files: readonly string[]): Figure[] {
  const wanted: readonly (readonly [file: string, plot: LinePlot])[] = [
    [
      "phase-2.svg",
      {
        title: "Phase 2: new embeddings on bodies of different making",
        description: `Bits per byte of held-out text over the steps of continued pre-training, in the mean over the sources in distribution and the seeds: ${labels.join("; ")}.`,
        xLabel: "steps of phase 2",
        yLabel: "bits per byte, in distribution",
        series: series(results, "phase2", labels, meanOfSources, SHIFTED),
      },
    ],
    [
      "plasticity.svg",
      {
        title: "Plasticity: adapting to the source that was held out",
        description: `Bits per byte of the held-out source over the steps of training on it, in the mean over seeds: ${labels.join("; ")}.`,
        xLabel: "steps on the held-out source",
        yLabel: "bits per byte, held-out source",
        series: series(
          results,
          "adapt",
          labels,
          (point, { cell }) => point.bitsPerByte[cell.heldOut]!,
          SHIFTED,
        ),
      },
    ],
    [
      "activations.svg",
      {
        title: "Stability: size of the activations while pre-training",
        description: `Root mean square of what the last block gives, over each worker's steps, in the mean over seeds with a band of one standard deviation: ${labels.join("; ")}.`,
        xLabel: "steps of a worker",
        yLabel: "root mean square behind the last block",
        series: series(results, "pretrain", labels, ({ activation }) => activation),
      },
    ],
    [
      "parameters.svg",
      {
        title: "Stability: norm of the body while pre-training",
        description: `Euclidean norm of the body's parameters over each worker's steps, in the mean over seeds with a band of one standard deviation: ${labels.join("; ")}.`,
        xLabel: "steps of a worker",
        yLabel: "norm of the body",
        series: series(results, "pretrain", labels, ({ bodyNorm }) => bodyNorm),
      },
    ],
  ];
  return wanted.flatMap(([file, plot]) =>
    plot.series.length === 0 || !files.includes(file)
      ? []
      : [{ file, title: plot.title, svg: linePlot(plot) }],
  );
}

function series(
  results: Results,
  phase: Phase,
  labels: readonly string[],
  value: (point: CurvePoint, entry: Entry) => number,
  { fromStep, hasBand }: SeriesOptions = WHOLE,
): Series[] {
  return labels.flatMap((label) => {
    const points = results
      .curve(phase, label, value)
      .filter(({ step }) => step >= fromStep)
      .map(({ step, mean, deviation }) => ({
        x: step,
        y: mean,
        ...(hasBand && deviation !== undefined && { low: mean - deviation, high: mean + deviation }),
      }));
    return points.length === 0 ? [] : [{ label, points }];
  });
}

function meanOfSources({ bitsPerByte }: CurvePoint, { cell }: Entry): number {
  const values = Object.entries(bitsPerByte).filter(([name]) => name !== cell.heldOut);
  return summary(values.map(([, value]) => value)).mean;
}
