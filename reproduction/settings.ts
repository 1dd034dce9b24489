// How large the reproduction is: the model, the budget and the learning rates of each size. Plain data; every number here
// is part of a cell's identity.

/** What a whole reproduction is made at. */
export interface Scale {
  readonly name: string;
  readonly model: {
    readonly blocks: number;
    readonly width: number;
    readonly heads: number;
    readonly sequenceLength: number;
  };
  readonly batchSize: number;
  /** Steps in a round of DEPT, and between two resets of act. */
  readonly localSteps: number;
  readonly rounds: number;
  readonly warmupSteps: number;
  /** What becomes of a peer's moments between rounds; the paper does not say. */
  readonly momentsAcrossRounds: "keep" | "reset";
  /** DEPT's and act's learning rate, and where the baselines' grid begins. */
  readonly learningRate: number;
  /** Factors of `learningRate` among which each std takes its best. */
  readonly learningRateGrid: readonly number[];
  /** Tokens of the one global vocabulary. */
  readonly globalVocabulary: number;
  /** Tokens of a peer's own vocabulary (spec-opt, local). */
  readonly ownVocabulary: number;
  /** Text that a vocabulary is learned from, bytes of each source. */
  readonly vocabularyBytes: number;
  /** Steps of continued pre-training from new embeddings (phase 2). */
  readonly phase2Steps: number;
  /** Steps of adapting to the source that was held out. */
  readonly adaptSteps: number;
  /** Steps between two points of a curve in phase 2 and adapting. */
  readonly curveSteps: number;
  /** Held-out text that a result is measured on, bytes of each source. */
  readonly evaluationBytes: number;
  /** The same for the points of a curve. */
  readonly curveBytes: number;
}

export const SCALES = {
  full: {
    name: "full",
    model: { blocks: 2, width: 48, heads: 4, sequenceLength: 64 },
    batchSize: 8,
    localSteps: 40,
    rounds: 10,
    warmupSteps: 20,
    momentsAcrossRounds: "keep",
    learningRate: 4e-3,
    learningRateGrid: [2, 1, 0.5],
    globalVocabulary: 1024,
    ownVocabulary: 512,
    vocabularyBytes: 500_000,
    phase2Steps: 200,
    adaptSteps: 200,
    curveSteps: 40,
    evaluationBytes: 24_000,
    curveBytes: 4_000,
  },
  quick: {
    name: "quick",
    model: { blocks: 2, width: 32, heads: 4, sequenceLength: 64 },
    batchSize: 8,
    localSteps: 10,
    rounds: 5,
    warmupSteps: 5,
    momentsAcrossRounds: "keep",
    learningRate: 4e-3,
    learningRateGrid: [1, 0.5],
    globalVocabulary: 768,
    ownVocabulary: 512,
    vocabularyBytes: 400_000,
    phase2Steps: 30,
    adaptSteps: 30,
    curveSteps: 10,
    evaluationBytes: 12_000,
    curveBytes: 4_000,
  },
  /** For the tests: seconds in all, and no result worth reading. */
  tiny: {
    name: "tiny",
    model: { blocks: 1, width: 16, heads: 2, sequenceLength: 16 },
    batchSize: 4,
    localSteps: 3,
    rounds: 2,
    warmupSteps: 2,
    momentsAcrossRounds: "keep",
    learningRate: 4e-3,
    learningRateGrid: [1],
    globalVocabulary: 300,
    ownVocabulary: 280,
    vocabularyBytes: 20_000,
    phase2Steps: 4,
    adaptSteps: 4,
    curveSteps: 2,
    evaluationBytes: 2_000,
    curveBytes: 1_000,
  },
} as const satisfies Record<string, Scale>;

export type ScaleName = keyof typeof SCALES;

/** Steps of the cosine: what a peer trains, and what a step-matched baseline trains. */
export const stepsOf = ({ rounds, localSteps }: Scale): number => rounds * localSteps;
