// What all peers of a run must agree on, with defaults, bounds and a description per field: the one source for flags,
// help and documentation. Machine matters (ports, paths, device) are never here. The manifest is in run-manifest.ts.
import { z } from "zod";
import { RunConfigError } from "../errors.ts";
import { averagingSchema } from "./averaging-config.ts";
import { integer, real } from "./bounded.ts";
import { DEFAULT_TOP_K, NEEDS_ERROR_FEEDBACK } from "./codec/registry.ts";
import { MAX_UPDATE_WEIGHT } from "./grid.ts";
import type { UpdateAnnouncement } from "./types.ts";

const modelSchema = z.strictObject({
  blocks: integer(1, 128).default(4).describe("transformer blocks"),
  width: integer(8, 16_384).default(128).describe("model width (d_model), a multiple of heads"),
  heads: integer(1, 256).default(4).describe("attention heads"),
  sequenceLength: integer(8, 65_536).default(128).describe("tokens in a training sequence"),
});

const trainingSchema = z.strictObject({
  batchSize: integer(1, 65_536).default(16).describe("sequences in a step's batch, at every peer"),
  localSteps: integer(1, 100_000).default(25).describe("optimizer steps in a round (the paper's N_local)"),
  rounds: integer(1, 1_000_000)
    .default(12)
    .describe("rounds that the cosine spans; its length is rounds * localSteps steps"),
  warmupSteps: integer(0, 10_000_000)
    .default(20)
    .describe("steps of linear warm-up, once, at the run's start"),
  learningRate: real(1e-9, 1).default(2e-3).describe("AdamW's peak learning rate"),
  finalLearningRateRatio: real(0, 1).default(0.1).describe("learning rate at the cosine's end, of the peak"),
  beta1: real(0, 0.999999).default(0.9).describe("AdamW's decay of the first moment"),
  beta2: real(0, 0.999999).default(0.95).describe("AdamW's decay of the second moment"),
  epsilon: real(1e-16, 1e-1).default(1e-8).describe("AdamW's epsilon"),
  weightDecay: real(0, 1).default(0).describe("decoupled weight decay"),
  gradientClip: real(1e-6, 1e6).default(1).describe("global gradient norm above which gradients are scaled"),
  momentsAcrossRounds: z
    .enum(["keep", "reset"])
    .default("keep")
    .describe("what becomes of AdamW's moments when a round begins"),
  embeddingWarmupSteps: integer(0, 1_000_000)
    .default(20)
    .describe("steps a newcomer fits its embeddings with the body frozen, before it contributes"),
});

/** Lower-case hex of a SHA-256. */
const contentHash = z.string().regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hexadecimal digits");

/** A vocabulary that all peers share: of which file, and how large. */
const vocabularySchema = z.strictObject({
  tokenizer: contentHash.describe("SHA-256 of the tokenizer.json that all peers use"),
  size: integer(2, 1_048_576).describe("tokens in it"),
});

/** What of the model is averaged. The names are the paper's (DEPT, section 2 and algorithm 1). */
export const VARIANTS = ["spec-opt", "spec", "trim", "glob"] as const;
export type Variant = (typeof VARIANTS)[number];

