// What can go wrong between a model reference and a model. Each error names the reference, the cause and the remedy.

/** Nothing on this machine goes by the reference. */
export class ModelNotFoundError extends Error {
  readonly code = "MODEL_NOT_FOUND";
  readonly reference: string;

  constructor(reference: string, cause: string) {
    super(
      `There is no model ${reference}: ${cause}; give a model folder, the state directory of a peer, or its name.`,
    );
    this.name = "ModelNotFoundError";
    this.reference = reference;
  }
}

/** Several peers have the name. */
export class ModelAmbiguousError extends Error {
  readonly code = "MODEL_AMBIGUOUS";
  readonly stateDirectories: readonly string[];

  constructor(name: string, stateDirectories: readonly string[]) {
    super(
      `${stateDirectories.length} peers are called ${name}: give one of their state directories, ${stateDirectories.join(" or ")}.`,
    );
    this.name = "ModelAmbiguousError";
    this.stateDirectories = stateDirectories;
  }
}

/** The peer is there, but has not come as far as having a model. */
export class ModelNotReadyError extends Error {
  readonly code = "MODEL_NOT_READY";
  readonly stateDirectory: string;

  constructor(stateDirectory: string, missing: string) {
    super(`The peer in ${stateDirectory} has no model yet (${missing}): wait until it has trained a round.`);
    this.name = "ModelNotReadyError";
    this.stateDirectory = stateDirectory;
  }
}

/** Parts that do not belong together: a tokenizer of another size than the embedding, a body of another architecture. */
export class ModelPartsMismatchError extends Error {
  readonly code = "MODEL_PARTS_MISMATCH";

  constructor(where: string, mismatch: string, remedy: string) {
    super(`The parts of the model in ${where} do not belong together: ${mismatch}; ${remedy}.`);
    this.name = "ModelPartsMismatchError";
  }
}

/** A common embedding was asked of a model that has none. */
export class NoGlobalEmbeddingError extends Error {
  readonly code = "NO_GLOBAL_EMBEDDING";

  constructor(reference: string, why: string) {
    super(`${reference} has no global embedding (${why}): leave --global out.`);
    this.name = "NoGlobalEmbeddingError";
  }
}
