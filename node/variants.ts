// What a run's variant means for a peer, said once: which rows are shared, and whether its vocabulary is the common one cut
// down to its own text. The names are the paper's; RunConfig decides.
import { sharedTensors } from "#model/architecture.ts";
import { type RunConfig, sharesEmbedding } from "#protocol/core/run-config.ts";
import type { TensorSpec } from "#protocol/core/types.ts";

/** Rows of the embedding that the peers share, `undefined` where each keeps its own. */
export function sharedVocabularySize(config: Pick<RunConfig, "variant" | "vocabulary">): number | undefined {
  return sharesEmbedding(config) ? config.vocabulary?.size : undefined;
}

/** The tensors of the flat shared array, in order: a run's layout. */
export function sharedTensorsOf(config: Pick<RunConfig, "variant" | "vocabulary" | "model">): TensorSpec[] {
  return sharedTensors(config.model, sharedVocabularySize(config));
}

/** Whether a peer uses only those tokens of the common vocabulary that its text needs. */
export const restrictsVocabulary = ({ variant }: Pick<RunConfig, "variant">): boolean =>
  variant === "spec" || variant === "trim";
