// `npm run bench -- upload`: what a peer uploads a step, beside a ring all-reduce of the whole model at every step.
//   ring     2 (N - 1) / N * 4 bytes * all parameters, at each step (Patarasuk & Yuan 2009)
//   once     one payload a round: a peer's own update, as others count it who have a server to fetch from
//   holders  the payload to two holders, the announcements and heartbeats it sends, its requests
//   all      everything it sends, payloads of others that it passes on included: what its link has to carry
// Payloads are the production codec's, of real updates; gossip, requests and passing on are the simulated swarm's.
import { parseArgs } from "node:util";
import { bodyTensors, embeddingLength } from "#model/architecture.ts";
import { codecFor } from "#protocol/core/codec/registry.ts";
import { type ParameterLayout, parameterLayout } from "#protocol/core/layout.ts";
import { type PresetName, presetNames, presets } from "#protocol/core/presets.ts";
import { parseRunConfig, type RunConfig } from "#protocol/core/run-config.ts";
import { seededRandom } from "#protocol/simulation/random.ts";
import { reportOf, type SimulationReport } from "#protocol/simulation/report.ts";
import { Simulation } from "#protocol/simulation/simulation.ts";
import { planRun } from "../node/planning/run-plan.ts";
import { planSwarm } from "../node/simulating/plan-swarm.ts";
import { codecChoice } from "./averaging-quality.ts";
import { sha256 } from "./languages.ts";
import { describeMachine } from "./machine.ts";
import { type Delta, trainDelta } from "./real-update.ts";

const USAGE = `npm run bench -- upload [--json] [--preset NAME] [--vocabulary N] [--codecs LIST] [--local-steps LIST]
                        [--peers LIST] [--rounds N] [--steps N]
  --preset NAME       whose body (default 12-block, which needs 5 GB of memory)
  --vocabulary N      tokens, whose embedding all-reduce sends and a peer keeps (default 50257)
  --codecs LIST       with commas; topk-K keeps K of 4,096 (default topk-64,int8)
  --local-steps LIST  steps in a round (default 30,500)
  --peers LIST        of the simulated swarms (default 3,8,32)
  --round-seconds S   that a round's steps take: heartbeats go on meanwhile (default 600)
  --rounds N          that they last (default 2)
  --steps N           optimizer steps behind the real update (default 2)`;

/** Holders that an update is offered to before it is announced (protocol/driver/spreading.ts). */
const HOLDERS = 2;
/** Of the simulated swarms, in Mbit/s and ms; traffic depends little on either. */
const NETWORK = { bandwidth: 100, latency: 50 } as const;

/** Parts that a simulated round is trained in at most. */
const SIMULATED_STEPS = 8;

interface PayloadReport {
  readonly codec: string;
  readonly update: string;
  readonly bytes: number;
  readonly ratio: number;
}

interface UploadReport {
  readonly codec: string;
  readonly localSteps: number;
  readonly peers: number;
  readonly ringBytesPerStep: number;
  readonly onceBytesPerStep: number;
  readonly holdersBytesPerStep: number;
  readonly allBytesPerStep: number;
}

export async function benchUpload(args: string[]): Promise<void> {
  const { values: flags } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      preset: { type: "string", default: "12-block" },
      vocabulary: { type: "string", default: "50257" },
      codecs: { type: "string", default: "topk-64,int8" },
      "local-steps": { type: "string", default: "30,500" },
      peers: { type: "string", default: "3,8,32" },
      "round-seconds": { type: "string", default: "600" },
      rounds: { type: "string", default: "2" },
      steps: { type: "string", default: "2" },
      help: { type: "boolean", default: false },
    },
  });
  if (flags.help) return console.log(USAGE);
  const preset = presetNames.find((name) => name === flags.preset);
  if (preset === undefined)
    throw new Error(`--preset ${flags.preset} is not one of ${presetNames.join(", ")}`);
  const vocabularySize = Number(flags.vocabulary);
  const choices = flags.codecs.split(",");
  for (const choice of choices) configOf(preset, choice, 1);
  const real = await trainDelta({ preset, steps: Number(flags.steps), batchSize: 1, sequenceLength: 128 });
  const payloads = [real, heavyTailed(real.layout)].flatMap((delta) =>
    choices.map((choice) => payloadOf(configOf(preset, choice, 1), choice, delta)),
  );
  if (!flags.json) console.log(describePayloads(payloads));
  const uploads: UploadReport[] = [];
  for (const choice of choices) {
    const payloadBytes = Math.max(...payloads.flatMap(({ codec, bytes }) => (codec === choice ? bytes : [])));
    for (const peers of flags.peers.split(",").map(Number)) {
      const swarm = {
        vocabularySize,
        peers,
        rounds: Number(flags.rounds),
        roundSeconds: Number(flags["round-seconds"]),
      };
      // However many steps there are in a round, as much is said and sent in it.
      const traffic = await simulatedTraffic(configOf(preset, choice, SIMULATED_STEPS), swarm, payloadBytes);
      for (const localSteps of flags["local-steps"].split(",").map(Number)) {
        const run = configOf(preset, choice, localSteps);
        uploads.push(uploadOf(run, choice, { vocabularySize, peers, payloadBytes, traffic }));
      }
    }
  }
  if (flags.json)
    return console.log(JSON.stringify({ machine: describeMachine(), flags, payloads, uploads }));
  console.log(describeUploads(uploads));
}

