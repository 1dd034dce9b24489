// Payloads and bodies over the simulated network, in the order and with the checks of protocol/net/payloads.ts and
// snapshots.ts: several sources, what one has given is not asked of the next, and nothing is believed before its hash.
import { hexSha256 } from "../core/hash.ts";
import { rootOfTiles, tileBytes, tileCount, writeTile } from "../core/merkle.ts";
import type { ContentId, PeerId, SignedUpdate } from "../core/types.ts";
import { sha256 } from "../net/hash.ts";
import type { FetchedSnapshot, ServedContent, SnapshotAids } from "../ports.ts";
import type { SimulatedNetwork } from "./simulated-network.ts";

/** protocol/net/tile-transfer.ts. */
const MAX_SOURCES_AT_ONCE = 8;
const MAX_PASSES = 3;
/** protocol/net/run-network.ts. */
const OTHERS_ASKED = 8;
/** A modelled body is fetched in so many pieces, shared out among its sources as they are free. */
const PIECES = 64;

export async function fetchPayload(
  network: SimulatedNetwork,
  self: PeerId,
  update: SignedUpdate,
  holders: readonly PeerId[],
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { author, payload: id, payloadBytes } = update.announcement;
  const weight = network.model.payloadBytes?.(payloadBytes) ?? payloadBytes;
  let received = 0;
  for (const source of sourcesOf(network, self, [...holders, author])) {
    const before = received;
    try {
      const bytes = await network.request(
        self,
        source,
        "payload",
        signal,
        (content) => content.payload(id),
        (found) => network.sizes.request + (found === undefined ? 0 : weight - before),
        {
          received: (through) => {
            received = Math.min(weight, before + through);
          },
        },
      );
      if (bytes === undefined) continue;
      const arrived = network.delivered(source, self, bytes);
      if (arrived.length === payloadBytes && hexSha256(arrived, sha256) === id) return arrived;
      network.penalise(
        self,
        source,
        "hash-mismatch",
        `${arrived.length} bytes that are not ${id.slice(0, 12)}`,
      );
      received = 0;
    } catch (error) {
      if (signal.aborted) throw error;
    }
  }
  throw new Error(`no holder gave the payload ${id.slice(0, 12)}`);
}

/** protocol/net/offers.ts. */
export function offerUpdate(
  network: SimulatedNetwork,
  self: PeerId,
  peer: PeerId,
  update: SignedUpdate,
  signal: AbortSignal,
): Promise<boolean> {
  const { sizes } = network;
  const asked = (content: ServedContent) => content.offer?.(update, self) ?? false;
  return network.request(self, peer, "control", signal, asked, () => sizes.request + sizes.update);
}

/** The preferred peers first; where connections are few, any other neighbour may have it too. */
function sourcesOf(
  network: SimulatedNetwork,
  self: PeerId,
  preferred: readonly PeerId[],
): ReadonlySet<PeerId> {
  const known = preferred.filter((peer) => peer !== self);
  if (network.model.connections === undefined) return new Set(known);
  const connected = network.topology.neighbours(self);
  const others = connected.size > OTHERS_ASKED ? network.drawn([...connected], OTHERS_ASKED) : connected;
  return new Set([...known.filter((peer) => connected.has(peer)), ...others]);
}

