// Looking at a running peer from another process: `glossa stats`, its JSON, and Prometheus.
import { afterEach, expect, it } from "vitest";
import type { PeerStatus } from "../observability/status.ts";
import { type SmallRun, startRun } from "./small-run.ts";

let run: SmallRun | undefined;
afterEach(async () => {
  await run?.bed.close();
  run = undefined;
});

it("shows rounds, agreement, peers, traffic and learning of a running peer", async () => {
  run = await startRun(["--minimum-peers", "2"]);
  const en = run.peer(
    "en",
    await run.bed.corpus("en-novels", 150_000),
    ...["--vocabulary-size", "400", "--metrics-port", "0"],
  );
  const es = run.peer("es", await run.bed.corpus("es-scripture", 150_000), "--vocabulary-size", "500");
  const { peerId } = await es.event("started");
  await en.event("round-applied", ({ round, updates }) => round >= 2 && updates === 2);

  const asked = run.bed.run("stats", "--name", "en", "--json");
  expect(await asked.finished()).toBe(0);
  const status = JSON.parse(asked.output) as PeerStatus;
  expect(status).toMatchObject({
    version: 1,
    name: "en",
    pid: en.pid,
    phase: expect.stringMatching(/^(training|collecting)$/),
    bodyRoot: expect.stringMatching(/^[0-9a-f]{64}$/),
    agreement: { differ: 0 },
    training: { device: "cpu", vocabularySize: 400, embeddingParameters: 400 * 24 },
  });
  expect(status.round).toBeGreaterThanOrEqual(3);
  expect(status.peers).toHaveLength(1);
  expect(status.peers[0]).toMatchObject({ peer: peerId, name: "es", connected: true });
  // Updates went both ways, each some eighty times smaller than float32 (topk).
  const { payload } = status.traffic.total.byChannel;
  expect(payload.bytesSent).toBeGreaterThan(0);
  expect(payload.bytesReceived).toBeGreaterThan(0);
  expect(status.traffic.payloadRatio).toBeGreaterThan(60);
  expect(status.traffic.payloadRatio).toBeLessThan(110);
  expect(status.training.bitsPerByte).toBeGreaterThan(0);

  const table = run.bed.run("stats", "--name", "en");
  expect(await table.finished()).toBe(0);
  for (const shown of ["round", "body", "bits/byte", "es"]) expect(table.output).toContain(shown);

  const url = /"url":"(http:\/\/127\.0\.0\.1:\d+\/metrics)"/.exec(en.output)?.[1];
  const metrics = await (await fetch(url!)).text();
  expect(metrics).toMatch(/^glossa_peers_connected 1$/m);
  expect(metrics).toMatch(/^glossa_network_sent_bytes_total\{channel="payload"\} [1-9]/m);
});

it("says that no peer runs where none does", async () => {
  run = await startRun();
  const asked = run.bed.run("stats", "--name", "nobody");
  expect(await asked.finished()).toBe(60);
  expect(asked.output).toMatch(/nobody|no running peer/i);
});
