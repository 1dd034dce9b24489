// The table of everything glossa says: message -> id, version, channel, largest size, rate per peer, codec.
// The compiler demands a row for each message of `WireMessages`; nothing is sent or read that has no row.

import { MAX_MANIFEST_BYTES } from "../core/run-manifest.ts";
import type { Presence, UpdateAnnouncement } from "../core/types.ts";
import type { AssetOpen, StoreAssetAnswer, StoreAssetOpen } from "./assets.ts";
import * as assets from "./assets.ts";
import type { BulkHead, ChunkRequest, PayloadOpen, TilesOpen } from "./bulk.ts";
import { bulkHeadCodec, chunkRequestCodec, payloadOpenCodec, tilesOpenCodec } from "./bulk.ts";
import type { Codec } from "./codec.ts";
import type { Decoded } from "./decoded.ts";
import { rejected } from "./decoded.ts";
import type {
  PeerExchangeRequest,
  PeerExchangeResponse,
  RunManifestRequest,
  RunManifestResponse,
  StoreManifestRequest,
  StoreManifestResponse,
} from "./exchange.ts";
import * as exchange from "./exchange.ts";
import { MAX_ADDRESS_BYTES } from "./fields.ts";
import { presenceCodec, updateCodec } from "./gossip.ts";
import { MAX_ENVELOPE_BYTES } from "./signed.ts";
import type { StreamName } from "./topics.ts";
import type {
  InventoryRequest,
  InventoryResponse,
  OfferRequest,
  OfferResponse,
  SnapshotRequest,
  SnapshotResponse,
} from "./transfer.ts";
import * as transfer from "./transfer.ts";

export interface WireMessages {
  update: UpdateAnnouncement;
  presence: Presence;
  peerExchangeRequest: PeerExchangeRequest;
  peerExchangeResponse: PeerExchangeResponse;
  runManifestRequest: RunManifestRequest;
  runManifestResponse: RunManifestResponse;
  storeManifestRequest: StoreManifestRequest;
  storeManifestResponse: StoreManifestResponse;
  inventoryRequest: InventoryRequest;
  inventoryResponse: InventoryResponse;
  snapshotRequest: SnapshotRequest;
  snapshotResponse: SnapshotResponse;
  payloadOpen: PayloadOpen;
  tilesOpen: TilesOpen;
  bulkHead: BulkHead;
  chunkRequest: ChunkRequest;
  assetOpen: AssetOpen;
  storeAssetOpen: StoreAssetOpen;
  storeAssetAnswer: StoreAssetAnswer;
  offerRequest: OfferRequest;
  offerResponse: OfferResponse;
}
export type MessageName = keyof WireMessages;

/** A token bucket per peer: `burst` at once, refilled at `perSecond`. Beyond it messages are dropped and charged. */
export interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

export interface MessageSpec<T> {
  /** Never reused, not even for a message that is gone. */
  readonly id: number;
  readonly version: number;
  /** Gossip, or the streams that carry it: bulk frames are shared by several. */
  readonly channel: "gossip" | readonly StreamName[];
  readonly maxBytes: number;
  /** Undefined where asking is what is limited: responses and frames inside a stream that was counted when it opened. */
  readonly rate: Rate | undefined;
  readonly codec: Codec<T>;
}

const PEER_RECORD_BYTES = exchange.MAX_ADDRESSES_PER_PEER * (MAX_ADDRESS_BYTES + 3) + 64;
const UPDATES_BYTES = transfer.MAX_INVENTORY_UPDATES * (MAX_ENVELOPE_BYTES + 3);
const BULK: readonly StreamName[] = ["payload", "tiles", "asset"];
const CHUNKED: readonly StreamName[] = [...BULK, "store-asset"];