export async function fetchSnapshot(
  network: SimulatedNetwork,
  self: PeerId,
  peer: PeerId,
  signal: AbortSignal,
  onProgress: (bytes: number, totalBytes: number) => void,
  aids: SnapshotAids = {},
): Promise<FetchedSnapshot> {
  const { bodyValues, sizes } = network;
  const manifest = await network.request(
    self,
    peer,
    "snapshot",
    signal,
    (content) => content.snapshot(),
    (found) =>
      sizes.request +
      (found === undefined ? 0 : 32 * found.tiles.length + sizes.listed * found.updates.length),
  );
  if (manifest === undefined) throw new Error("nothing to serve yet");
  if (manifest.tiles.length !== tileCount(bodyValues)) throw new Error("a body of another size");
  if (rootOfTiles(manifest.tiles, sha256) !== manifest.root) throw new Error("tiles are not the root's");
  aids.accept?.(manifest);
  const body = new Float32Array(bodyValues);
  const { held, kept } = await tilesAtHand(manifest.tiles, body, aids);
  const totalBytes = network.model.bodyBytes?.(4 * bodyValues) ?? 4 * bodyValues;
  const pieces = Math.max(manifest.tiles.length, network.links === undefined ? 1 : PIECES);
  const tileOf = (piece: number) => Math.floor((piece * manifest.tiles.length) / pieces);
  const missing = Array.from({ length: pieces }, (_, piece) => piece).filter(
    (piece) => !held.has(tileOf(piece)) && !kept.has(tileOf(piece)),
  );
  const liars = new Set<PeerId>();
  const given = new Map<PeerId, Set<number>>();
  let done = pieces - missing.length;
  const doneBytes = () => (done * totalBytes) / pieces;

  const pullFrom = async (source: PeerId) => {
    // As over a real stream: it is opened, and the source says whether it has the body, before any piece is taken.
    if (network.links !== undefined) {
      const serves = (content: ServedContent) => content.tile(manifest.root, 0) !== undefined;
      const found = await network.request(self, source, "snapshot", signal, serves, () => sizes.request);
      if (!found) return;
    }
    for (let piece = missing.shift(); piece !== undefined; piece = missing.shift()) {
      try {
        await pull(source, piece);
        done++;
        onProgress(doneBytes(), totalBytes);
      } catch {
        missing.push(piece);
        return;
      }
    }
  };
  const pull = async (source: PeerId, piece: number) => {
    const index = tileOf(piece);
    const tile = await network.request(
      self,
      source,
      "snapshot",
      signal,
      (content) => content.tile(manifest.root, index),
      (found) => sizes.request + (found === undefined ? 0 : totalBytes / pieces),
      // A piece is many tiles, and each of them is progress.
      { isOpen: network.links !== undefined, received: () => onProgress(doneBytes(), totalBytes) },
    );
    if (tile === undefined) throw new Error(`${source} does not serve this body`);
    const arrived = network.delivered(source, self, tile);
    if (hexSha256(arrived, sha256) === manifest.tiles[index] && writeTile(body, index, arrived)) {
      given.set(source, (given.get(source) ?? new Set()).add(index));
      await aids.draft?.keep(index, arrived).catch(() => {});
      return;
    }
    liars.add(source);
    network.penalise(self, source, "hash-mismatch", `tile ${index} has another hash`);
    throw new Error(`tile ${index} is wrong`);
  };
  for (let pass = 0; pass < MAX_PASSES && done < pieces; pass++) {
    const helpers = network.connected(self).filter((other) => other !== peer);
    const sources = [peer, ...helpers].filter((source) => !liars.has(source));
    const work = async () => {
      for (
        let source = sources.shift();
        source !== undefined && missing.length > 0;
        source = sources.shift()
      ) {
        await pullFrom(source).catch(() => signal.throwIfAborted());
      }
    };
    await Promise.all(Array.from({ length: Math.min(MAX_SOURCES_AT_ONCE, sources.length) }, work));
  }
  if (done < pieces) throw new Error(`only ${done} of ${pieces} pieces of the body could be fetched`);
  const fetched = [...given].map(([giver, { size }]) => ({ peer: giver, tiles: size, bytesPerSecond: 0 }));
  return { manifest, body, tiles: { held: held.size, kept: kept.size, fetched } };
}

/** Puts into the body what need not be fetched, and says which tiles those are. */
async function tilesAtHand(
  tiles: readonly ContentId[],
  body: Float32Array,
  { held, draft }: SnapshotAids,
): Promise<{ held: Set<number>; kept: Set<number> }> {
  const from = { held: new Set<number>(), kept: new Set<number>() };
  for (const [index, id] of tiles.entries()) {
    const own = held?.tiles[index] === id ? tileBytes(held.body, index) : undefined;
    if (own !== undefined && writeTile(body, index, own)) {
      from.held.add(index);
      continue;
    }
    const tile = await draft?.tile(index);
    if (tile === undefined || hexSha256(tile, sha256) !== id) continue;
    if (writeTile(body, index, tile)) from.kept.add(index);
  }
  return from;
}