export const runConfigSchema = z
  .strictObject({
    name: z
      .string()
      .regex(
        /^[\p{L}\p{N}][\p{L}\p{M}\p{N} ._-]{0,63}$/u,
        "1 to 64 letters, digits, spaces, dots, dashes, underscores",
      )
      .default("glossa")
      .describe("a name for people; the run's id is a hash"),
    seed: integer(0, 2 ** 32 - 1)
      .default(1)
      .describe("seed of the common initial body"),
    variant: z
      .enum(VARIANTS)
      .default("spec-opt")
      .describe(
        "what is shared: spec-opt the body, each peer has its own tokenizer; spec the body, one tokenizer, own rows; " +
          "trim the body and the embedding rows that a peer's text uses; glob everything",
      ),
    vocabulary: vocabularySchema.optional().describe("the common tokenizer; not in variant spec-opt"),
    initialBody: contentHash
      .optional()
      .describe("root of the parameters that the run starts from, where it does not start from its seed"),
    model: modelSchema.prefault({}),
    training: trainingSchema.prefault({}),
    averaging: averagingSchema.prefault({}),
  })
  .superRefine(({ variant, vocabulary, model, training, averaging }, context) => {
    const problem = (path: readonly string[], message: string) =>
      context.addIssue({ code: "custom", path: [...path], message });
    if (variant === "spec-opt" && vocabulary !== undefined) {
      problem(["vocabulary"], "has no place in variant spec-opt, where every peer has its own");
    }
    if (variant !== "spec-opt" && vocabulary === undefined) {
      problem(["vocabulary"], `is needed by variant ${variant}: the tokenizer that all peers share`);
    }
    if (model.width % model.heads !== 0) {
      problem(["model", "width"], `must be a multiple of heads (${model.heads})`);
    }
    if (averaging.codec !== "topk" && averaging.topK !== DEFAULT_TOP_K) {
      problem(
        ["averaging", "topK"],
        `has no effect with codec ${averaging.codec}: leave it out or choose topk`,
      );
    }
    if (NEEDS_ERROR_FEEDBACK.has(averaging.codec) && averaging.errorFeedbackDecay === 0) {
      problem(["averaging", "errorFeedbackDecay"], `must be above 0 with codec ${averaging.codec}`);
    }
    if ((variant === "trim" || variant === "glob") && averaging.outerLearningRate !== 1) {
      problem(
        ["averaging", "outerLearningRate"],
        `must be 1 in variant ${variant}, where embeddings are averaged`,
      );
    }
    if (averaging.pacing === "on" && averaging.weighting !== "tokens") {
      problem(["averaging", "pacing"], "needs weighting tokens: a few steps must not weigh as much as many");
    }
    const totalSteps = training.rounds * training.localSteps;
    if (training.warmupSteps > totalSteps) {
      problem(["training", "warmupSteps"], `must not exceed rounds * localSteps (${totalSteps})`);
    }
  });

export type RunConfig = z.output<typeof runConfigSchema>;
/** What a person gives: any subset of fields. */
export type RunConfigInput = z.input<typeof runConfigSchema>;

/** Fills in defaults and checks everything. Throws RunConfigError, which lists every problem by field. */
export function parseRunConfig(input: unknown): RunConfig {
  const result = runConfigSchema.safeParse(input);
  if (result.success) return result.data;
  throw new RunConfigError(
    result.error.issues.map(({ path, message }) => ({
      field: path.join(".") || "(whole)",
      problem: message,
    })),
  );
}

/** Whether embedding rows are averaged too: the layout then ends with the embedding, [vocabulary.size, width]. */
export const sharesEmbedding = ({ variant }: Pick<RunConfig, "variant">): boolean =>
  variant === "trim" || variant === "glob";

/** Steps that the learning rate's cosine spans. */
export const totalSteps = ({ training }: RunConfig): number => training.rounds * training.localSteps;

/** Tokens that a peer trains on in a full round. */
export const tokensPerRound = ({ model, training }: RunConfig): number =>
  training.batchSize * model.sequenceLength * training.localSteps;

/** Weight of a full round's update: leaves room for 1/256 of one and for eight times as much. */
const FULL_ROUND_WEIGHT = 256;

/**
 * The integer weight, 1 to 2047, of an update. Depends on the run's configuration and the signed announcement only, so that
 * all peers compute the same. What a newcomer says of itself can only make it less.
 */
export function updateWeight(
  config: RunConfig,
  { tokens, probation = 0 }: Pick<UpdateAnnouncement, "tokens" | "probation">,
): number {
  const { weighting, newcomerRounds } = config.averaging;
  const full = Math.max(1, newcomerRounds);
  // NaN is no number of updates: whoever says it gets the least.
  const grown = probation >= 0 ? Math.max(1, full - Math.floor(probation)) : probation < 0 ? full : 1;
  if (weighting === "uniform") return grown;
  const weight = Math.round(((FULL_ROUND_WEIGHT * tokens) / tokensPerRound(config)) * (grown / full));
  // NaN fails both comparisons of a clamp; a peer that announces it gets the least weight.
  return weight >= 1 ? Math.min(MAX_UPDATE_WEIGHT, weight) : 1;
}