// biome-ignore format: one row a message.
export const MESSAGES: { readonly [Name in MessageName]: MessageSpec<WireMessages[Name]> } = {
  // A round takes seconds at the least; bursts are two open rounds republished after a partition.
  update: { id: 1, version: 1, channel: "gossip", maxBytes: MAX_ENVELOPE_BYTES, rate: { burst: 32, perSecond: 4 }, codec: updateCodec },
  presence: { id: 2, version: 1, channel: "gossip", maxBytes: MAX_ENVELOPE_BYTES, rate: { burst: 64, perSecond: 8 }, codec: presenceCodec },
  // Asked at most every few seconds by an isolated peer, every half minute by a settled one.
  peerExchangeRequest: { id: 3, version: 1, channel: ["peer-exchange"], maxBytes: PEER_RECORD_BYTES, rate: { burst: 30, perSecond: 1 }, codec: exchange.peerExchangeRequestCodec },
  peerExchangeResponse: { id: 4, version: 1, channel: ["peer-exchange"], maxBytes: exchange.MAX_PEERS_PER_EXCHANGE * PEER_RECORD_BYTES, rate: undefined, codec: exchange.peerExchangeResponseCodec },
  // Once per joining peer.
  runManifestRequest: { id: 5, version: 1, channel: ["run-manifest"], maxBytes: 64, rate: { burst: 20, perSecond: 0.5 }, codec: exchange.runManifestRequestCodec },
  runManifestResponse: { id: 6, version: 1, channel: ["run-manifest"], maxBytes: MAX_MANIFEST_BYTES + 16, rate: undefined, codec: exchange.runManifestResponseCodec },
  // Once per new run, and again whenever a peer finds that the rendezvous has forgotten it.
  storeManifestRequest: { id: 7, version: 1, channel: ["store-manifest"], maxBytes: MAX_MANIFEST_BYTES + 16, rate: { burst: 10, perSecond: 0.1 }, codec: exchange.storeManifestRequestCodec },
  storeManifestResponse: { id: 8, version: 1, channel: ["store-manifest"], maxBytes: 256, rate: undefined, codec: exchange.storeManifestResponseCodec },
  // Anti-entropy: once a round per neighbour, more often while their digests differ. A thousand peers' log is 18 pages.
  inventoryRequest: { id: 9, version: 1, channel: ["inventory"], maxBytes: 160, rate: { burst: 40, perSecond: 4 }, codec: transfer.inventoryRequestCodec },
  inventoryResponse: { id: 10, version: 1, channel: ["inventory"], maxBytes: UPDATES_BYTES, rate: undefined, codec: transfer.inventoryResponseCodec },
  // Once per join or repair.
  snapshotRequest: { id: 11, version: 1, channel: ["snapshot"], maxBytes: 64, rate: { burst: 20, perSecond: 1 }, codec: transfer.snapshotRequestCodec },
  snapshotResponse: { id: 12, version: 1, channel: ["snapshot"], maxBytes: transfer.MAX_SNAPSHOT_TILES * 32 + UPDATES_BYTES + 256, rate: undefined, codec: transfer.snapshotResponseCodec },
  // One per update and holder tried; one per tile source.
  payloadOpen: { id: 13, version: 1, channel: ["payload"], maxBytes: 96, rate: { burst: 256, perSecond: 32 }, codec: payloadOpenCodec },
  tilesOpen: { id: 14, version: 1, channel: ["tiles"], maxBytes: 96, rate: { burst: 40, perSecond: 2 }, codec: tilesOpenCodec },
  bulkHead: { id: 15, version: 1, channel: BULK, maxBytes: 32, rate: undefined, codec: bulkHeadCodec },
  chunkRequest: { id: 16, version: 1, channel: CHUNKED, maxBytes: 16, rate: undefined, codec: chunkRequestCodec },
  // Once per joining peer and holder tried; at most 32 MiB each, so one asker never takes more than 1.6 MB/s for long.
  assetOpen: { id: 17, version: 1, channel: ["asset"], maxBytes: 96, rate: { burst: 8, perSecond: 0.05 }, codec: assets.assetOpenCodec },
  // Once per new run, and by each peer that meets the rendezvous again.
  storeAssetOpen: { id: 18, version: 1, channel: ["store-asset"], maxBytes: 96, rate: { burst: 8, perSecond: 0.05 }, codec: assets.storeAssetOpenCodec },
  storeAssetAnswer: { id: 19, version: 1, channel: ["store-asset"], maxBytes: 256, rate: undefined, codec: assets.storeAssetAnswerCodec },
  // Of a round's updates to two peers each; each makes the asked fetch a payload once at most.
  offerRequest: { id: 20, version: 1, channel: ["offer"], maxBytes: MAX_ENVELOPE_BYTES + 4, rate: { burst: 16, perSecond: 1 }, codec: transfer.offerRequestCodec },
  offerResponse: { id: 21, version: 1, channel: ["offer"], maxBytes: 16, rate: undefined, codec: transfer.offerResponseCodec },
};

/** The bytes of our own message. Throws RangeError where a value or the whole is out of bounds: that is a bug. */
export function encodeMessage<Name extends MessageName>(name: Name, value: WireMessages[Name]): Uint8Array {
  const bytes = MESSAGES[name].codec.encode(value);
  if (bytes.byteLength > MESSAGES[name].maxBytes) {
    throw new RangeError(`${name} has ${bytes.byteLength} bytes, at most ${MESSAGES[name].maxBytes}`);
  }
  return bytes;
}

/** A remote peer's message, or why it is refused. Never throws. */
export function decodeMessage<Name extends MessageName>(
  name: Name,
  bytes: Uint8Array,
): Decoded<WireMessages[Name]> {
  const { maxBytes, codec } = MESSAGES[name];
  if (bytes.byteLength > maxBytes) {
    return rejected("oversized", `${name} has ${bytes.byteLength} bytes, at most ${maxBytes}`);
  }
  return codec.decode(bytes);
}

/** Which message asks and which answers, for streams of one request and one response. */
export const EXCHANGES = {
  "peer-exchange": { request: "peerExchangeRequest", response: "peerExchangeResponse" },
  "run-manifest": { request: "runManifestRequest", response: "runManifestResponse" },
  "store-manifest": { request: "storeManifestRequest", response: "storeManifestResponse" },
  inventory: { request: "inventoryRequest", response: "inventoryResponse" },
  snapshot: { request: "snapshotRequest", response: "snapshotResponse" },
  offer: { request: "offerRequest", response: "offerResponse" },
} as const satisfies Partial<Record<StreamName, { request: MessageName; response: MessageName }>>;
export type ExchangeName = keyof typeof EXCHANGES;
export type RequestOf<Name extends ExchangeName> = WireMessages[(typeof EXCHANGES)[Name]["request"]];
export type ResponseOf<Name extends ExchangeName> = WireMessages[(typeof EXCHANGES)[Name]["response"]];
