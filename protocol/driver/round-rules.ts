// The round logic's rules, taken from the run's configuration and the operator's wish.
import { cohortOf } from "../core/cohort.ts";
import type { RoundRules } from "../core/rules.ts";
import { sharesEmbedding } from "../core/run-config.ts";
import { updateCodec } from "../core/update-codec.ts";
import type { DriverOptions } from "./context.ts";

export function roundRules({ runId, config, layout, hash, rounds, mostMembers }: DriverOptions): RoundRules {
  const { training, averaging } = config;
  return {
    localSteps: training.localSteps,
    // A shared embedding comes with the body: there is nothing to fit.
    embeddingWarmupSteps: sharesEmbedding(config) ? 0 : training.embeddingWarmupSteps,
    openRounds: averaging.openRounds,
    minimumPeers: averaging.minimumPeers,
    newcomerRounds: averaging.newcomerRounds,
    quorum: averaging.quorum,
    maxRoundMs: averaging.maxRoundMs,
    maxPayloadBytes: updateCodec(config, layout).maxPayloadBytes,
    cohort: cohortOf(runId, averaging.cohort, hash),
    mostMembers,
    initialBody: config.initialBody,
    overlap: averaging.overlap === "on",
    pacing: averaging.pacing === "on",
    rounds,
  };
}
