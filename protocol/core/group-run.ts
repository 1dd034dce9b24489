// A group: peers of a run that have the same tokenizer and average their own embeddings among themselves. It is a run of its
// own whose layout is the embedding alone; its manifest is derived, never fetched, so that whoever is of another run, gives
// another name or has another tokenizer meets nobody.
//   manifest = { version, group: { name, run, tokenizer }, config, layout }      run id = SHA-256, as of any manifest
import { LayoutError } from "../errors.ts";
import { canonicalJsonBytes, type Json } from "./canonical-json.ts";
import { DEFAULT_TOP_K } from "./codec/registry.ts";
import { type Hash, hexSha256 } from "./hash.ts";
import { type ParameterLayout, parameterLayout } from "./layout.ts";
import { type RunConfig, sharesEmbedding } from "./run-config.ts";
import { MANIFEST_VERSION } from "./run-manifest.ts";
import type { RunId, TensorSpec } from "./types.ts";

/** Alone there is nobody to average with; and whoever comes later finds the others' embedding, not its own beginning. */
const MINIMUM_PEERS = 2;

export interface GroupOf {
  readonly runId: RunId;
  /** Variant spec-opt or spec: in the others everybody shares rows with everybody. */
  readonly config: RunConfig;
  readonly name: string;
  /** What makes tokenizers equal: the run's common one by its file, a peer's own by its content. SHA-256. */
  readonly tokenizer: string;
  /** [tokens of that tokenizer, width], under its name in the model. */
  readonly embedding: TensorSpec;
}

export interface GroupRun {
  readonly runId: RunId;
  readonly manifest: Uint8Array;
  readonly config: RunConfig;
  readonly layout: ParameterLayout;
  /** Of the embedding at the group's round 0. */
  readonly seed: string;
}

/** Sparse updates live from an outer learning rate, and embeddings have none: theirs go out whole. */
const denseOf = ({ codec, topK }: RunConfig["averaging"]): Pick<RunConfig["averaging"], "codec" | "topK"> =>
  codec === "topk" ? { codec: "int4", topK: DEFAULT_TOP_K } : { codec, topK };

/** Throws LayoutError where the run shares its embedding anyway or the tensor cannot be one. */
export function groupRun({ runId, config, name, tokenizer, embedding }: GroupOf, hash: Hash): GroupRun {
  if (sharesEmbedding(config))
    throw new LayoutError(`variant ${config.variant} has no groups`, embedding.name);
  const { initialBody: _, ...rest } = config;
  const [size = 0] = embedding.shape;
  const derived: RunConfig = {
    ...rest,
    // Members cut one common tokenizer down to their own texts: each has some of its rows.
    variant: config.variant === "spec" ? "trim" : "glob",
    vocabulary: { tokenizer, size },
    // The run fits embeddings to its body; the group only averages them.
    training: { ...config.training, embeddingWarmupSteps: 0 },
    // Nor is there anything to go on with or to cut short: a group has no steps of its own.
    averaging: {
      ...config.averaging,
      ...denseOf(config.averaging),
      minimumPeers: MINIMUM_PEERS,
      overlap: "off",
      pacing: "off",
      outerLearningRate: 1,
    },
  };
  const { name: tensor, shape } = embedding;
  const manifest = canonicalJsonBytes({
    version: MANIFEST_VERSION,
    group: { name, run: runId, tokenizer },
    config: derived as unknown as Json,
    layout: [{ name: tensor, shape: [...shape] }],
  });
  return {
    runId: hexSha256(manifest, hash),
    manifest,
    config: derived,
    layout: parameterLayout([embedding], hash),
    seed: `${config.seed}/${tokenizer}`,
  };
}
