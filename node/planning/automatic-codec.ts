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
const SPARSE_FROM_ROUNDS = 10;
/** The goal for an update against float32, where rounds are at least so many and at most so long. */
const SMALLER = 200;
const MANY_ROUNDS = 50;
const SHORT_ROUND_STEPS = 30;
/** Longer rounds have as many bytes a step as rounds of so many steps have. */
const REFERENCE_STEPS = 25;
/** Values kept of 4,096: of a large body in such a run, of the smallest body, and the most in any. */
const KEPT = 64;
const FEWEST_KEPT = 16;
/** More were better still, at 10 rounds of 250 steps; but an update of 85 million values should take about a second to encode. */
const MOST_KEPT = 640;
/** Sign and level of a kept value, and its Rice-coded gap: 7.55 bits on real updates at k = 64, and one less at 128. */
const bitsPerKept = (k: number): number => 2 + 7.55 + Math.log2(64 / k);
/**
 * At most the number of updates counts: with as many peers or fewer it is the sum, the best with 3, 6, 8 and 12 of
 * them: two sparse updates rarely send the same value, so that a sum has hardly more noise than each of them.
 */
const LARGEST_OUTER_LEARNING_RATE = 12;
/** Of rounds of hundreds of steps, whose updates are large and less sparse: more shakes a body in the middle of a run. */
const SMALLEST_OUTER_LEARNING_RATE = 3;
/** Of 0.9, 0.95, 0.98 and 1 the best: what has waited long was computed for a body that is no more. */
const ERROR_FEEDBACK_DECAY = 0.95;

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
  const { rounds, localSteps } = config.training;
  if (sharesEmbedding(config)) {
    return dense(
      `embeddings are averaged in variant ${config.variant}, where sparse updates were not measured`,
    );
  }
  if (rounds < SPARSE_FROM_ROUNDS) {
    return dense(`${rounds} rounds are too few for sparse updates, which need ${SPARSE_FROM_ROUNDS}`);
  }
  const layout = parameterLayout(bodyTensors(config.model), sha256);
  const topK = keptOf(layout, config.training);
  const outerLearningRate = outerLearningRateOf(localSteps);
  return {
    averaging: { codec: "topk", topK, errorFeedbackDecay: ERROR_FEEDBACK_DECAY, outerLearningRate },
    reason:
      `topk with k ${topK}, ${Math.round(timesSmaller(layout, topK))} times smaller than float32, outer learning rate ` +
      `${outerLearningRate}, error feedback ${ERROR_FEEDBACK_DECAY}: for ${rounds} rounds of ${localSteps} steps`,
  };
}

const dense = (why: string): ChosenCodec => ({
  averaging: { codec: "int4" },
  reason: `int4, 7 times smaller than float32 at no measurable price: ${why}`,
});

/**
 * Values that are kept of 4,096. Of many short rounds as many as let an update be 200 times smaller: 64 of a large body,
 * fewer of a small one, which has more of vectors. Longer rounds move a body further, and fewer have less time to send
 * all of it: k grows with the one and with the other, so that bytes a step, or bytes a run, stay what they are there.
 */
function keptOf(layout: ParameterLayout, { rounds, localSteps }: RunConfig["training"]): number {
  const longer = localSteps > SHORT_ROUND_STEPS ? localSteps / REFERENCE_STEPS : 1;
  const fewer = Math.max(1, MANY_ROUNDS / rounds);
  if (longer * fewer > 1) return Math.min(MOST_KEPT, Math.round(KEPT * longer * fewer));
  for (let k = KEPT; k > FEWEST_KEPT; k--) if (timesSmaller(layout, k) >= SMALLER) return k;
  return FEWEST_KEPT;
}

/** Than float32, of an update as they are in training. */
function timesSmaller(layout: ParameterLayout, k: number): number {
  const { codesAt, kept } = topKSections(layout, k);
  return (4 * layout.total) / (codesAt + (kept * bitsPerKept(k)) / 8);
}

/** A multiple of 1/64, as a run's configuration wants it. */
function outerLearningRateOf(localSteps: number): number {
  const rate = (LARGEST_OUTER_LEARNING_RATE * REFERENCE_STEPS) / localSteps;
  const bounded = Math.min(LARGEST_OUTER_LEARNING_RATE, Math.max(SMALLEST_OUTER_LEARNING_RATE, rate));
  return Math.floor(64 * bounded) / 64;
}
