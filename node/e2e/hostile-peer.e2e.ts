// A peer that lies, on the wire and with a valid signature, beside two honest ones; and what honest updates contain.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { codecFor, codecs } from "#protocol/core/codec/registry.ts";
import { parseInvite } from "#protocol/core/invite.ts";
import { type ParameterLayout, parameterLayout } from "#protocol/core/layout.ts";
import type { RunConfig } from "#protocol/core/run-config.ts";
import { parseManifest } from "#protocol/core/run-manifest.ts";
import type { SignedUpdate, UpdateAnnouncement } from "#protocol/core/types.ts";
import { sha256, sha256Hex } from "#protocol/net/hash.ts";
import { createIdentity } from "#protocol/net/identity.ts";
import { createNetwork, type Network } from "#protocol/net/network.ts";
import type { NetworkListener } from "#protocol/ports.ts";
import { LOOPBACK, rootsOf, type SmallRun, startRun } from "./small-run.ts";

interface Stranger {
  readonly network: Network;
  readonly layout: ParameterLayout;
  readonly config: RunConfig;
  readonly heard: SignedUpdate[];
  /** What the stranger hands out for a payload's id, whatever that hashes to. */
  readonly payloads: Map<string, Uint8Array>;
  announce(payload: Uint8Array, claims?: Partial<UpdateAnnouncement>): Promise<void>;
}

let run: SmallRun | undefined;
const strangers: Network[] = [];
afterEach(async () => {
  await Promise.all(strangers.splice(0).map((network) => network.stop()));
  await run?.bed.close();
  run = undefined;
});

/** A member of the run that trains nothing and says what it likes, in this process. */
async function joinAsStranger({ invite, bed }: SmallRun): Promise<Stranger> {
  const { runId, addresses } = parseInvite(invite, sha256);
  const manifest = new Uint8Array(await readFile(join(bed.directory, "run.json")));
  const { config, layout: tensors } = parseManifest(manifest, runId, sha256);
  const layout = parameterLayout(tensors, sha256);
  const identity = await createIdentity();
  const network = await createNetwork(
    {
      identity,
      runId,
      runManifest: manifest,
      listen: [LOOPBACK],
      bootstrap: addresses,
      bodyValues: layout.total,
      maxPayloadBytes: codecFor(config.averaging).maxPayloadBytes(layout),
    },
    {},
  );
  const heard: SignedUpdate[] = [];
  const payloads = new Map<string, Uint8Array>();
  const listener: NetworkListener = {
    onUpdate: (update) => heard.push(update),
    onPresence() {},
    onPeerConnected() {},
    onPeerDisconnected() {},
  };
  network.attach({
    listener,
    content: {
      payload: async (id) => payloads.get(id),
      inventory: () => [],
      snapshot: () => undefined,
      tile: () => undefined,
    },
  });
  strangers.push(network);
  await network.start();
  return {
    network,
    layout,
    config,
    heard,
    payloads,
    async announce(payload, claims = {}) {
      const newest = heard.at(-1)!.announcement;
      const claimed = { ...newest, author: identity.peer, payload: sha256Hex(payload), ...claims };
      const announcement = { ...claimed, payloadBytes: claims.payloadBytes ?? payload.length };
      payloads.set(announcement.payload, payload);
      await network.publishUpdate(await network.signUpdate(announcement));
    },
  };
}

async function eventually(holds: () => boolean, what: () => string): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`did not happen in time: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Every lie a payload can tell: each with the name of the honest peers' answer to it. */
const LIES: readonly {
  readonly name: string;
  tell(stranger: Stranger): Promise<void>;
}[] = [
  {
    name: "garbage instead of a payload",
    tell: ({ announce, layout, config }) =>
      announce(new Uint8Array(codecFor(config.averaging).maxPayloadBytes(layout)).fill(0x5a)),
  },
  {
    name: "a payload that does not hash to its id",
    tell: ({ announce, layout }) =>
      announce(codecs.int8.encode(new Float32Array(layout.total).fill(1), layout), {
        payload: "ab".repeat(32),
      }),
  },
  {
    name: "values that are not numbers",
    tell: ({ announce, layout }) => {
      const payload = codecs.int8.encode(new Float32Array(layout.total).fill(0.5), layout);
      // The first value after the 24-byte header is a float32: the first norm's weight.
      new DataView(payload.buffer).setFloat32(24, Number.NaN, true);
      return announce(payload);
    },
  },
  {
    name: "a payload a hundred times too large",
    tell: ({ announce, layout, config }) =>
      announce(new Uint8Array(16), {
        payloadBytes: 100 * codecFor(config.averaging).maxPayloadBytes(layout),
      }),
  },
];

it.each(LIES)("is not moved by $name", async ({ tell }) => {
  run = await startRun(["--minimum-peers", "2", "--quorum", "1", "--local-steps", "20"]);
  const rounds = 12;
  const until = ["--rounds", `${rounds}`, "--evaluate-every-rounds", "0"];
  const peers = [
    run.peer("en", await run.bed.corpus("en-novels", 150_000), "--vocabulary-size", "400", ...until),
    run.peer("es", await run.bed.corpus("es-scripture", 150_000), "--vocabulary-size", "500", ...until),
  ];
  const stranger = await joinAsStranger(run);
  await eventually(
    () => stranger.heard.length > 0 && stranger.network.connectedPeers().length === 2,
    () => `${stranger.heard.length} updates, ${stranger.network.connectedPeers().length} peers`,
  );
  await tell(stranger);

  const rows = await Promise.all(peers.map((peer) => peer.event("finished")));
  expect(new Set(rows.map(({ bodyRoot }) => bodyRoot)).size).toBe(1);
  expect(rootsOf(peers[0]!)).toEqual(rootsOf(peers[1]!));
  for (const peer of peers) {
    for (const event of peer.events) if (event.event === "round-applied") expect(event.updates).toBe(2);
    // The lie was noticed, and held against the one who told it.
    const held = peer.output
      .split("\n")
      .filter((line) => /"msg":"(peer (penalised|banned)|offence)"/.test(line));
    expect(held.length).toBeGreaterThan(0);
    for (const line of held) expect(line).toContain(stranger.network.self);
  }
});

it("lets nothing with a vocabulary axis leave a peer", async () => {
  // A prime, so that no size of the body can be mistaken for it.
  const vocabularySize = 401;
  run = await startRun(["--codec", "float32", "--local-steps", "20"]);
  const flags = ["--vocabulary-size", `${vocabularySize}`, "--rounds", "30"];
  run.peer("en", await run.bed.corpus("en-novels", 150_000), ...flags);
  const stranger = await joinAsStranger(run);
  await eventually(
    () => stranger.heard.length > 0,
    () => "no update heard",
  );
  const update = stranger.heard.at(-1)!;
  const bytes = await stranger.network.fetchPayload(update, [], AbortSignal.timeout(20_000));

  const { layout } = stranger;
  for (const { shape } of layout.tensors) expect(shape).not.toContain(vocabularySize);
  // The whole payload is accounted for: a header and the body's values, nothing that could hold an embedding.
  expect(bytes.length).toBe(24 + 4 * layout.total);
  expect(layout.total).toBeLessThan(vocabularySize * 24);
});
