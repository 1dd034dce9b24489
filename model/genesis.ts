// The weights before the first step, as a function of the run's seed: any peer, on any machine, computes the same bits.
// Integer and basic IEEE operations only (Math.sqrt is among them: IEEE 754 rounds it correctly).
import { blockTensorNames, bodyTensors, embeddingTensors } from "./architecture.ts";
import { RandomStream } from "./random.ts";
import type { ModelConfig, TensorSpec } from "./types.ts";

/** MptConfig.initializer_range. */
export const INITIAL_STANDARD_DEVIATION = 0.02;

/** Part of every seed. A change of anything below that changes a bit has to change it. */
const GENESIS_DOMAIN = "glossa/genesis/1";

/**
 * Theta_0 of a run: flat float32 in `bodyTensors` order. Linear weights are normal with standard deviation 0.02; those
 * that write into the residual stream (out_proj, down_proj) are divided by sqrt(2 * blocks), so that the sum of
 * 2 * blocks branches keeps its variance whatever the depth (GPT-2, section 2.3); norm weights are 1.
 */
export function genesisBody(
  config: Pick<ModelConfig, "blocks" | "width" | "heads">,
  seed: number | string,
): Float32Array {
  const residualProjections = new Set<string>();
  for (let block = 0; block < config.blocks; block++) {
    const names = blockTensorNames(block);
    residualProjections.add(names.outProjection).add(names.downProjection);
  }
  const residualDeviation = INITIAL_STANDARD_DEVIATION / Math.sqrt(2 * config.blocks);
  return initialise(bodyTensors(config), seed, (spec) => {
    if (spec.shape.length === 1) return undefined;
    return residualProjections.has(spec.name) ? residualDeviation : INITIAL_STANDARD_DEVIATION;
  });
}

/**
 * A peer's embedding before it has seen any text: flat float32 [vocabularySize, width], normal with standard deviation
 * 0.02. The seed is the peer's own, or the run's where rows are shared; a row does not depend on the size of the vocabulary, so that a vocabulary that
 * grows by new tokens at its end keeps the rows it had.
 */
export function initialEmbedding(
  config: Pick<ModelConfig, "width" | "vocabularySize">,
  seed: number | string,
): Float32Array {
  return initialise(embeddingTensors(config), seed, () => INITIAL_STANDARD_DEVIATION);
}

/**
 * What the peers of a run share before round 0, in `sharedTensors` order: the genesis body and, where embedding rows are
 * shared, the initial embedding of the common vocabulary, both of the run's seed.
 */
export function genesisShared(
  config: Pick<ModelConfig, "blocks" | "width" | "heads">,
  commonVocabularySize: number | undefined,
  seed: number | string,
): Float32Array {
  const body = genesisBody(config, seed);
  if (commonVocabularySize === undefined) return body;
  const embedding = initialEmbedding({ width: config.width, vocabularySize: commonVocabularySize }, seed);
  const shared = new Float32Array(body.length + embedding.length);
  shared.set(body);
  shared.set(embedding, body.length);
  return shared;
}

/** `deviationOf` gives a tensor's standard deviation, or undefined for a tensor of ones. */
function initialise(
  specs: readonly TensorSpec[],
  seed: number | string,
  deviationOf: (spec: TensorSpec) => number | undefined,
): Float32Array {
  const lengths = specs.map(({ shape }) => shape.reduce((product, size) => product * size, 1));
  const flat = new Float32Array(lengths.reduce((sum, length) => sum + length, 0));
  let offset = 0;
  for (const [index, spec] of specs.entries()) {
    const end = offset + lengths[index]!;
    const tensor = flat.subarray(offset, end);
    const deviation = deviationOf(spec);
    if (deviation === undefined) tensor.fill(1);
    else RandomStream.fromSeed(tensorSeed(spec.name, seed)).fillNormal(tensor, deviation);
    offset = end;
  }
  return flat;
}

/** A stream of its own for each tensor: neither their order nor their number matters. Domain and name hold no newline. */
function tensorSeed(name: string, seed: number | string): string {
  return `${GENESIS_DOMAIN}\n${name}\n${seed}`;
}
