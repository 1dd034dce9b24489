// What can be wrong with an adaptation as it is asked for. Each error names the cause and the remedy.

/** The output folder holds the beginning, or the result, of another adaptation. */
export class OtherAdaptationError extends Error {
  readonly code = "STATE_OF_ANOTHER_ADAPTATION";
  readonly output: string;

  constructor(output: string, difference: string) {
    super(
      `${output} holds an adaptation with a different ${difference}: give the same settings to go on with it, another --output, or --force to begin anew.`,
    );
    this.name = "OtherAdaptationError";
    this.output = output;
  }
}

/** An embedding cannot be kept under a vocabulary that it was not made for. */
export class EmbeddingNotKeptError extends Error {
  readonly code = "EMBEDDING_NOT_KEPT";

  constructor() {
    super(
      "The embedding can be kept only with the model's own vocabulary: give --keep-vocabulary, or --embedding matching or random.",
    );
    this.name = "EmbeddingNotKeptError";
  }
}

/** What an interrupted adaptation needs to go on is not there. */
export class AdaptationDamagedError extends Error {
  readonly code = "ADAPTATION_DAMAGED";
  readonly path: string;

  constructor(path: string) {
    super(`The adaptation cannot go on: ${path} is gone; restore it, or give --force to begin anew.`);
    this.name = "AdaptationDamagedError";
    this.path = path;
  }
}

/** Another process adapts into the same folder. */
export class OutputInUseError extends Error {
  readonly code = "OUTPUT_IN_USE";
  readonly output: string;
  readonly pid: number;

  constructor(output: string, { pid, host }: { readonly pid: number; readonly host: string }) {
    super(
      `Process ${pid} on ${host} is adapting into ${output}: wait for it, stop it, or give another --output.`,
    );
    this.name = "OutputInUseError";
    this.output = output;
    this.pid = pid;
  }
}
