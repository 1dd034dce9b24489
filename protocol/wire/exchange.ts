// Requests answered by one response: peer exchange and run manifests. Both are asked of the rendezvous and of peers.

import { MAX_MANIFEST_BYTES } from "../core/run-manifest.ts";
import type { PeerId, RunId } from "../core/types.ts";
import type { Codec } from "./codec.ts";
import { protoCodec } from "./codec.ts";
import { FieldError } from "./decoded.ts";
import {
  MAX_ADDRESS_BYTES,
  readHex32,
  readList,
  readText,
  writeHex32,
  writeList,
  writeText,
} from "./fields.ts";
import {
  PeerExchangeRequestSchema,
  PeerExchangeResponseSchema,
  RunManifestRequestSchema,
  RunManifestResponseSchema,
  StoreManifestRequestSchema,
  StoreManifestResponseSchema,
} from "./generated/glossa_pb.ts";
import { peerIdOfKey, writePeer } from "./peer-key.ts";

export const MAX_ADDRESSES_PER_PEER = 8;
export const MAX_PEERS_PER_EXCHANGE = 32;
const MAX_REASON_BYTES = 200;

/** Where a peer may be found: a hint that a dial proves or refutes. Addresses are multiaddrs without `/p2p`. */
export interface PeerRecord {
  readonly peer: PeerId;
  readonly addresses: readonly string[];
}

export interface PeerExchangeRequest {
  readonly runId: RunId;
  /** Whether the asker wants to be handed out to others as a participant of the run. */
  readonly register: boolean;
  readonly addresses: readonly string[];
}

export interface PeerExchangeResponse {
  readonly known: boolean;
  readonly peers: readonly PeerRecord[];
}

export interface RunManifestRequest {
  readonly runId: RunId;
}

export interface RunManifestResponse {
  /** Undefined where the responder does not have it. */
  readonly manifest: Uint8Array | undefined;
}

export interface StoreManifestRequest {
  readonly manifest: Uint8Array;
}

export interface StoreManifestResponse {
  readonly stored: boolean;
  readonly reason: string;
}

const readAddresses = (addresses: readonly string[]) =>
  readList(addresses, "addresses", MAX_ADDRESSES_PER_PEER, (address) =>
    readText(address, "address", MAX_ADDRESS_BYTES),
  );
const writeAddresses = (addresses: readonly string[]) =>
  writeList(addresses, "addresses", MAX_ADDRESSES_PER_PEER, (address) =>
    writeText(address, "address", MAX_ADDRESS_BYTES),
  );

function readManifest(manifest: Uint8Array): Uint8Array {
  if (manifest.byteLength === 0) throw new FieldError("manifest is empty");
  if (manifest.byteLength > MAX_MANIFEST_BYTES) {
    throw new FieldError(`manifest has more than ${MAX_MANIFEST_BYTES} bytes`, "oversized");
  }
  return manifest;
}

function writeManifest(manifest: Uint8Array): Uint8Array<ArrayBuffer> {
  if (manifest.byteLength === 0 || manifest.byteLength > MAX_MANIFEST_BYTES) {
    throw new RangeError(`a manifest has 1..${MAX_MANIFEST_BYTES} bytes, not ${manifest.byteLength}`);
  }
  return new Uint8Array(manifest);
}

export const peerExchangeRequestCodec: Codec<PeerExchangeRequest> = protoCodec(PeerExchangeRequestSchema, {
  write: ({ runId, register, addresses }) => ({
    runId: writeHex32(runId, "runId"),
    register,
    addresses: writeAddresses(addresses),
  }),
  read: ({ runId, register, addresses }) => ({
    runId: readHex32(runId, "runId"),
    register,
    addresses: readAddresses(addresses),
  }),
});

export const peerExchangeResponseCodec: Codec<PeerExchangeResponse> = protoCodec(PeerExchangeResponseSchema, {
  write: ({ known, peers }) => ({
    known,
    peers: writeList(peers, "peers", MAX_PEERS_PER_EXCHANGE, ({ peer, addresses }) => ({
      peer: writePeer(peer, "peer"),
      addresses: writeAddresses(addresses),
    })),
  }),
  read: ({ known, peers }) => ({
    known,
    peers: readList(peers, "peers", MAX_PEERS_PER_EXCHANGE, ({ peer, addresses }) => ({
      peer: peerIdOfKey(peer),
      addresses: readAddresses(addresses),
    })),
  }),
});

export const runManifestRequestCodec: Codec<RunManifestRequest> = protoCodec(RunManifestRequestSchema, {
  write: ({ runId }) => ({ runId: writeHex32(runId, "runId") }),
  read: ({ runId }) => ({ runId: readHex32(runId, "runId") }),
});

export const runManifestResponseCodec: Codec<RunManifestResponse> = protoCodec(RunManifestResponseSchema, {
  write: ({ manifest }) => (manifest === undefined ? {} : { manifest: writeManifest(manifest) }),
  read: ({ manifest }) => ({ manifest: manifest === undefined ? undefined : readManifest(manifest) }),
});

export const storeManifestRequestCodec: Codec<StoreManifestRequest> = protoCodec(StoreManifestRequestSchema, {
  write: ({ manifest }) => ({ manifest: writeManifest(manifest) }),
  read: ({ manifest }) => ({ manifest: readManifest(manifest) }),
});

export const storeManifestResponseCodec: Codec<StoreManifestResponse> = protoCodec(
  StoreManifestResponseSchema,
  {
    write: ({ stored, reason }) => ({ stored, reason: writeText(reason, "reason", MAX_REASON_BYTES) }),
    read: ({ stored, reason }) => ({ stored, reason: readText(reason, "reason", MAX_REASON_BYTES) }),
  },
);
