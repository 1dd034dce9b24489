// The rendezvous over real TCP: brings peers together, keeps manifests, and is not needed afterwards.
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { sha256Hex } from "#protocol/net/hash.ts";
import { createIdentity } from "#protocol/net/identity.ts";
import { fetchRunManifest, storeRunManifest } from "#protocol/net/run-manifests.ts";
import {
  areConnected,
  LOOPBACK,
  MANIFEST,
  presenceOf,
  RUN_ID,
  TestRun,
  updateOf,
} from "#protocol/net/testing/run-fixture.ts";
import type { Rendezvous, RendezvousOptions } from "./rendezvous.ts";
import { createRendezvous } from "./rendezvous.ts";

const run = new TestRun();
const started = new Set<Rendezvous>();
let stateDirectory: string;
const until = (condition: () => void) => vi.waitFor(condition, { timeout: 20_000, interval: 20 });
const signal = () => AbortSignal.timeout(20_000);

beforeEach(async () => {
  stateDirectory = await mkdtemp(join(tmpdir(), "glossa-rendezvous-"));
});
afterEach(async () => {
  await run.end();
  await Promise.all([...started].map((rendezvous) => rendezvous.stop()));
  started.clear();
  await rm(stateDirectory, { recursive: true });
});

async function open(options: Partial<RendezvousOptions> = {}): Promise<Rendezvous> {
  const rendezvous = await createRendezvous({ listen: LOOPBACK, stateDirectory, ...options });
  await rendezvous.start();
  started.add(rendezvous);
  return rendezvous;
}

async function close(rendezvous: Rendezvous): Promise<void> {
  started.delete(rendezvous);
  await rendezvous.stop();
}

test("three peers meet through it, it dies, they go on and a fourth joins through one of them", async () => {
  const rendezvous = await open();
  const bootstrap = rendezvous.addresses();
  await storeRunManifest(MANIFEST, bootstrap, signal());
  expect(await fetchRunManifest(RUN_ID, bootstrap, signal())).toEqual(MANIFEST);
  const members = [
    await run.join({ bootstrap }),
    await run.join({ bootstrap }),
    await run.join({ bootstrap }),
  ];
  await until(() => expect(areConnected(members, 2)).toBe(true));
  expect(rendezvous.stats()).toMatchObject({ runs: [{ runId: RUN_ID, peers: 3 }], manifests: 1 });
  // It is connected to all and a member of nothing: it subscribes to no topic.
  for (const { network } of members) expect(network.connectedPeers()).not.toContain(rendezvous.self);

  await close(rendezvous);
  const [first, second, third] = members as [(typeof members)[0], (typeof members)[0], (typeof members)[0]];
  const update = await updateOf(first.network, Uint8Array.of(9));
  await first.network.publishUpdate(update);
  await first.network.publishPresence(presenceOf(first.network.self));
  await until(() => {
    expect(second.updates).toEqual([update]);
    expect(third.presences).toHaveLength(1);
  });
  // The invite still names the dead rendezvous; one living peer's address is enough.
  const invited = [...bootstrap, ...second.network.addresses()];
  expect(await fetchRunManifest(RUN_ID, invited, signal())).toEqual(MANIFEST);
  const fourth = await run.join({ bootstrap: invited });
  await until(() => expect(areConnected([...members, fourth], 3)).toBe(true));
});

test("it keeps identity and manifests across a restart", async () => {
  const before = await open();
  await storeRunManifest(MANIFEST, before.addresses(), signal());
  await close(before);
  const after = await open();
  expect(after.self).toBe(before.self);
  expect(await fetchRunManifest(RUN_ID, after.addresses(), signal())).toEqual(MANIFEST);
  expect((await stat(join(stateDirectory, "identity.key"))).mode & 0o777).toBe(0o600);
});

test("one that has lost its state learns the run from the peers that still use its address", async () => {
  const rendezvous = await open();
  const member = await run.join({ bootstrap: rendezvous.addresses() });
  await until(() => expect(rendezvous.stats()).toMatchObject({ manifests: 1, runs: [{ peers: 1 }] }));
  const second = await run.join({ bootstrap: rendezvous.addresses() });
  await until(() => expect(areConnected([member, second], 1)).toBe(true));
});

