// What DEPT's variants cost a worker, in parameters: table 1 of the paper (arXiv 2410.05021). Pure, and free of any run.
//   M = body + |V| d     |V_k| rows held of |V|, or the worker's own vocabulary     N local steps
//              memory                  parameters a step and worker, one way
//   std        M                       M
//   glob       M                       M / N
//   trim       M - (|V| - |V_k|) d     (M - (|V| - |V_k|) d) / N
//   spec(-opt) M - (|V| - |V_k|) d     (M - |V| d) / N
// The paper's L d for positions is 0 here as in its own experiments: ALiBi has no parameters.
import type { Variant } from "#protocol/core/run-config.ts";

const BYTES_PER_PARAMETER = 4;

export interface CostOptions {
  /** std sends every step's gradient. */
  readonly variant: Variant | "std";
  readonly bodyParameters: number;
  readonly width: number;
  /** |V|: tokens of the vocabulary for all text together. */
  readonly vocabularySize: number;
  /** |V_k|: rows that this worker has; std and glob have all. */
  readonly heldRows: number;
  /** Steps between two updates; std has none. */
  readonly localSteps: number;
}

export interface Costs {
  readonly embeddingParameters: number;
  /** What the worker has in memory, moments and gradients not counted. */
  readonly modelParameters: number;
  /** Sent at once: after a round, or after a step of std. */
  readonly sentParameters: number;
  readonly sentParametersPerStep: number;
  /** As dense float32. */
  readonly sentBytesPerStep: number;
  /** How many times less than std sends. */
  readonly factor: number;
  /** The worker's model over std's. */
  readonly memoryShare: number;
}

export function costsOf(options: CostOptions): Costs {
  const { variant, bodyParameters, width, vocabularySize, heldRows } = options;
  const hasAllRows = variant === "std" || variant === "glob";
  const embeddingParameters = (hasAllRows ? vocabularySize : heldRows) * width;
  const modelParameters = bodyParameters + embeddingParameters;
  const sendsEmbedding = hasAllRows || variant === "trim";
  const sentParameters = sendsEmbedding ? modelParameters : bodyParameters;
  const sentParametersPerStep = sentParameters / (variant === "std" ? 1 : options.localSteps);
  const standard = bodyParameters + vocabularySize * width;
  return {
    embeddingParameters,
    modelParameters,
    sentParameters,
    sentParametersPerStep,
    sentBytesPerStep: BYTES_PER_PARAMETER * sentParametersPerStep,
    factor: standard / sentParametersPerStep,
    memoryShare: modelParameters / standard,
  };
}
