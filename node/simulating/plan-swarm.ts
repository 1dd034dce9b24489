// From what a person asks to what is simulated: sizes and times of the planned run, shares and rates of its network.
import { type RunConfig, tokensPerRound } from "#protocol/core/run-config.ts";
import {
  BEHAVIOURS,
  type Behaviour,
  type Partition,
  type SimulationPlan,
} from "#protocol/simulation/plan.ts";
import type { RunPlan } from "../planning/run-plan.ts";
import { UsageError } from "../settings.ts";
import { duration } from "../terminal/format.ts";
import { bodyCostsOf, payloadBytesOf, sharedValues, standInOf } from "./stand-in.ts";

export interface SwarmWishes {
  readonly peers: number;
  readonly rounds: number;
  readonly roundSeconds?: number | undefined;
  readonly stepMs?: number | undefined;
  readonly tflops: number;
  readonly speedSpread: number;
  readonly diskRate: number;
  readonly bandwidth: number;
  readonly upload?: number | undefined;
  readonly latency: number;
  readonly jitter?: number | undefined;
  readonly loss: number;
  readonly congestion: "cubic" | "none";
  readonly gossipLoss?: number | undefined;
  readonly duplicates: number;
  readonly connections: number;
  readonly churn: number;
  readonly churnKind: "crash" | "leave" | "replace";
  readonly away: number;
  readonly partition?: string | undefined;
  readonly byzantine?: string | undefined;
  readonly joiners: number;
  readonly joinRound: number;
  readonly joinerBandwidth?: number | undefined;
}

export interface PlannedSwarm {
  readonly plan: SimulationPlan;
  readonly sharedValues: number;
  /** Training time of a round on a peer of middle speed. */
  readonly roundMs: number;
  readonly roundFrom: string;
}

/** @throws UsageError for a combination that makes no sense */
export function planSwarm(run: RunConfig, runPlan: RunPlan, wishes: SwarmWishes): PlannedSwarm {
  const { peers, rounds, jitter, latency, loss } = wishes;
  const { roundMs, roundFrom } = roundTime(run, runPlan, wishes);
  const { maxRoundMs } = run.averaging;
  if (roundMs > maxRoundMs) {
    throw new UsageError(
      `A round takes ${duration(roundMs)} (${roundFrom}), and the run closes it after ${duration(maxRoundMs)} (--max-round-ms): ` +
        "give faster peers with --tflops or --round-seconds, fewer --local-steps, or a longer limit.",
    );
  }
  const { config, layout, segments } = standInOf(run, peers);
  const partition = wishes.partition === undefined ? undefined : partitionFrom(wishes.partition, rounds);
  if (wishes.joinRound >= rounds && wishes.joiners > 0) {
    throw new UsageError(
      `--join-round ${wishes.joinRound} is not before the end: ${rounds} rounds are simulated.`,
    );
  }
  const plan: SimulationPlan = {
    seed: run.seed,
    peers,
    rounds,
    config,
    layout,
    payloadBytes: payloadBytesOf(run, runPlan),
    bodyBytes: 4 * sharedValues(run),
    segmentMs: roundMs / segments,
    tokensPerSegment: tokensPerRound(config) / segments,
    costs: bodyCostsOf(run, runPlan, wishes.diskRate * 1e6, Math.min(peers, run.averaging.cohort)),
    speedSpread: wishes.speedSpread,
    network: {
      downMbits: wishes.bandwidth,
      upMbits: wishes.upload ?? wishes.bandwidth,
      latencyMs: latency,
      jitterMs: Math.min(latency, jitter ?? latency / 10),
      packetLoss: loss,
      lossLimitsRate: wishes.congestion === "cubic",
      gossipLoss: wishes.gossipLoss ?? loss,
      duplication: wishes.duplicates,
      connections: wishes.connections,
    },
    churn: { share: wishes.churn, kind: wishes.churnKind, awayRounds: wishes.away },
    partition,
    byzantine: byzantineFrom(wishes.byzantine),
    joiners: { count: wishes.joiners, round: wishes.joinRound, downMbits: wishes.joinerBandwidth },
  };
  return { plan, sharedValues: sharedValues(run), roundMs, roundFrom };
}

function roundTime(
  run: RunConfig,
  { flopsPerToken, tokensPerRound: tokens }: RunPlan,
  { roundSeconds, stepMs, tflops }: SwarmWishes,
): { roundMs: number; roundFrom: string } {
  if (roundSeconds !== undefined && stepMs !== undefined) {
    throw new UsageError("--round-seconds and --step-ms say the same thing twice: give one of them.");
  }
  const { localSteps } = run.training;
  if (roundSeconds !== undefined) return { roundMs: 1_000 * roundSeconds, roundFrom: "--round-seconds" };
  if (stepMs !== undefined) {
    return { roundMs: stepMs * localSteps, roundFrom: `${localSteps} steps of ${stepMs} ms` };
  }
  const roundMs = (flopsPerToken * tokens) / (tflops * 1e9);
  return { roundMs, roundFrom: `${localSteps} steps at ${tflops} TFLOP/s` };
}

/** `0.5:3:5`: a half of the peers is cut off from round 3 on for five rounds. */
function partitionFrom(text: string, rounds: number): Partition {
  const [share = Number.NaN, round = 3, length = 5, ...more] = text.split(":").map(Number);
  const isWhole = Number.isInteger(round) && Number.isInteger(length) && round >= 1 && length >= 1;
  if (!(share > 0 && share < 1) || !isWhole || more.length > 0) {
    throw new UsageError(`--partition ${text} is not SHARE:ROUND:ROUNDS, such as 0.5:3:5.`);
  }
  if (round + length >= rounds) {
    throw new UsageError(
      `--partition ${text} does not end before the ${rounds} rounds do: give more --rounds.`,
    );
  }
  return { share, round, rounds: length };
}

/** `0.2` or `0.2:sign-flip,copy`. */
function byzantineFrom(text: string | undefined): SimulationPlan["byzantine"] {
  if (text === undefined) return { share: 0, behaviours: [] };
  const [shareText, names] = text.split(":", 2);
  const share = Number(shareText);
  const wanted = names === undefined ? BEHAVIOURS : names.split(",");
  const behaviours = wanted.filter((name): name is Behaviour => BEHAVIOURS.includes(name as Behaviour));
  if (!(share >= 0 && share < 1) || shareText === "" || behaviours.length !== wanted.length) {
    throw new UsageError(`--byzantine ${text} is not SHARE or SHARE:${BEHAVIOURS.join(",")}.`);
  }
  return { share, behaviours };
}
