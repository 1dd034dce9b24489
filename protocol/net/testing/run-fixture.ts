// A run on loopback for the tests of protocol/net: real networks over real TCP, with what they heard written down.
import { tileBytes, tileIds } from "../../core/merkle.ts";
import type { PeerId, Presence, SignedUpdate, SnapshotManifest } from "../../core/types.ts";
import type { ServedContent } from "../../ports.ts";
import { sha256, sha256Hex } from "../hash.ts";
import { createIdentity } from "../identity.ts";
import type { Network, NetworkModules, NetworkOptions } from "../network.ts";
import { createNetwork } from "../network.ts";

export const MANIFEST: Uint8Array = new TextEncoder().encode('{"test":"run"}');
export const RUN_ID: string = sha256Hex(MANIFEST);
export const LOOPBACK: readonly string[] = ["/ip4/127.0.0.1/tcp/0"];
export const ROOT: string = "ab".repeat(32);

export interface Member {
  readonly network: Network;
  readonly updates: SignedUpdate[];
  readonly presences: Presence[];
}

const NOTHING: ServedContent = {
  payload: async () => undefined,
  inventory: () => [],
  snapshot: () => undefined,
  tile: () => undefined,
};

/** Starts members and ends them all; one per test file. */
export class TestRun {
  readonly #running = new Set<Network>();

  async join(
    options: Partial<NetworkOptions> = {},
    content: Partial<ServedContent> = {},
    modules: NetworkModules = {},
  ): Promise<Member> {
    const network = await createNetwork(
      {
        identity: await createIdentity(),
        runId: RUN_ID,
        runManifest: MANIFEST,
        listen: LOOPBACK,
        bootstrap: [...this.#running].flatMap((running) => running.addresses()),
        bodyValues: 1000,
        maxPayloadBytes: 10_000_000,
        heartbeatIntervalMs: 100,
        ...options,
      },
      modules,
    );
    const member: Member = { network, updates: [], presences: [] };
    network.attach({
      listener: {
        onUpdate: (update) => member.updates.push(update),
        onPresence: (presence) => member.presences.push(presence),
        onPeerConnected() {},
        onPeerDisconnected() {},
      },
      content: { ...NOTHING, ...content },
    });
    await network.start();
    this.#running.add(network);
    return member;
  }

  async leave({ network }: Member): Promise<void> {
    this.#running.delete(network);
    await network.stop();
  }

  async end(): Promise<void> {
    await Promise.all([...this.#running].map((network) => network.stop()));
    this.#running.clear();
  }
}

export const presenceOf = (author: PeerId, fields: Partial<Presence> = {}): Presence => ({
  runId: RUN_ID,
  author,
  name: "peer",
  sequence: 1,
  phase: "training",
  round: 3,
  root: ROOT,
  closedRound: 2,
  closedRoot: ROOT,
  openUpdates: ROOT,
  step: 1,
  steps: 8,
  bitsPerByte: 2,
  leaving: false,
  ...fields,
});

/** An update of `network` in `round` whose payload is `payload`, signed. */
export const updateOf = (network: Network, payload: Uint8Array, round = 3): Promise<SignedUpdate> =>
  network.signUpdate({
    runId: RUN_ID,
    round,
    author: network.self,
    payload: sha256Hex(payload),
    payloadBytes: payload.byteLength,
    baseRoot: ROOT,
    tokens: 1000,
    lossNatsPerToken: 3,
    bitsPerByte: 2,
  });

/** Serves exactly these payloads, each under its hash. */
export const serving = (...payloads: readonly Uint8Array[]): Partial<ServedContent> => {
  const byId = new Map(payloads.map((payload) => [sha256Hex(payload), payload]));
  return { payload: async (id) => byId.get(id) };
};

/** Serves a snapshot of `body`; `tamper` may change a tile on its way out. */
export function servingBody(
  body: Float32Array,
  root: string,
  updates: readonly SignedUpdate[] = [],
  tamper: (index: number, tile: Uint8Array) => Uint8Array = (_, tile) => tile,
): Partial<ServedContent> {
  const manifest: SnapshotManifest = {
    runId: RUN_ID,
    closedRound: 2,
    root,
    tiles: tileIds(body, sha256),
    updates,
  };
  return {
    snapshot: () => manifest,
    tile(asked, index) {
      const tile = asked === root ? tileBytes(body, index) : undefined;
      return tile && tamper(index, tile);
    },
  };
}

/** Resolves when every one of `members` is connected to `count` others. */
export const areConnected = (members: readonly Member[], count: number): boolean =>
  members.every(({ network }) => network.connectedPeers().length >= count);
