// What a log's updates are of: the run, or the group within it, read from its manifest and held against its id.

import { z } from "zod";
import { genesisShared, initialEmbedding } from "#model/genesis.ts";
import { hexSha256 } from "#protocol/core/hash.ts";
import { type ParameterLayout, parameterLayout } from "#protocol/core/layout.ts";
import { parseRunConfig, type RunConfig } from "#protocol/core/run-config.ts";
import { parseManifest } from "#protocol/core/run-manifest.ts";
import type { TensorSpec } from "#protocol/core/types.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { StateCorruptError } from "../storage/errors.ts";
import { sharedVocabularySize } from "../variants.ts";

export interface LogTerms {
  readonly runId: string;
  readonly config: RunConfig;
  readonly layout: ParameterLayout;
  /** Name of the group, undefined where the log is the run's own. */
  readonly group: string | undefined;
  /** The body at the start of round 0 as the seed gives it; undefined where the run starts from another one. */
  genesis(): Float32Array | undefined;
}

/** A group's manifest is derived, not made: its members know it, nobody is invited with it. */
const groupManifest = z.object({
  group: z.object({ name: z.string(), tokenizer: z.string() }),
  config: z.unknown(),
  layout: z.array(z.object({ name: z.string(), shape: z.array(z.number()) })),
});

/** @throws {StateCorruptError} where `path`, the file it came from, does not hold the manifest of `runId` */
export function readTerms(runId: string, manifest: Uint8Array, path: string): LogTerms {
  if (hexSha256(manifest, sha256) !== runId)
    throw new StateCorruptError(path, "its manifest is of another run");
  const group = groupManifest.safeParse(JSON.parse(new TextDecoder().decode(manifest)));
  if (!group.success) {
    const { config, layout } = parseManifest(manifest, runId, sha256);
    const genesis = () =>
      config.initialBody === undefined
        ? genesisShared(config.model, sharedVocabularySize(config), String(config.seed))
        : undefined;
    return { runId, config, layout: parameterLayout(layout, sha256), group: undefined, genesis };
  }
  const { name, tokenizer } = group.data.group;
  const config = parseRunConfig(group.data.config);
  const layout = parameterLayout(group.data.layout as TensorSpec[], sha256);
  const [vocabularySize = 0, width = 0] = layout.tensors[0]?.shape ?? [];
  const genesis = () => initialEmbedding({ width, vocabularySize }, `${config.seed}/${tokenizer}`);
  return { runId, config, layout, group: name, genesis };
}
