// Child of snapshot-resume.test.ts: a newcomer with a store in a directory. Kills itself with SIGKILL when so many bytes of the
// body are there; else prints where its tiles came from, and the body's hash.
import { createHash } from "node:crypto";
import { createIdentity } from "#protocol/net/identity.ts";
import { createNetwork } from "#protocol/net/network.ts";
import { ProtocolStore } from "../protocol-store.ts";

export interface FetchOrder {
  readonly directory: string;
  readonly runId: string;
  readonly manifest: string;
  readonly values: number;
  readonly donors: readonly { readonly peer: string; readonly address: string }[];
  readonly dieAtBytes: number | undefined;
}

const order = JSON.parse(process.argv[2]!) as FetchOrder;
const store = await ProtocolStore.open(order.directory);
const network = await createNetwork(
  {
    identity: await createIdentity(),
    listen: [],
    bootstrap: order.donors.map(({ address }) => address),
    runId: order.runId,
    runManifest: new TextEncoder().encode(order.manifest),
    bodyValues: order.values,
    maxPayloadBytes: 1,
  },
  {},
);
const everyone = Promise.withResolvers<void>();
network.attach({
  listener: {
    onUpdate() {},
    onPresence() {},
    onPeerConnected() {
      if (network.connectedPeers().length === order.donors.length) everyone.resolve();
    },
    onPeerDisconnected() {},
  },
  content: {
    payload: async () => undefined,
    inventory: () => [],
    snapshot: () => undefined,
    tile: () => undefined,
  },
});
await network.start();
await everyone.promise;
const { body, tiles } = await network.fetchSnapshot(
  order.donors[0]!.peer,
  AbortSignal.timeout(30_000),
  (bytes) => {
    if (order.dieAtBytes !== undefined && bytes >= order.dieAtBytes) process.kill(process.pid, "SIGKILL");
  },
  { draft: store.snapshotDraft },
);
const hash = createHash("sha256").update(new Uint8Array(body.buffer)).digest("hex");
process.stdout.write(JSON.stringify({ ...tiles, hash }));
await network.stop();
