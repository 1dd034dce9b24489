// What the thread of the arithmetic is told and answers. A port for each run whose bodies it works on.
import type { MessagePort } from "node:worker_threads";
import type { AddOutcome } from "#protocol/core/averaging.ts";
import type {
  ArithmeticOptions,
  ClosingBody,
  CompressedDelta,
  DecodedUpdate,
  Decoding,
  DescribedBody,
  ResidualMove,
} from "#protocol/driver/arithmetic.ts";

export interface OpenBooks {
  readonly options: Omit<ArithmeticOptions, "hash">;
  readonly port: MessagePort;
}

interface Counting {
  readonly round: number;
  readonly key: string;
  readonly update: DecodedUpdate;
}

/** As BodyArithmetic. All arrays of a body's size, and payloads, are shared between the threads. */
export type ArithmeticMethods = {
  readonly describe: { args: { body: Float32Array }; progress: never; result: DescribedBody };
  readonly begin: {
    args: { closedRound: number; closed: DescribedBody };
    progress: never;
    result: undefined;
  };
  readonly decode: { args: { payload: Uint8Array }; progress: never; result: Decoding };
  readonly release: { args: { update: DecodedUpdate }; progress: never; result: undefined };
  readonly add: { args: Counting & { weight: number }; progress: never; result: AddOutcome };
  readonly remove: { args: Counting; progress: never; result: boolean };
  readonly bodyAt: { args: { round: number }; progress: never; result: DescribedBody };
  readonly closeThrough: { args: { round: number }; progress: never; result: ClosingBody };
  readonly compress: {
    args: { delta: Float32Array; residual: Float32Array };
    progress: never;
    result: CompressedDelta;
  };
  readonly moveResidual: {
    args: { residual: Float32Array; update: DecodedUpdate; move: ResidualMove };
    progress: never;
    result: Float32Array;
  };
};
