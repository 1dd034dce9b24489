// The experiments, as a list of cells: what each one trains, from what, and its name. A cell's id is a hash of everything
// its result depends on, so that a finished cell is recognised and a changed one is another.
import { createHash } from "node:crypto";
import { canonicalJson, type Json } from "#protocol/core/canonical-json.ts";
import type { CodecName } from "#protocol/core/codec/registry.ts";
import { VARIANTS, type Variant } from "#protocol/core/run-config.ts";
import type { Corpus } from "./corpora.ts";
import { type Scale, stepsOf } from "./settings.ts";

/** A change of the code that changes results has to change it. */
const FORMAT = "glossa/reproduction/1";

/**
 * std and act train on the text of all sources mixed with exponent `temperature`, as many steps as one peer of DEPT (steps)
 * or as all of its peers together (tokens). local trains on one source. The others are DEPT's variants with a codec.
 */
export type Pretraining =
  | {
      readonly method: "std" | "act";
      readonly temperature: number;
      readonly matched: "steps" | "tokens";
      readonly learningRate: number;
      /** Not tuned: DEPT's own rate, where std's is another. */
      readonly untuned?: true;
    }
  | { readonly method: "local"; readonly source: string; readonly learningRate: number }
  | { readonly method: Variant; readonly codec: CodecName; readonly learningRate: number };

export type Method = Pretraining["method"];

/**
 * pretrain makes a body. phase2 trains on all sources from its body with new embeddings, kept from its own embeddings;
 * adapt trains on the source that was held out, from its body with new embeddings.
 */
export type Phase = "pretrain" | "phase2" | "kept" | "adapt";

export interface Cell {
  readonly id: string;
  readonly phase: Phase;
  readonly seed: number;
  readonly heldOut: string;
  /** What made the body; `undefined`: nobody, it is the seed's untrained one. */
  readonly pretraining: Pretraining | undefined;
  /** The cell that makes that body, where this is not it. */
  readonly from: string | undefined;
  /** Optimizer steps of all peers together, to tell how long it takes. */
  readonly steps: number;
}

export interface Experiment {
  readonly scale: Scale;
  readonly corpora: readonly Corpus[];
}

/** The source that is held out under a seed: each in its turn. */
export const heldOutUnder = ({ corpora }: Experiment, seed: number): string =>
  corpora[seed % corpora.length]!.name;

/** The sources that are trained on. */
export const sourcesOf = ({ corpora }: Pick<Experiment, "corpora">, heldOut: string): string[] =>
  corpora.map(({ name }) => name).filter((name) => name !== heldOut);

/** std's ways of mixing (the paper's tau), each matched by steps and by tokens. */
export const TEMPERATURES = [0, 0.3, 1] as const;
const MATCHED = ["steps", "tokens"] as const;
/** float32 sends all of an update, as the paper does; int8 is what a run takes if nobody says otherwise; topk the least. */
const CODECS = ["float32", "int8", "topk"] as const;
/** topk is looked at where most and where least is shared. */
const TOPK_VARIANTS: ReadonlySet<Variant> = new Set(["glob", "spec-opt"]);

export function cellOf(
  experiment: Experiment,
  seed: number,
  phase: Phase,
  pretraining: Pretraining | undefined,
): Cell {
  const { scale, corpora } = experiment;
  const heldOut = heldOutUnder(experiment, seed);
  const identity = (of: Phase): string => {
    const parts = {
      format: FORMAT,
      phase: of,
      seed,
      heldOut,
      pretraining: pretraining as Json | undefined,
      scale: scale as unknown as Json,
      corpora: corpora.map(({ name, identity }) => ({ name, identity })),
    };
    return createHash("sha256").update(canonicalJson(parts)).digest("hex").slice(0, 16);
  };
  const from = phase === "pretrain" || pretraining === undefined ? undefined : identity("pretrain");
  const steps = stepsOfCell(scale, sourcesOf(experiment, heldOut).length, phase, pretraining);
  return { id: identity(phase), phase, seed, heldOut, pretraining, from, steps };
}

