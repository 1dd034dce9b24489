// The round logic's rules, taken from the run's configuration and the operator's wish.
import { codecFor } from "../core/codec/registry.ts";
import type { RoundRules } from "../core/round-state.ts";
import type { DriverOptions } from "./context.ts";

export function roundRules({ config, layout, rounds }: DriverOptions): RoundRules {
  const { training, averaging } = config;
  return {
    localSteps: training.localSteps,
    embeddingWarmupSteps: training.embeddingWarmupSteps,
    openRounds: averaging.openRounds,
    minimumPeers: averaging.minimumPeers,
    quorum: averaging.quorum,
    maxRoundMs: averaging.maxRoundMs,
    maxPayloadBytes: codecFor(averaging).maxPayloadBytes(layout),
    rounds,
  };
}
