// Curves of several trainings as differences, as lines for a person and as plots. Pure.
import { type LinePlot, linePlot, type Series } from "../node/plots/line-plot.ts";
import type { Curve } from "./curves-contest.ts";

/** How far apart two trainings of the same model on the same batches are. Absolute, unless said otherwise. */
export interface Difference {
  readonly between: readonly [string, string];
  readonly firstLoss: number;
  /** Largest over the first ten steps, where rounding has not grown yet. */
  readonly earlyLoss: number;
  readonly largestLoss: number;
  readonly meanLoss: number;
  /** Relative. */
  readonly firstGradientNorm: number;
  readonly earlyGradientNorm: number;
  readonly largestLearningRate: number;
  /** Largest over all evaluations, and at the end, by corpus: the second's less the first's. */
  readonly largestBitsPerByte: Readonly<Record<string, number>>;
  readonly finalBitsPerByte: Readonly<Record<string, number>>;
}

const EARLY_STEPS = 10;

/** Of every pair, in the order of the curves. */
export function differencesOf(curves: readonly Curve[]): Difference[] {
  return curves.flatMap((first, at) => curves.slice(at + 1).map((second) => difference(first, second)));
}

function difference(first: Curve, second: Curve): Difference {
  const loss = distances(first.losses, second.losses);
  const norm = distances(first.gradientNorms, second.gradientNorms).map(
    (value, at) => value / first.gradientNorms[at]!,
  );
  const bits = first.evaluations.map(({ bitsPerByte }, at) =>
    Object.entries(bitsPerByte).map(
      ([corpus, value]) => [corpus, second.evaluations[at]!.bitsPerByte[corpus]! - value] as const,
    ),
  );
  const largestBitsPerByte: Record<string, number> = {};
  for (const [corpus, value] of bits.flat()) {
    largestBitsPerByte[corpus] = Math.max(largestBitsPerByte[corpus] ?? 0, Math.abs(value));
  }
  return {
    between: [first.label, second.label],
    firstLoss: loss[0]!,
    earlyLoss: Math.max(...loss.slice(0, EARLY_STEPS)),
    largestLoss: Math.max(...loss),
    meanLoss: loss.reduce((sum, value) => sum + value, 0) / loss.length,
    firstGradientNorm: norm[0]!,
    earlyGradientNorm: Math.max(...norm.slice(0, EARLY_STEPS)),
    largestLearningRate: Math.max(...distances(first.learningRates, second.learningRates)),
    largestBitsPerByte,
    finalBitsPerByte: Object.fromEntries(bits.at(-1)!),
  };
}

const distances = (a: readonly number[], b: readonly number[]): number[] =>
  a.map((value, at) => Math.abs(value - b[at]!));

/** Labels that differ: what several have is numbered from the second on. */
export function distinct(labels: readonly string[]): string[] {
  return labels.map((label, at) => {
    const before = labels.slice(0, at).filter((other) => other === label).length;
    return before === 0 ? label : `${label} (${before + 1})`;
  });
}

/** As short as a legend needs it: what two labels of `distinct` have in common is said once. */
export function pairLabel(first: string, second: string): string {
  const baseOf = (label: string) => label.replace(/ \(\d+\)$/, "");
  const base = baseOf(first);
  return `${first} – ${base === baseOf(second) ? second.slice(base.length + 1) : second}`;
}

