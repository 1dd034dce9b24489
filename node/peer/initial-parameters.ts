// The shared parameters at the start of round 0 where a run does not start from its seed but from a model: out of the model
// that the user gives. Whoever has none gets them from the others.
import { bodyLength } from "#model/architecture.ts";
import { bodyRoot } from "#protocol/core/merkle.ts";
import type { RunConfig } from "#protocol/core/run-config.ts";
import { InitialBodyError } from "#protocol/errors.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { type LoadedModel, loadModel } from "../models/load-model.ts";
import { UsageError } from "../settings.ts";
import { sharedVocabularySize } from "../variants.ts";

type RunOfModel = Pick<RunConfig, "model" | "variant" | "vocabulary">;

/** A model cannot be what the run shares at its start. */
export class InitialModelUnfitError extends Error {
  readonly code = "INITIAL_MODEL_UNFIT";

  constructor(reference: string, problem: string, remedy: string) {
    super(`A run cannot start from ${reference}: ${problem}; ${remedy}.`);
    this.name = "InitialModelUnfitError";
  }
}

/**
 * What a run shares of a model: its body, and where rows are shared its embedding, which then has to be of the common
 * vocabulary. Flat, in the layout's order.
 * @throws InitialModelUnfitError
 */
export function sharedParametersOf(reference: string, model: LoadedModel, run: RunOfModel): Float32Array {
  const { config, body, embedding, tokenizer } = model;
  for (const field of ["blocks", "width", "heads"] as const) {
    if (config[field] === run.model[field]) continue;
    throw new InitialModelUnfitError(
      reference,
      `it has ${field} ${config[field]} where the run has ${run.model[field]}`,
      "give a model of the run's size, or make the run in the model's",
    );
  }
  const rows = sharedVocabularySize(run);
  if (rows === undefined) return body;
  // A model's last rows may be padding, of which its tokenizer knows nothing.
  if (config.vocabularySize < rows || tokenizer.vocabularySize > rows) {
    throw new InitialModelUnfitError(
      reference,
      `its embedding has ${config.vocabularySize} rows where the run's vocabulary has ${rows}`,
      "take the model's own tokenizer for the run, or a variant that shares no embedding",
    );
  }
  const values = rows * config.width;
  const shared = new Float32Array(bodyLength(run.model) + values);
  shared.set(body);
  shared.set(embedding.subarray(0, values), body.length);
  return shared;
}

/**
 * The initial parameters of a run that names them, checked; `undefined` where they are left to the others.
 * @throws UsageError where the run starts from its seed, InitialBodyError, InitialModelUnfitError, and as loadModel
 */
export async function givenParameters(
  reference: string | undefined,
  run: RunOfModel & Pick<RunConfig, "name" | "initialBody">,
  signal: AbortSignal,
): Promise<Float32Array | undefined> {
  if (reference === undefined) return undefined;
  if (run.initialBody === undefined) {
    throw new UsageError(`The run ${run.name} starts from its seed, not from a model: leave --body out.`);
  }
  const shared = sharedParametersOf(reference, await loadModel(reference, { signal }), run);
  const root = bodyRoot(shared, sha256);
  if (root !== run.initialBody) throw new InitialBodyError(run.initialBody, root);
  return shared;
}
