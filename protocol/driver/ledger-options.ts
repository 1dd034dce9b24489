// What a ledger is made of and begins with.
import type { PeerId, RunId } from "../core/types.ts";
import type { ProtocolCheckpoint, StorePort, UpdateLogPort } from "../ports.ts";
import type { ArithmeticOptions, BodyArithmetic } from "./arithmetic.ts";

export interface LedgerOptions extends ArithmeticOptions {
  readonly runId: RunId;
  readonly self: PeerId;
}

export interface LedgerModules {
  readonly arithmetic: BodyArithmetic;
  readonly store: StorePort;
  readonly updateLog?: UpdateLogPort | undefined;
  readonly nowMs: () => number;
  /** Called for each update that is counted or logged while a body is taken over. */
  readonly onAdvanced?: (() => void) | undefined;
}

/** `closedBody`: undefined where this peer has to fetch one. */
export type LedgerStart = Pick<
  ProtocolCheckpoint,
  "closedRound" | "round" | "residual" | "pendingOwn" | "late" | "opposed"
> & {
  readonly closedBody: Float32Array | undefined;
};
