// The report's tables of memory and communication: the paper's by its formulas, and the same columns measured.
import { bodyLength } from "#model/architecture.ts";
import { type CostOptions, costsOf } from "#node/planning/costs.ts";
import { VARIANTS, type Variant } from "#protocol/core/run-config.ts";
import type { Experiment } from "../cells.ts";
import type { Entry, Results } from "./collect.ts";
import { difference, markdownTable, quantity, times } from "./markdown.ts";
import { summary } from "./statistics.ts";

interface PaperRow {
  readonly setting: string;
  readonly variant: Variant | "std";
  readonly options: Omit<CostOptions, "variant">;
}

/** The paper's nominal models: a body is what is left of a round number of parameters. N_local is 500. */
function paperRows(): PaperRow[] {
  const setting = (
    name: string,
    modelParameters: number,
    width: number,
    vocabularySize: number,
    rows: readonly (readonly [Variant | "std", number])[],
  ): PaperRow[] =>
    rows.map(([variant, heldRows]) => ({
      setting: name,
      variant,
      options: {
        ...{ width, vocabularySize, heldRows, localSteps: 500 },
        bodyParameters: modelParameters - vocabularySize * width,
      },
    }));
  const [mC4, pile] = [250_112, 50_257];
  const ofPile = [
    ["std", pile],
    ["glob", pile],
    ["trim", 45_554],
    ["spec", 45_554],
  ] as const;
  return [
    ...setting("mC4, 12 blocks", 278e6, 768, mC4, [
      ["std", mC4],
      ["glob", mC4],
      ["trim", 216_135],
      ["spec", 216_135],
      ["spec-opt", 50_257],
    ]),
    ...setting("mC4, 24 blocks (1B)", 1.71e9, 2048, mC4, [
      ["std", mC4],
      ["spec-opt", 50_257],
    ]),
    ...setting("Pile, 12 blocks", 125e6, 768, pile, ofPile),
    ...setting("Pile, 24 blocks", 350e6, 1024, pile, ofPile),
  ];
}

/** The paper's tables 2 and 9, recomputed. */
export function paperCostTable(): string {
  const rows = paperRows().map(({ setting, variant, options }) => {
    const costs = costsOf({ ...options, variant });
    return [
      `${setting}: ${variant}`,
      quantity(variant === "std" || variant === "glob" ? options.vocabularySize : options.heldRows),
      quantity(costs.embeddingParameters),
      quantity(costs.modelParameters),
      costs.memoryShare.toFixed(2),
      quantity(costs.sentParametersPerStep),
      variant === "std" ? "" : times(costs.factor),
    ];
  });
  return markdownTable(
    ["", "mean tokens", "embedding", "model of a worker", "of std's", "parameters a step", "less than std"],
    rows,
  );
}

/** Payload bytes of each worker's rounds, by worker. */
const payloads = (entry: Entry): (readonly number[])[] =>
  Object.values(entry.result.peers).map(({ payloadBytes }) => payloadBytes);

/** The same columns of the runs at hand: what peers held, and the payloads that they made, as they would have gone out. */
export function measuredCostTable(experiment: Experiment, results: Results): string {
  const { model, globalVocabulary, localSteps } = experiment.scale;
  const standard = bodyLength(model) + globalVocabulary * model.width;
  const rows: string[][] = [
    [
      "std (by formula)",
      quantity(globalVocabulary),
      quantity(globalVocabulary * model.width),
      quantity(standard),
      "1.00",
      quantity(standard),
      quantity(4 * standard),
      "",
    ],
  ];
  for (const variant of VARIANTS.toReversed()) {
    for (const label of [variant, `${variant} int8`, `${variant} topk`]) {
      const entries = results.of("pretrain", label);
      if (entries.length === 0) continue;
      const peers = entries.flatMap(({ result }) => Object.values(result.peers));
      const mean = (value: (peer: (typeof peers)[number]) => number) => summary(peers.map(value)).mean;
      const modelParameters = mean((peer) => peer.bodyParameters + peer.embeddingParameters);
      const bytes = summary(entries.flatMap((entry) => payloads(entry).flat())).mean / localSteps;
      rows.push([
        label === variant ? `${variant} float32` : label,
        quantity(mean((peer) => peer.vocabularySize)),
        quantity(mean((peer) => peer.embeddingParameters)),
        quantity(modelParameters),
        (modelParameters / standard).toFixed(2),
        quantity(mean((peer) => peer.sentParameters) / localSteps),
        quantity(bytes),
        times((4 * standard) / bytes),
      ]);
    }
  }
  return markdownTable(
    [
      "",
      "mean tokens",
      "embedding",
      "model of a worker",
      "of std's",
      "parameters a step",
      "bytes a step, measured",
      "less than std",
    ],
    rows,
  );
}

/** What compression costs a body: phase 2 after float32 and after the codec, seed by seed. */
export function compressionTable(results: Results): string {
  const rows = VARIANTS.toReversed().flatMap((variant) =>
    ["int8", "topk"].flatMap((codec) => {
      const label = `${variant} ${codec}`;
      if (results.of("phase2", label).length === 0) return [];
      return [
        [
          label,
          String(results.of("phase2", label).length),
          difference(results.pairedDifference("phase2", label, variant, (entry) => entry.inDistribution)),
          difference(results.pairedDifference("phase2", label, variant, (entry) => entry.outOfDistribution)),
        ],
      ];
    }),
  );
  return markdownTable(["", "seeds", "in distribution − float32", "held-out source − float32"], rows);
}
