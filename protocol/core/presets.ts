// Named starting points for a RunConfig, from a laptop's demo to the paper's three sizes.
import type { RunConfigInput } from "./run-config.ts";

export interface Preset {
  readonly description: string;
  readonly config: RunConfigInput;
}

/** Warm-up and the paper's step counts, shared by its three sizes: N_local 500, sequences of 2,048 tokens. */
const paperTraining = { localSteps: 500, warmupSteps: 100, embeddingWarmupSteps: 500 } as const;
/** A round of 500 steps takes minutes on a fast card and hours on a slow one. */
const paperAveraging = { maxRoundMs: 21_600_000 } as const;

export const presets = {
  tiny: {
    description: "4 blocks of width 128 (0.8M body parameters): minutes on a laptop's CPU",
    config: {},
  },
  small: {
    description: "6 blocks of width 384 (11M body parameters): an evening on a CPU, minutes on a GPU",
    config: {
      model: { blocks: 6, width: 384, heads: 6, sequenceLength: 512 },
      training: { batchSize: 16, localSteps: 100, rounds: 50, warmupSteps: 100, learningRate: 1e-3 },
      averaging: { maxRoundMs: 3_600_000 },
    },
  },
  "12-block": {
    description: "12 blocks of width 768 (85M body parameters), the paper's 125M class",
    config: {
      model: { blocks: 12, width: 768, heads: 12, sequenceLength: 2048 },
      training: { ...paperTraining, batchSize: 256, rounds: 10, learningRate: 6e-4 },
      averaging: paperAveraging,
    },
  },
  "24-block": {
    description: "24 blocks of width 1024 (302M body parameters), the paper's 350M class",
    config: {
      model: { blocks: 24, width: 1024, heads: 16, sequenceLength: 2048 },
      training: { ...paperTraining, batchSize: 256, rounds: 27, learningRate: 3e-4 },
      averaging: paperAveraging,
    },
  },
  "24-block-1b": {
    description: "24 blocks of width 2048 (1.2B body parameters), the paper's 1B class",
    config: {
      model: { blocks: 24, width: 2048, heads: 16, sequenceLength: 2048 },
      training: { ...paperTraining, batchSize: 512, rounds: 14, learningRate: 2e-4 },
      averaging: paperAveraging,
    },
  },
} as const satisfies Record<string, Preset>;

export type PresetName = keyof typeof presets;

export const presetNames = Object.keys(presets) as readonly PresetName[];
