// How a run averages, as a part of its configuration: defaults, bounds and a description per field. What fits together is
// run-config.ts's.
import { z } from "zod";
import { integer, real } from "./bounded.ts";
import { CODEC_NAMES, DEFAULT_TOP_K } from "./codec/registry.ts";
import { MAX_TOP_K, MIN_TOP_K } from "./codec/topk-sections.ts";
import { DEFENCES } from "./defence.ts";
import { MAX_UPDATES_PER_ROUND } from "./grid.ts";

/** So that the product with a grid integer is exact in float64. */
const OUTER_RATE_STEPS = 64;

export const averagingSchema = z.strictObject({
  codec: z.enum(CODEC_NAMES).default("int8").describe("how updates are compressed"),
  topK: integer(MIN_TOP_K, MAX_TOP_K)
    .default(DEFAULT_TOP_K)
    .describe("values that codec topk keeps of each 4096 of a matrix"),
  errorFeedbackDecay: real(0, 1)
    .default(1)
    .describe("share of what compression dropped that is kept for the next round; 1 loses nothing"),
  outerLearningRate: real(1 / OUTER_RATE_STEPS, 16)
    .refine(
      (rate) => Number.isInteger(rate * OUTER_RATE_STEPS),
      `must be a multiple of 1/${OUTER_RATE_STEPS}`,
    )
    .default(1)
    .describe(
      "factor on a round's mean update, at most the number of its updates; 1 is the paper's plain mean",
    ),
  weighting: z
    .enum(["uniform", "tokens"])
    .default("uniform")
    .describe("weight of a peer's update: the same for all, or by the tokens it was trained on"),
  newcomerRounds: integer(0, 16)
    .default(4)
    .describe(
      "updates over which the weight of one who joins late grows to that of the others; 0: full at once",
    ),
  cohort: integer(1, MAX_UPDATES_PER_ROUND)
    .default(32)
    .describe("updates that a round counts; of more peers a round draws so many"),
  defence: z
    .enum(DEFENCES)
    .default("majority")
    .describe(
      "against updates that would harm: clip scales down what lies far above the others and counts copies once, " +
        "majority also leaves out what points against them",
    ),
  openRounds: integer(1, 4).default(2).describe("rounds that still accept late updates"),
  minimumPeers: integer(1, 1024).default(1).describe("peers, oneself included, that round 0 waits for"),
  quorum: real(0, 1).default(0.5).describe("share of the active peers whose updates a round waits for"),
  maxRoundMs: integer(1_000, 604_800_000)
    .default(600_000)
    .describe("a round is applied at the latest this long after it began, quorum or not, in milliseconds"),
  overlap: z
    .enum(["off", "on"])
    .default("on")
    .describe("whether a peer goes on with the next round's steps while updates travel"),
  pacing: z
    .enum(["off", "on"])
    .default("off")
    .describe("whether a slower peer publishes the steps it has when most others are done; by tokens only"),
});
