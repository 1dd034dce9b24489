// How a run's updates are compressed where nobody says: the rule behind `--codec auto`, the default of `glossa init`. Owns
// the rule and its reasons; the numbers it rests on are in docs/decisions.md. A run's configuration names what came out.
import { bodyTensors } from "#model/architecture.ts";
import { topKSections } from "#protocol/core/codec/topk-sections.ts";
import { type ParameterLayout, parameterLayout } from "#protocol/core/layout.ts";
import {
  type RunConfig,
  type RunConfigInput,
  runConfigSchema,
  sharesEmbedding,
} from "#protocol/core/run-config.ts";
import { sha256 } from "#protocol/net/hash.ts";

/** What stands for a codec in flags and files, never in a run's manifest. */
export const AUTOMATIC = "auto";

/** With fewer rounds too much is still in the residuals at the end. */
const SPARSE_FROM_ROUNDS = 50;
/**
 * At most the number of updates counts: with as many peers or fewer it is the sum, the best with 3, 6, 8 and 12 of
 * them: two sparse updates rarely send the same value, so that a sum has hardly more noise than each of them.
 */
const OUTER_LEARNING_RATE = 12;
/** Of 0.9, 0.95, 0.98 and 1 the best: what has waited long was computed for a body that is no more. */
const ERROR_FEEDBACK_DECAY = 0.95;
/** The goal for an update, against float32. */
const SMALLER = 200;
const LARGEST_K = 64;
const SMALLEST_K = 16;
/** Sign and level of a kept value, and its Rice-coded gap: 7.55 bits on real updates at k = 64, and one more at 32. */
const bitsPerKept = (k: number): number => 2 + 7.55 + Math.log2(64 / k);

export interface ChosenCodec {
  readonly averaging: Partial<RunConfig["averaging"]>;
  /** For people: what was chosen and why. */
  readonly reason: string;
}

/**
 * The configuration with a codec where it names none, or `auto`. What else it says of averaging stays. `reason` is
 * undefined where it named one.
 */
export function withChosenCodec(input: RunConfigInput): {
  config: RunConfigInput;
  reason: string | undefined;
} {
  const { codec = AUTOMATIC, ...given } = (input.averaging ?? {}) as { codec?: string };
  if (codec !== AUTOMATIC) return { config: input, reason: undefined };
  const known = runConfigSchema.safeParse({ ...input, averaging: {} });
  // What else is wrong with the configuration is for its schema to say.
  if (!known.success) return { config: { ...input, averaging: given }, reason: undefined };
  const { averaging, reason } = chooseCodec(known.data);
  return { config: { ...input, averaging: { ...averaging, ...given } }, reason };
}

export function chooseCodec(config: Pick<RunConfig, "variant" | "model" | "training">): ChosenCodec {
  const { rounds } = config.training;
  if (sharesEmbedding(config)) {
    return dense(
      `embeddings are averaged in variant ${config.variant}, where sparse updates were not measured`,
    );
  }
  if (rounds < SPARSE_FROM_ROUNDS) {
    return dense(`${rounds} rounds are too few for sparse updates, which need ${SPARSE_FROM_ROUNDS}`);
  }
  const topK = densest(parameterLayout(bodyTensors(config.model), sha256));
  return {
    averaging: {
      codec: "topk",
      topK,
      errorFeedbackDecay: ERROR_FEEDBACK_DECAY,
      outerLearningRate: OUTER_LEARNING_RATE,
    },
    reason:
      `topk with k ${topK}, outer learning rate ${OUTER_LEARNING_RATE}, error feedback ${ERROR_FEEDBACK_DECAY}: ` +
      `${rounds} rounds are enough for updates ${SMALLER} times smaller than float32`,
  };
}

const dense = (why: string): ChosenCodec => ({
  averaging: { codec: "int4" },
  reason: `int4, 7 times smaller than float32 at no measurable price: ${why}`,
});

/** The largest k, up to 64, at which an update of this body is 200 times smaller: small bodies have more of vectors. */
function densest(layout: ParameterLayout): number {
  for (let k = LARGEST_K; k > SMALLEST_K; k--) {
    const { codesAt, kept } = topKSections(layout, k);
    if (4 * layout.total >= SMALLER * (codesAt + (kept * bitsPerKept(k)) / 8)) return k;
  }
  return SMALLEST_K;
}