function stepsOfCell(
  scale: Scale,
  peers: number,
  phase: Phase,
  pretraining: Pretraining | undefined,
): number {
  if (phase === "adapt") return scale.adaptSteps;
  if (phase !== "pretrain" || pretraining === undefined) return scale.phase2Steps;
  const alone =
    pretraining.method === "local" || ("matched" in pretraining && pretraining.matched === "steps");
  return stepsOf(scale) * (alone ? 1 : peers);
}

/** The grid of std's learning rates under one seed. Which one is best decides what `mainCells` trains. */
export function gridCells(experiment: Experiment, seed: number): Cell[] {
  const { learningRate, learningRateGrid } = experiment.scale;
  return TEMPERATURES.flatMap((temperature) =>
    learningRateGrid.map((factor) =>
      cellOf(experiment, seed, "pretrain", {
        method: "std",
        temperature,
        matched: "steps",
        learningRate: factor * learningRate,
      }),
    ),
  );
}

/** All cells of a seed: each body, then what becomes of it. `stdRate` is the learning rate that the grid gave. */
export function mainCells(
  experiment: Experiment,
  seed: number,
  stdRate: (temperature: number) => number,
): Cell[] {
  const { learningRate } = experiment.scale;
  const sources = sourcesOf(experiment, heldOutUnder(experiment, seed));
  const baselines = MATCHED.flatMap((matched): Pretraining[] => [
    ...TEMPERATURES.map((temperature) => ({
      method: "std" as const,
      temperature,
      matched,
      learningRate: stdRate(temperature),
    })),
    ...(stdRate(0) === learningRate
      ? []
      : [{ method: "std" as const, temperature: 0, matched, learningRate, untuned: true as const }]),
    { method: "act", temperature: 0, matched, learningRate },
  ]);
  const variants = CODECS.flatMap((codec): Pretraining[] =>
    VARIANTS.toReversed()
      .filter((method) => codec !== "topk" || TOPK_VARIANTS.has(method))
      .map((method) => ({ method, codec, learningRate })),
  );
  const local = sources.map((source): Pretraining => ({ method: "local", source, learningRate }));
  const cell = (phase: Phase, pretraining: Pretraining | undefined) =>
    cellOf(experiment, seed, phase, pretraining);
  return [
    ...([undefined, ...baselines, ...variants] as const).flatMap((pretraining) => [
      ...(pretraining === undefined ? [] : [cell("pretrain", pretraining)]),
      cell("phase2", pretraining),
      ...(keepsEmbedding(pretraining) ? [cell("kept", pretraining)] : []),
      ...(isCompressed(pretraining) ? [] : [cell("adapt", pretraining)]),
    ]),
    ...local.map((pretraining) => cell("pretrain", pretraining)),
  ];
}

/** Whether updates lost something on their way. */
export const isCompressed = (pretraining: Pretraining | undefined): boolean =>
  pretraining !== undefined && "codec" in pretraining && pretraining.codec !== "float32";

/** Whether there is one embedding for all sources, in the global vocabulary, to go on with. act's is one cycle old. */
function keepsEmbedding(pretraining: Pretraining | undefined): boolean {
  if (pretraining === undefined) return false;
  const { method } = pretraining;
  return method === "std" || ((method === "glob" || method === "trim") && pretraining.codec === "float32");
}

/** How people read a pre-training: `std τ 0.3`, `std τ 0.3 by tokens`, `glob`, `glob int8`. */
export function labelOf(pretraining: Pretraining | undefined): string {
  if (pretraining === undefined) return "untrained";
  switch (pretraining.method) {
    case "std":
    case "act": {
      const { method, temperature, matched, untuned } = pretraining;
      const mixed = method === "act" ? method : `${method} τ ${temperature}`;
      return `${mixed}${matched === "tokens" ? " by tokens" : ""}${untuned ? " at DEPT's rate" : ""}`;
    }
    case "local":
      return `local ${pretraining.source}`;
    default:
      return pretraining.codec === "float32"
        ? pretraining.method
        : `${pretraining.method} ${pretraining.codec}`;
  }
}