const configOf = (preset: PresetName, choice: string, localSteps: number): RunConfig => {
  const { config } = presets[preset];
  const { training = {}, averaging = {}, ...rest }: { training?: object; averaging?: object } = config;
  return parseRunConfig({
    ...rest,
    // What is said while embeddings are warmed up belongs to no round.
    training: { ...training, localSteps, warmupSteps: 0, embeddingWarmupSteps: 0 },
    averaging: { ...averaging, ...codecChoice(choice) },
  });
};

/** Student's t with 3 degrees of freedom: tails heavier than those of real updates, whose gaps are less even. */
function heavyTailed(layout: ParameterLayout): Delta {
  const random = seededRandom(1);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const values = new Float32Array(layout.total);
  for (let at = 0; at < values.length; at++) {
    const chi = (normal() ** 2 + normal() ** 2 + normal() ** 2) / 3;
    values[at] = Math.max(-1, Math.min(1, (1e-3 * normal()) / Math.sqrt(chi)));
  }
  return { source: "drawn, Student's t with 3 degrees of freedom", values, layout };
}

function payloadOf(
  { averaging }: RunConfig,
  codec: string,
  { source, values, layout }: Delta,
): PayloadReport {
  const bytes = codecFor(averaging).encode(values, layout).length;
  return { codec, update: source, bytes, ratio: (4 * layout.total) / bytes };
}

interface Swarm {
  readonly vocabularySize: number;
  readonly peers: number;
  readonly rounds: number;
  readonly roundSeconds: number;
}

async function simulatedTraffic(
  run: RunConfig,
  { vocabularySize, peers, rounds, roundSeconds }: Swarm,
  payloadBytes: number,
): Promise<SimulationReport["traffic"]> {
  const runPlan = planRun(run, {
    vocabularySize,
    microBatch: undefined,
    recompute: false,
    machineBytes: Number.POSITIVE_INFINITY,
  });
  const wishes = {
    ...{ ...NETWORK, roundSeconds },
    ...{ peers, rounds, tflops: 1, speedSpread: 1, diskRate: 500, loss: 0, congestion: "cubic" as const },
    ...{ duplicates: 0, connections: 16, churn: 0, churnKind: "crash" as const, away: 3 },
    ...{ joiners: 0, joinRound: 1 },
  };
  const { plan } = planSwarm(run, runPlan, wishes);
  const simulation = new Simulation({ ...plan, payloadBytes });
  await simulation.run();
  return reportOf(simulation).traffic;
}

interface Measured {
  readonly vocabularySize: number;
  readonly peers: number;
  readonly payloadBytes: number;
  /** A peer and round. */
  readonly traffic: SimulationReport["traffic"];
}

function uploadOf(run: RunConfig, codec: string, { vocabularySize, peers, payloadBytes, traffic }: Measured) {
  const body = parameterLayout(bodyTensors(run.model), sha256).total;
  const parameters = body + embeddingLength({ ...run.model, vocabularySize });
  const { localSteps } = run.training;
  const talk = traffic.gossip.sent + traffic.control.sent;
  return {
    codec,
    localSteps,
    peers,
    ringBytesPerStep: ((2 * (peers - 1)) / peers) * 4 * parameters,
    onceBytesPerStep: payloadBytes / localSteps,
    holdersBytesPerStep: (Math.min(HOLDERS, peers - 1) * payloadBytes + talk) / localSteps,
    allBytesPerStep: (traffic.payload.sent + talk) / localSteps,
  };
}

const describePayloads = (payloads: readonly PayloadReport[]): string =>
  [
    "codec     payload bytes   ratio  update",
    ...payloads.map(
      ({ codec, bytes, ratio, update }) =>
        `${codec.padEnd(10)}${String(bytes).padStart(13)}${ratio.toFixed(1).padStart(8)}  ${update}`,
    ),
    "",
  ].join("\n");

function describeUploads(uploads: readonly UploadReport[]): string {
  const cell = (bytes: number, { ringBytesPerStep }: UploadReport) =>
    `${(bytes / 1000).toFixed(1).padStart(12)}${`${Math.round(ringBytesPerStep / bytes)}x`.padStart(9)}`;
  return [
    "kB a step and peer, and how many times less than the ring",
    "codec     N_local  peers   ring kB          once              holders              all",
    ...uploads.map(
      (upload) =>
        upload.codec.padEnd(10) +
        String(upload.localSteps).padStart(7) +
        String(upload.peers).padStart(7) +
        (upload.ringBytesPerStep / 1000).toFixed(0).padStart(10) +
        cell(upload.onceBytesPerStep, upload) +
        cell(upload.holdersBytesPerStep, upload) +
        cell(upload.allBytesPerStep, upload),
    ),
  ].join("\n");
}
