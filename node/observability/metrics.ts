// Prometheus metrics of one peer, filled from its status whenever they are asked for, on a loopback port.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import { CHANNELS, type PeerStatus } from "./status.ts";

/** One gauge: its name ends in its unit, and `read` gives its values by labels. */
interface Metric {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
  readonly read: (status: PeerStatus) => readonly Sample[];
}

interface Sample {
  readonly value: number | undefined;
  readonly labels?: Readonly<Record<string, string>>;
}

const one = (value: number | undefined): readonly Sample[] => [{ value }];

const METRICS: readonly Metric[] = [
  { name: "glossa_round", help: "Round this peer stands in.", read: ({ round }) => one(round) },
  { name: "glossa_round_step", help: "Local step within the round.", read: ({ step }) => one(step) },
  {
    name: "glossa_lag_rounds",
    help: "Rounds behind the foremost peer.",
    read: ({ lagRounds }) => one(lagRounds),
  },
  { name: "glossa_peers", help: "Other peers known.", read: ({ peers }) => one(peers.length) },
  {
    name: "glossa_peers_connected",
    help: "Other peers with a connection.",
    read: ({ peers }) => one(peers.filter(({ connected }) => connected).length),
  },
  {
    name: "glossa_peers_disagreeing",
    help: "Other peers whose body root differs where it could be compared.",
    read: ({ agreement }) => one(agreement.differ),
  },
  {
    name: "glossa_network_sent_bytes_total",
    help: "Bytes sent, by channel.",
    labels: ["channel"],
    read: ({ traffic }) =>
      CHANNELS.map((channel) => ({ value: traffic.total.byChannel[channel].bytesSent, labels: { channel } })),
  },
  {
    name: "glossa_network_received_bytes_total",
    help: "Bytes received, by channel.",
    labels: ["channel"],
    read: ({ traffic }) =>
      CHANNELS.map((channel) => ({
        value: traffic.total.byChannel[channel].bytesReceived,
        labels: { channel },
      })),
  },
  {
    name: "glossa_payload_compression_ratio",
    help: "Bytes of an update as float32 over its bytes on the wire.",
    read: ({ traffic }) => one(traffic.payloadRatio),
  },
  {
    name: "glossa_data_parallel_reduction_ratio",
    help: "Bytes that fp32 data parallelism would have sent over the bytes sent.",
    read: ({ traffic }) => one(traffic.reductionAgainstDataParallel),
  },
  {
    name: "glossa_compute_utilisation_ratio",
    help: "Time inside training steps over wall time.",
    read: ({ training }) => one(training.computeUtilisation),
  },
  {
    name: "glossa_trained_tokens_total",
    help: "Tokens trained on.",
    read: ({ training }) => one(training.tokens),
  },
  {
    name: "glossa_trained_steps_total",
    help: "Optimizer steps taken.",
    read: ({ training }) => one(training.steps),
  },
  {
    name: "glossa_vocabulary_tokens",
    help: "Tokens that this peer uses, and those of the run's common vocabulary.",
    labels: ["of"],
    read: ({ training }) => [
      { value: training.vocabularySize, labels: { of: "peer" } },
      { value: training.commonVocabularySize, labels: { of: "run" } },
    ],
  },
  {
    name: "glossa_shared_embedding_rows",
    help: "Embedding rows that this peer shares with the others.",
    labels: ["variant"],
    read: ({ training }) => [{ value: training.heldRows ?? 0, labels: { variant: training.variant } }],
  },
  {
    name: "glossa_group_peers",
    help: "Other peers that share this peer's embedding in a group.",
    read: ({ group }) => one(group?.peers.length),
  },
  {
    name: "glossa_group_peers_disagreeing",
    help: "Those whose embedding differs where it could be compared.",
    read: ({ group }) => one(group?.agreement.differ),
  },
  { name: "glossa_group_round", help: "Round of the group.", read: ({ group }) => one(group?.round) },
  {
    name: "glossa_tokens_per_second",
    help: "Training speed.",
    read: ({ training }) => one(training.tokensPerSecond),
  },
  {
    name: "glossa_training_loss_nats_per_token",
    help: "Mean loss of the last round's batches.",
    read: ({ training }) => one(training.lossNatsPerToken),
  },
  {
    name: "glossa_heldout_bits_per_byte",
    help: "On this peer's held-out text.",
    read: ({ training }) => one(training.bitsPerByte),
  },
  {
    name: "glossa_skipped_steps_total",
    help: "Steps that moved nothing, because the loss was scaled too far for float16.",
    read: ({ training }) => one(training.skippedSteps),
  },
  {
    name: "glossa_trainer_restarts_total",
    help: "Times that the trainer's process crashed and was started again.",
    read: ({ training }) => one(training.trainerRestarts),
  },
  {
    name: "glossa_offences_total",
    help: "Messages of others that were refused, by reason.",
    labels: ["offence"],
    read: ({ offences }) =>
      Object.entries(offences).map(([offence, value]) => ({ value, labels: { offence } })),
  },
  {
    name: "glossa_restrained_updates_total",
    help: "Updates of closed rounds that the run's defence did not count whole, by reason.",
    labels: ["why"],
    read: ({ restrained }) => Object.entries(restrained).map(([why, value]) => ({ value, labels: { why } })),
  },
];

export interface MetricsEndpoint {
  readonly url: string;
  close(): Promise<void>;
}

/** A registry of its own, so that two peers in one process (a test) do not share numbers. */
export function createMetrics(status: () => PeerStatus): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const { name, help, labels, read } of METRICS) {
    const options = { name, help, labelNames: labels ?? [], registers: [registry] };
    const samples = () => read(status()).filter((sample) => sample.value !== undefined);
    if (name.endsWith("_total")) {
      new Counter({
        ...options,
        collect() {
          this.reset();
          for (const sample of samples()) this.inc({ ...sample.labels }, sample.value!);
        },
      });
    } else {
      new Gauge({
        ...options,
        collect() {
          // `remove`, not `reset`: the latter says 0 of what is not known.
          this.remove({});
          for (const sample of samples()) this.set({ ...sample.labels }, sample.value!);
        },
      });
    }
  }
  return registry;
}

/** Serves `/metrics` on loopback only: whoever may read them from afar is a matter of a proxy. Port 0 takes a free one. */
export async function openMetricsEndpoint(port: number, status: () => PeerStatus): Promise<MetricsEndpoint> {
  const registry = createMetrics(status);
  const server = createServer((request, response) => {
    if (request.method !== "GET" || request.url?.split("?")[0] !== "/metrics") {
      response.writeHead(404).end();
      return;
    }
    registry.metrics().then(
      (text) => response.writeHead(200, { "content-type": registry.contentType }).end(text),
      () => response.writeHead(500).end(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => {
      server.off("error", reject);
      resolve();
    });
  }).catch((error: NodeJS.ErrnoException) => {
    throw error.code === "EADDRINUSE" ? new PortInUseError("--metrics-port", port, { cause: error }) : error;
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

export class PortInUseError extends Error {
  readonly code = "PORT_IN_USE";
  readonly port: number;

  constructor(flag: string, port: number, options?: ErrorOptions) {
    super(
      `Port ${port} (${flag}) is taken by another process: give another one, or 0 for a free one.`,
      options,
    );
    this.name = "PortInUseError";
    this.port = port;
  }
}
