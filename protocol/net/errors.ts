// The errors of protocol/net. libp2p's own never leave this folder: each becomes a code, typed fields and one sentence
// that names the cause and the remedy.
import type { PeerId, RunId } from "../core/types.ts";

export type NetworkErrorCode =
  | "identity-unreadable"
  | "identity-invalid"
  | "address-invalid"
  | "address-in-use"
  | "address-unavailable"
  | "listen-failed"
  | "bootstrap-unreachable"
  | "manifest-not-found"
  | "manifest-mismatch"
  | "manifest-refused"
  | "asset-not-found"
  | "asset-mismatch"
  | "asset-refused"
  | "asset-too-large"
  | "peer-unreachable"
  | "peer-timeout"
  | "peer-misbehaved"
  | "not-served"
  | "payload-too-large"
  | "payload-unavailable"
  | "snapshot-unavailable"
  | "wrong-signer"
  | "network-stopped";

/** What went wrong and where; fields that do not apply are absent. */
export interface NetworkErrorFields {
  readonly address?: string;
  readonly path?: string;
  readonly peer?: PeerId;
  readonly runId?: RunId;
  readonly attempts?: readonly string[];
}

export class NetworkError extends Error {
  override readonly name = "NetworkError";
  readonly code: NetworkErrorCode;
  readonly fields: NetworkErrorFields;

  constructor(code: NetworkErrorCode, message: string, fields: NetworkErrorFields = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.fields = fields;
  }
}

/** The message of anything thrown, on one line. */
export const reasonOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split("\n", 1)[0] ?? "";
