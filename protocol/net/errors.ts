// The errors of protocol/net. libp2p's own never leave this folder: each becomes a code, typed fields and one sentence
// that names the cause and the remedy.
import type { PeerId, RunId } from "../core/types.ts";

export type NetworkErrorCode =
  | "IDENTITY_UNREADABLE"
  | "IDENTITY_INVALID"
  | "ADDRESS_INVALID"
  | "ADDRESS_IN_USE"
  | "ADDRESS_UNAVAILABLE"
  | "LISTEN_FAILED"
  | "BOOTSTRAP_UNREACHABLE"
  | "MANIFEST_NOT_FOUND"
  | "MANIFEST_MISMATCH"
  | "MANIFEST_REFUSED"
  | "ASSET_NOT_FOUND"
  | "ASSET_MISMATCH"
  | "ASSET_REFUSED"
  | "ASSET_TOO_LARGE"
  | "PEER_UNREACHABLE"
  | "PEER_TIMEOUT"
  | "PEER_MISBEHAVED"
  | "NOT_SERVED"
  | "PAYLOAD_TOO_LARGE"
  | "PAYLOAD_UNAVAILABLE"
  | "SNAPSHOT_UNAVAILABLE"
  | "WRONG_SIGNER"
  | "NETWORK_STOPPED";

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
