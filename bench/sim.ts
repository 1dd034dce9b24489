// `npm run bench -- sim`: how many peers and rounds the simulator manages in a minute of this machine, and the fault matrix
// of protocol/testing/fault-matrix.ts over as many seeds as there is time for.
import { parseArgs } from "node:util";
import { presets } from "#protocol/core/presets.ts";
import { parseRunConfig } from "#protocol/core/run-config.ts";
import { reportOf } from "#protocol/simulation/report.ts";
import { Simulation } from "#protocol/simulation/simulation.ts";
import { type MatrixCase, matrixCases, runCase } from "#protocol/testing/fault-matrix.ts";
import { planRun } from "../node/planning/run-plan.ts";
import { planSwarm } from "../node/simulating/plan-swarm.ts";
import { describeMachine } from "./machine.ts";
import { measureRates, rateLines } from "./sim-rates.ts";

const USAGE = `npm run bench -- sim [--json] [--peers LIST] [--rounds N] [--round-seconds S] [--rates] [--seeds N] [--from N]
  --peers LIST       swarms to time, with commas (default 8,32,128); 0 times none
  --rounds N         rounds of each (default 3)
  --round-seconds S  training time of a round: longer ones have more heartbeats (default 60)
  --rates            also what arithmetic over whole bodies takes: what glossa sim charges for it
  --seeds N          seeds of the fault matrix, 128 cases each (default 0)
  --from N           the first of them (default 2; the unit test takes 1)`;

interface Speed {
  readonly peers: number;
  readonly rounds: number;
  readonly cpuSeconds: number;
  readonly peerRoundsPerMinute: number;
  readonly memoryBytes: number;
  readonly differingBits: number;
  readonly bytesPerPeerAndRound: number;
}

export async function benchSimulator(args: string[]): Promise<void> {
  const { values: flags } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      peers: { type: "string", default: "8,32,128" },
      rounds: { type: "string", default: "3" },
      "round-seconds": { type: "string", default: "60" },
      rates: { type: "boolean", default: false },
      seeds: { type: "string", default: "0" },
      from: { type: "string", default: "2" },
      help: { type: "boolean", default: false },
    },
  });
  if (flags.help) return console.log(USAGE);
  const sizes = flags.peers
    .split(",")
    .map(Number)
    .filter((peers) => peers > 0);
  const speeds: Speed[] = [];
  if (!flags.json && sizes.length > 0) console.log(heading());
  for (const peers of sizes) {
    const speed = await timeSwarm(peers, Number(flags.rounds), Number(flags["round-seconds"]));
    speeds.push(speed);
    if (!flags.json) console.log(row(speed));
  }
  const rates = flags.rates ? measureRates() : undefined;
  if (rates !== undefined && !flags.json) console.log(rateLines(rates).join("\n"));
  const seeds = Array.from({ length: Number(flags.seeds) }, (_, at) => Number(flags.from) + at);
  const failures = await runMatrix(seeds, flags.json);
  const cases = matrixCases(seeds).length;
  if (flags.json) console.log(JSON.stringify({ machine: describeMachine(), speeds, rates, cases, failures }));
  else if (cases > 0) console.log(`${cases} cases of the fault matrix, ${failures.length} failed`);
  if (failures.length > 0) throw new Error(`${failures.length} of ${cases} cases failed`);
}

async function timeSwarm(peers: number, rounds: number, roundSeconds: number): Promise<Speed> {
  const run = parseRunConfig(presets.tiny.config);
  const machineBytes = Number.POSITIVE_INFINITY;
  const runPlan = planRun(run, {
    vocabularySize: 8192,
    microBatch: undefined,
    recompute: false,
    machineBytes,
  });
  const { plan } = planSwarm(run, runPlan, { ...NO_FAULTS, peers, rounds, roundSeconds });
  const before = process.cpuUsage();
  const simulation = new Simulation(plan);
  await simulation.run();
  const { user, system } = process.cpuUsage(before);
  const cpuSeconds = (user + system) / 1e6;
  const { agreement, traffic } = reportOf(simulation);
  return {
    peers,
    rounds,
    cpuSeconds,
    peerRoundsPerMinute: (60 * peers * rounds) / cpuSeconds,
    memoryBytes: process.memoryUsage().rss,
    differingBits: agreement.differingBits,
    bytesPerPeerAndRound: Object.values(traffic).reduce((sum, { received }) => sum + received, 0),
  };
}

const NO_FAULTS = {
  tflops: 1,
  speedSpread: 1,
  diskRate: 500,
  bandwidth: 100,
  latency: 50,
  loss: 0,
  congestion: "cubic",
  duplicates: 0,
  connections: 16,
  churn: 0,
  churnKind: "crash",
  away: 3,
  joiners: 0,
  joinRound: 1,
} as const;

async function runMatrix(
  seeds: readonly number[],
  quiet: boolean,
): Promise<readonly (MatrixCase & { readonly problem: string })[]> {
  const failures: (MatrixCase & { problem: string })[] = [];
  for (const entry of matrixCases(seeds)) {
    const problem = await runCase(entry);
    if (problem === undefined) continue;
    failures.push({ ...entry, problem });
    if (!quiet) console.log(`${entry.fault} at ${entry.moment}, seed ${entry.seed}: ${problem}`);
  }
  return failures;
}

function heading(): string {
  const { processor, node } = describeMachine();
  return [
    `${processor}, Node ${node}`,
    "",
    "peers  rounds  CPU seconds  peer rounds/min    memory  bits differ  received a peer and round",
  ].join("\n");
}

const row = (speed: Speed): string =>
  String(speed.peers).padStart(5) +
  String(speed.rounds).padStart(8) +
  speed.cpuSeconds.toFixed(1).padStart(13) +
  speed.peerRoundsPerMinute.toFixed(0).padStart(17) +
  `${(speed.memoryBytes / 1e6).toFixed(0)} MB`.padStart(10) +
  String(speed.differingBits).padStart(13) +
  `${(speed.bytesPerPeerAndRound / 1e6).toFixed(1)} MB`.padStart(27);