test("peers that have only a second run in common are introduced to each other in that one", async () => {
  const rendezvous = await open();
  const bootstrap = rendezvous.addresses();
  const other = new TextEncoder().encode('{"test":"other"}');
  const members = [
    await run.join({ bootstrap }),
    await run.join({ bootstrap, runId: sha256Hex(other), runManifest: other }),
  ];
  await until(() => expect(rendezvous.stats().manifests).toBe(2));
  const runManifest = new TextEncoder().encode('{"test":"group"}');
  const runId = sha256Hex(runManifest);
  const groups = members.map(({ network }) =>
    network.besides({ runId, runManifest, bodyValues: 10, maxPayloadBytes: 100 }),
  );
  for (const group of groups) await group.start();
  await until(() => {
    for (const group of groups) expect(group.connectedPeers()).toHaveLength(1);
  });
  for (const { network } of members) expect(network.connectedPeers()).toEqual([]);
  expect(rendezvous.stats()).toMatchObject({ manifests: 3 });
});

test("the failures on the way in are told apart", async () => {
  const rendezvous = await open();
  const addresses = rendezvous.addresses();
  await expect(fetchRunManifest(RUN_ID, addresses, signal())).rejects.toMatchObject({
    code: "MANIFEST_NOT_FOUND",
    fields: { runId: RUN_ID },
  });
  await expect(
    storeRunManifest(new TextEncoder().encode("not json"), addresses, signal()),
  ).rejects.toMatchObject({
    code: "MANIFEST_REFUSED",
    message: expect.stringContaining("not a JSON object"),
  });
  await close(rendezvous);
  const error = await fetchRunManifest(RUN_ID, addresses, signal()).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({
    code: "BOOTSTRAP_UNREACHABLE",
    message: expect.stringContaining(addresses[0]!),
  });
  await expect(fetchRunManifest(RUN_ID, ["localhost"], signal())).rejects.toMatchObject({
    code: "ADDRESS_INVALID",
  });
  await expect(fetchRunManifest(RUN_ID, addresses, AbortSignal.abort(new Error("enough")))).rejects.toThrow(
    "enough",
  );
});

test("a manifest goes to every rendezvous that is reachable, and to no peer", async () => {
  const first = await open();
  const second = await open({ stateDirectory: join(stateDirectory, "second") });
  const dead = await open({ stateDirectory: join(stateDirectory, "dead") });
  const member = await run.join();
  const peers = member.network.addresses();
  const all = [first, second, dead].flatMap((rendezvous) => rendezvous.addresses());
  await close(dead);
  await storeRunManifest(MANIFEST, [...all, ...peers], signal());
  expect([first, second].map((rendezvous) => rendezvous.stats().manifests)).toEqual([1, 1]);
  await expect(storeRunManifest(MANIFEST, peers, signal())).rejects.toMatchObject({ code: "NOT_SERVED" });
});

test("somebody else at the address is not taken for the rendezvous in the invite", async () => {
  const rendezvous = await open();
  const impostor = (await createIdentity()).peer;
  const address = rendezvous.addresses()[0]!.replace(/\/p2p\/.*/, `/p2p/${impostor}`);
  await expect(fetchRunManifest(RUN_ID, [address], signal())).rejects.toMatchObject({
    code: "BOOTSTRAP_UNREACHABLE",
  });
});

test("a manifest that was changed on disk is not served", async () => {
  const rendezvous = await open();
  await storeRunManifest(MANIFEST, rendezvous.addresses(), signal());
  await writeFile(join(stateDirectory, "manifests", `${RUN_ID}.manifest`), '{"test":"other"}');
  await expect(fetchRunManifest(RUN_ID, rendezvous.addresses(), signal())).rejects.toMatchObject({
    code: "MANIFEST_NOT_FOUND",
  });
});

test("runs are bounded: a new one pushes out the one unused for longest, on disk too", async () => {
  const rendezvous = await open({ maxRuns: 2 });
  for (const text of ['{"run":1}', '{"run":2}', '{"run":3}']) {
    await storeRunManifest(new TextEncoder().encode(text), rendezvous.addresses(), signal());
  }
  expect(rendezvous.stats().manifests).toBe(2);
  expect(await readdir(join(stateDirectory, "manifests"))).toHaveLength(2);
});

test("its port in use and a broken identity are typed failures", async () => {
  const rendezvous = await open();
  const taken = rendezvous.addresses()[0]!.split("/p2p/")[0]!;
  await expect(open({ listen: [taken] })).rejects.toMatchObject({ code: "ADDRESS_IN_USE" });
  const identityFile = join(stateDirectory, "broken.key");
  await writeFile(identityFile, "not a key");
  await expect(open({ identityFile })).rejects.toMatchObject({ code: "IDENTITY_INVALID" });
});
