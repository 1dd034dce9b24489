// Child of joining.ts: peers that serve one body, each behind a link of its own. Says where they are, and ends with its parent.

import { rootOfTiles, tileBytes, tileIds } from "#protocol/core/merkle.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { createIdentity } from "#protocol/net/identity.ts";
import { createNetwork } from "#protocol/net/network.ts";
import { type DonorPlace, type DonorsSetting, RUN } from "./joining.ts";
import { Rate, shapedLink } from "./shaped-link.ts";

const { values, uplinks, link, delayMs } = JSON.parse(process.argv[2]!) as DonorsSetting;
const body = new Float32Array(values);
for (let at = 0, state = 1; at < values; at++) {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  body[at] = state / 2 ** 32 - 0.5;
}
const tiles = tileIds(body, sha256);
const root = rootOfTiles(tiles, sha256);
const downlink = new Rate(link);

const donors: DonorPlace[] = [];
for (const uplink of uplinks) {
  const network = await createNetwork(
    {
      ...RUN,
      identity: await createIdentity(),
      listen: ["/ip4/127.0.0.1/tcp/0"],
      bootstrap: [],
      bodyValues: values,
    },
    {},
  );
  network.attach({
    listener: { onUpdate() {}, onPresence() {}, onPeerConnected() {}, onPeerDisconnected() {} },
    content: {
      payload: async () => undefined,
      inventory: () => [],
      snapshot: () => ({ runId: RUN.runId, closedRound: 1, root, tiles, updates: [] }),
      tile: (asked, index) => (asked === root ? tileBytes(body, index) : undefined),
    },
  });
  await network.start();
  const port = Number(/\/tcp\/(\d+)/.exec(network.addresses()[0]!)![1]);
  const shaped = await shapedLink(port, [new Rate(uplink), downlink], delayMs);
  donors.push({ peer: network.self, address: `/ip4/127.0.0.1/tcp/${shaped.port}` });
}
process.send!({ root, donors });
process.on("disconnect", () => process.exit());
