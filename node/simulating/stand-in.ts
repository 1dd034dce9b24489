// What the simulator runs and what it charges for it: a body of some hundred values, whose updates weigh on the network and
// take of the machine what those of the planned run would.
import { sharedTensors } from "#model/architecture.ts";
import { codecFor, DEFAULT_TOP_K } from "#protocol/core/codec/registry.ts";
import { type ParameterLayout, parameterLayout } from "#protocol/core/layout.ts";
import { parseRunConfig, type RunConfig } from "#protocol/core/run-config.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { seededRandom } from "#protocol/simulation/random.ts";
import type { BodyCosts } from "#protocol/simulation/simulated-peer.ts";
import type { RunPlan } from "../planning/run-plan.ts";
import { sharedVocabularySize } from "../variants.ts";

/** Two matrices and a vector: blocks that end early, a tensor that codecs keep dense. */
const TENSORS = [
  { name: "first.weight", shape: [24, 16] },
  { name: "norm.weight", shape: [16] },
  { name: "second.weight", shape: [16, 20] },
];

/** Of a swarm whose bodies are thousands. */
const FEW_TENSORS = [
  { name: "first.weight", shape: [8, 10] },
  { name: "norm.weight", shape: [4] },
  { name: "second.weight", shape: [4, 3] },
];
const MANY_PEERS = 512;

/** A round's local steps go in so many parts at most: more would be more events and no more truth. */
const MOST_SEGMENTS = 8;

/**
 * Values a second that one core encodes with error feedback, and checks, decodes and adds; and at which it folds a round
 * into the body and hashes that. Measured on 8.4M values (AMD EPYC, node 24) with `npm run bench -- sim --rates`.
 */
const ENCODED_PER_SECOND = { float32: 52e6, int8: 56e6, int4: 69e6, topk: 67e6, sign: 96e6 } as const;
const APPLIED_PER_SECOND = { float32: 79e6, int8: 208e6, int4: 234e6, topk: 625e6, sign: 321e6 } as const;
/** With a defence each update is also measured; with majority, for which these are, its signs are kept. */
const JUDGED_PER_SECOND = { float32: 35e6, int8: 54e6, int4: 50e6, topk: 423e6, sign: 75e6 } as const;
/** The rates of topk are those of its default k. Time grows evenly with what is kept: with this k it is longer by these factors. */
const DENSE_TOP_K = 640;
const DENSE_LONGER = { encoded: 2.1, applied: 2.1, judged: 4.7 } as const;
const OPENED_PER_SECOND = 120e6;
/** With majority each two updates of a round are compared once, or with 64 of them where there are more. */
const COMPARED_PER_SECOND = 3.7e9;
const JURY = 64;
/** float32 copies of the body in a checkpoint: the closed body and the residual. */
const SAVED_COPIES = 2;

export interface StandIn {
  readonly config: RunConfig;
  readonly layout: ParameterLayout;
  readonly segments: number;
  readonly stepsPerSegment: number;
}

/** The run that the drivers run: the planned one's averaging, a small body, few and long steps. */
export function standInOf(run: RunConfig, peers: number): StandIn {
  const { localSteps, embeddingWarmupSteps } = run.training;
  const segments = Math.min(MOST_SEGMENTS, localSteps);
  const stepsPerSegment = localSteps / segments;
  const warmUp = Math.ceil(embeddingWarmupSteps / stepsPerSegment);
  return {
    config: parseRunConfig({
      name: run.name,
      training: { localSteps: segments, embeddingWarmupSteps: warmUp, rounds: 1000, warmupSteps: 0 },
      averaging: {
        ...run.averaging,
        minimumPeers: Math.min(1_024, Math.max(run.averaging.minimumPeers, awaited(peers, run))),
      },
    }),
    layout: parameterLayout(peers > MANY_PEERS ? FEW_TENSORS : TENSORS, sha256),
    segments,
    stepsPerSegment,
  };
}

/** Round 0 waits for everyone, but where a swarm's size is an estimate: there for a cohort. */
const awaited = (peers: number, { averaging }: RunConfig): number => Math.min(peers, averaging.cohort);

/** Values in the planned run's shared layout: the body, and with it in variants glob and trim the embedding. */
export function sharedValues(run: RunConfig): number {
  const tensors = sharedTensors(run.model, sharedVocabularySize(run));
  return parameterLayout(tensors, sha256).total;
}

/**
 * Bytes of a payload of the planned run. All codecs but topk have one length for a layout; topk's bound is far above what
 * it comes to, so it encodes a million normal values and takes their ratio.
 */
export function payloadBytesOf(run: RunConfig, plan: RunPlan): number {
  if (run.averaging.codec !== "topk") return plan.updateBytesPerRound;
  const { sentParameters } = plan.costs;
  const rows = Math.max(1, Math.min(1_024, Math.floor(sentParameters / 1_024)));
  const layout = parameterLayout([{ name: "sample.weight", shape: [rows, 1_024] }], sha256);
  const random = seededRandom(run.seed);
  const values = Float32Array.from({ length: layout.total }, () => {
    let sum = -6;
    for (let draw = 0; draw < 12; draw++) sum += random();
    return 1e-3 * sum;
  });
  const bytes = codecFor(run.averaging).encode(values, layout).length;
  return Math.min(plan.updateBytesPerRound, Math.round((bytes / layout.total) * sentParameters));
}

/** `updates`: that a round counts, as many as there are peers or places in a cohort. */
export function bodyCostsOf(
  run: RunConfig,
  plan: RunPlan,
  diskBytesPerSecond: number,
  updates: number,
): BodyCosts {
  const { codec, topK, defence } = run.averaging;
  const [rates, applied] =
    defence === "none"
      ? ([APPLIED_PER_SECOND, "applied"] as const)
      : ([JUDGED_PER_SECOND, "judged"] as const);
  const denser = codec === "topk" ? (topK - DEFAULT_TOP_K) / (DENSE_TOP_K - DEFAULT_TOP_K) : 0;
  const longer = (part: keyof typeof DENSE_LONGER) => 1 + denser * (DENSE_LONGER[part] - 1);
  const pairs = defence === "majority" ? (updates * Math.min(updates - 1, JURY)) / 2 : 0;
  const shared = sharedValues(run);
  const { sentParameters } = plan.costs;
  return {
    encodeMs: (1_000 * longer("encoded") * sentParameters) / ENCODED_PER_SECOND[codec],
    applyMs: (1_000 * longer(applied) * sentParameters) / rates[codec],
    openMs: (1_000 * shared) / OPENED_PER_SECOND + (1_000 * pairs * shared) / COMPARED_PER_SECOND,
    saveMs: (1_000 * SAVED_COPIES * 4 * shared) / diskBytesPerSecond,
  };
}