/** By file name: held-out bits per byte, the training loss, and how the differences grow. */
export function plotsOf(
  curves: readonly Curve[],
  { parameters }: { readonly parameters: number },
): ReadonlyMap<string, string> {
  const [ours, theirs] = [curves[0]!, curves.find(({ label }) => !label.startsWith("glossa"))];
  const shown = theirs === undefined ? [ours] : [ours, theirs];
  const size = `${(parameters / 1e6).toFixed(1)} million parameters`;
  const [names, last] = [shown.map(({ label }) => label).join(" and "), ours.losses.length];
  const xLabel = "steps";
  const bitsPerByte: LinePlot = {
    title: `Held-out bits per byte, ${size}`,
    description: `Bits per byte of held-out text over ${last} steps by ${names}; the lines of one corpus lie on each other.`,
    ...{ xLabel, yLabel: "bits per byte" },
    series: Object.keys(ours.evaluations[0]!.bitsPerByte).flatMap((corpus) =>
      shown.map(({ label, evaluations }) => ({
        label: `${corpus}, ${label}`,
        points: evaluations.map((evaluation) => ({ x: evaluation.step, y: evaluation.bitsPerByte[corpus]! })),
      })),
    ),
  };
  const loss: LinePlot = {
    title: `Training loss, ${size}`,
    description: `The loss of each of ${last} steps by ${names}; the lines lie on each other.`,
    ...{ xLabel, yLabel: "nats per token" },
    series: shown.map(({ label, losses }) => ({ label, points: losses.map((y, x) => ({ x, y })) })),
  };
  const growth: LinePlot = {
    title: "How far apart the losses of two trainings are",
    description:
      "The largest difference of the training loss within each window of steps, on a scale of powers of ten, for every pair.",
    ...{ xLabel, yLabel: "power of ten of nats per token" },
    series: curves.flatMap((first, at) => curves.slice(at + 1).map((second) => growthOf(first, second))),
  };
  const plots = new Map([
    ["bits-per-byte.svg", linePlot(bitsPerByte)],
    ["loss.svg", linePlot(loss)],
  ]);
  if (curves.length > 1) plots.set("differences.svg", linePlot(growth));
  return plots;
}

const WINDOWS = 48;
/** Less cannot be seen in a loss of 1 to 10 that is a float32. */
const LEAST_DIFFERENCE = 1e-7;

function growthOf(first: Curve, second: Curve): Series {
  const all = distances(first.losses, second.losses);
  const size = Math.ceil(all.length / WINDOWS);
  return {
    label: pairLabel(first.label, second.label),
    points: Array.from({ length: Math.ceil(all.length / size) }, (_, at) => ({
      x: at * size,
      y: Math.log10(Math.max(LEAST_DIFFERENCE, ...all.slice(at * size, (at + 1) * size))),
    })),
  };
}

/** One line for a table of evaluations: our values, and how much more the others have. */
export function evaluationLine(curves: readonly Curve[], steps: number): string {
  const [ours, ...others] = curves.map(({ evaluations }) => evaluations.at(-1)!);
  const { step, bitsPerByte } = ours!;
  const values = Object.entries(bitsPerByte).map(([corpus, value]) => {
    const beside = others.map((other) => signed(other.bitsPerByte[corpus]! - value));
    return `${corpus} ${value.toFixed(5)}${beside.length === 0 ? "" : ` (${beside.join(", ")})`}`;
  });
  const loss = curves[0]!.losses.at(-1);
  return [
    `step ${String(step).padStart(String(steps).length)} of ${steps}`,
    `loss ${loss === undefined ? "-" : loss.toFixed(5)}`,
    ...values,
  ].join("   ");
}

export function describeDifferences(differences: readonly Difference[]): string[] {
  return differences.map((each) => {
    const largest = Math.max(...Object.values(each.largestBitsPerByte));
    return [
      `${each.between.join(" and ")}: loss of the first step ${exponential(each.firstLoss)}`,
      `of the first ten ${exponential(each.earlyLoss)}, of all ${exponential(each.largestLoss)}`,
      `gradient norm of the first step ${exponential(each.firstGradientNorm)} of itself`,
      `bits per byte at most ${exponential(largest)}, at the end ${Object.entries(each.finalBitsPerByte)
        .map(([corpus, value]) => `${signed(value)} (${corpus})`)
        .join(" and ")}`,
    ].join("; ");
  });
}

const exponential = (value: number): string => value.toExponential(1);
const signed = (value: number): string => `${value < 0 ? "−" : "+"}${exponential(Math.abs(value))}`;
