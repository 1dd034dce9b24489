import { expect, test } from "vitest";
import { createMetrics, openMetricsEndpoint } from "./metrics.ts";
import { composeStatus } from "./status.ts";
import { exampleInputs, exampleProtocol } from "./testing/example-status.ts";

const status = () => composeStatus(exampleInputs());

test("metrics say what the status says, in the units of their names", async () => {
  const text = await createMetrics(status).metrics();
  expect(text).toContain("\nglossa_round 7\n");
  expect(text).toContain('\nglossa_network_sent_bytes_total{channel="payload"} 990000\n');
  expect(text).toContain('\nglossa_offences_total{offence="malformed-message"} 2\n');
  expect(text).toContain("\nglossa_compute_utilisation_ratio 0.9\n");
  expect(text).toContain("# TYPE glossa_network_sent_bytes_total counter");
});

test("metrics follow the status, and leave out what is not known", async () => {
  let round = 1;
  const inputs = exampleInputs();
  const registry = createMetrics(() =>
    composeStatus({
      ...inputs,
      protocol: exampleProtocol({ round }),
      training: { ...inputs.training, bitsPerByte: undefined },
    }),
  );
  expect(await registry.metrics()).toContain("\nglossa_round 1\n");
  round = 2;
  const text = await registry.metrics();
  expect(text).toContain("\nglossa_round 2\n");
  expect(text).not.toMatch(/^glossa_heldout_bits_per_byte/m);
});

test("metrics tell what a peer shares of a common vocabulary", async () => {
  const inputs = exampleInputs();
  const training = {
    ...inputs.training,
    variant: "trim",
    commonVocabularySize: 2048,
    heldRows: 1024,
  } as const;
  const text = await createMetrics(() => composeStatus({ ...inputs, training })).metrics();
  expect(text).toContain('\nglossa_vocabulary_tokens{of="peer"} 1024\n');
  expect(text).toContain('\nglossa_vocabulary_tokens{of="run"} 2048\n');
  expect(text).toContain('\nglossa_shared_embedding_rows{variant="trim"} 1024\n');
  const own = await createMetrics(status).metrics();
  expect(own).toContain('\nglossa_shared_embedding_rows{variant="spec-opt"} 0\n');
  expect(own).not.toContain('of="run"');
});

test("metrics of a group are there where the peer is in one", async () => {
  const protocol = exampleProtocol({ round: 4, agreement: { agree: 0, differ: 1, unknown: 0 } });
  const group = { name: "readers", runId: "ef".repeat(32), protocol };
  const text = await createMetrics(() => composeStatus(exampleInputs({ group }))).metrics();
  expect(text).toContain("\nglossa_group_peers 1\n");
  expect(text).toContain("\nglossa_group_peers_disagreeing 1\n");
  expect(text).toContain("\nglossa_group_round 4\n");
  expect(await createMetrics(status).metrics()).not.toMatch(/^glossa_group/m);
});

test("the endpoint serves them on loopback, and says when its port is taken", async () => {
  const endpoint = await openMetricsEndpoint(0, status);
  try {
    expect(endpoint.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/);
    const response = await fetch(endpoint.url);
    expect(response.headers.get("content-type")).toContain("text/plain");
    expect(await response.text()).toContain("glossa_round 7");
    expect((await fetch(endpoint.url.replace("/metrics", "/other"))).status).toBe(404);
    const port = Number(new URL(endpoint.url).port);
    await expect(openMetricsEndpoint(port, status)).rejects.toMatchObject({ code: "PORT_IN_USE", port });
  } finally {
    await endpoint.close();
  }
});
