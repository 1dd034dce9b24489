// Errors of model/. Each has a stable `code`, typed fields and one sentence that names the cause and the remedy.
import type { Device, Precision } from "./types.ts";

/** A ModelConfig or OptimizerConfig that cannot be built. `field` names the offending entry. */
export class ModelConfigError extends Error {
  readonly code = "MODEL_CONFIG_INVALID";
  readonly field: string;
  constructor(field: string, cause: string, remedy: string) {
    super(`The model configuration is invalid: ${cause}; ${remedy}.`);
    this.name = "ModelConfigError";
    this.field = field;
  }
}

/** A graph that breaks a rule of the IR: a shape that does not fit, a value used before it exists. */
export class GraphError extends Error {
  readonly code = "GRAPH_INVALID";
  readonly where: string;
  constructor(where: string, cause: string) {
    super(`The graph is invalid at ${where}: ${cause}.`);
    this.name = "GraphError";
    this.where = where;
  }
}

/** A gradient was asked of an operation, or of one of its outputs, that must not be asked for one. */
export class GradientNotDefinedError extends Error {
  readonly code = "GRADIENT_NOT_DEFINED";
  readonly op: string;
  constructor(op: string, cause: string) {
    super(`No gradient flows through ${op}: ${cause}; keep it out of the path from the weights to the loss.`);
    this.name = "GradientNotDefinedError";
    this.op = op;
  }
}

/** The requested device is not there: its provider library, driver or hardware is missing. */
export class DeviceUnavailableError extends Error {
  readonly code = "DEVICE_UNAVAILABLE";
  readonly device: Device;
  readonly remedy: string;
  constructor(device: Device, cause: unknown, remedy: string) {
    const [line] = (cause instanceof Error ? cause.message : String(cause)).split("\n", 1) as [string];
    // onnxruntime puts its own source line and the condition that failed before the reason.
    const reason = line.replace(/^\/.* was false\. /, "");
    super(`The device "${device}" is not available (${reason}); ${remedy}.`, { cause });
    this.name = "DeviceUnavailableError";
    this.device = device;
    this.remedy = remedy;
  }
}

/** The device is there and computes, but not in the precision that was asked for. */
export class PrecisionUnavailableError extends Error {
  readonly code = "PRECISION_UNAVAILABLE";
  readonly device: Device;
  readonly precision: Precision;
  constructor(device: Device, precision: Precision, cause: unknown) {
    const [reason] = (cause instanceof Error ? cause.message : String(cause)).split("\n", 1) as [string];
    super(
      `The device "${device}" does not compute in ${precision} (${reason}); choose the precision float32 or another device.`,
      { cause },
    );
    this.name = "PrecisionUnavailableError";
    this.device = device;
    this.precision = precision;
  }
}

/** A batch, a body or a state whose size is not the one that the compiled step was built for. */
export class TensorSizeError extends Error {
  readonly code = "TENSOR_SIZE_MISMATCH";
  readonly tensor: string;
  readonly expected: number;
  readonly actual: number;
  constructor(tensor: string, expected: number, actual: number) {
    super(
      `"${tensor}" has ${actual} elements where ${expected} are expected; pass data of the model's configuration.`,
    );
    this.name = "TensorSizeError";
    this.tensor = tensor;
    this.expected = expected;
    this.actual = actual;
  }
}

/** A token id outside the vocabulary. */
export class TokenOutOfRangeError extends Error {
  readonly code = "TOKEN_OUT_OF_RANGE";
  readonly token: number;
  readonly vocabularySize: number;
  constructor(token: number, vocabularySize: number) {
    super(
      `Token ${token} is outside the vocabulary of ${vocabularySize}; tokenize with the tokenizer the model was made for.`,
    );
    this.name = "TokenOutOfRangeError";
    this.token = token;
    this.vocabularySize = vocabularySize;
  }
}

/** Loss or gradient norm came out NaN or infinite. The step was not applied: parameters and moments are unchanged. */
export class NonFiniteStepError extends Error {
  readonly code = "NON_FINITE_STEP";
  readonly step: number;
  readonly loss: number;
  readonly gradientNorm: number;
  constructor(step: number, loss: number, gradientNorm: number) {
    super(
      `Step ${step} gave loss ${loss} and gradient norm ${gradientNorm} and was not applied; ` +
        "lower the learning rate or restore an earlier state.",
    );
    this.name = "NonFiniteStepError";
    this.step = step;
    this.loss = loss;
    this.gradientNorm = gradientNorm;
  }
}

/** A TrainingModel was used after dispose(). */
export class ModelDisposedError extends Error {
  readonly code = "MODEL_DISPOSED";
  constructor() {
    super("The training model was disposed of; create a new one.");
    this.name = "ModelDisposedError";
  }
}
