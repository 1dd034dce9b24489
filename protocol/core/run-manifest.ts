// The run manifest: configuration and parameter layout as canonical JSON, whose SHA-256 is the run's id.
// Whoever holds the id can take the manifest from anyone. Must not interpret the configuration
// beyond whether the layout is its variant's.
import { z } from "zod";
import { LayoutError, ManifestError, RunConfigError } from "../errors.ts";
import { canonicalJsonBytes, type Json } from "./canonical-json.ts";
import { type Hash, hexSha256 } from "./hash.ts";
import { MAX_TENSORS, parameterLayout } from "./layout.ts";
import { parseRunConfig, type RunConfig } from "./run-config.ts";
import { sharedEmbedding } from "./shared-embedding.ts";
import type { RunId, TensorSpec } from "./types.ts";

/** Rises when a peer that knows only the older form must not join. */
export const MANIFEST_VERSION = 1;
/** 4,096 tensors with names of 128 characters stay below it. */
export const MAX_MANIFEST_BYTES = 1024 * 1024;

export interface RunManifest {
  readonly version: number;
  readonly config: RunConfig;
  /** The body's tensors in order. */
  readonly layout: readonly TensorSpec[];
}

const manifestSchema = z.strictObject({
  version: z.literal(MANIFEST_VERSION),
  config: z.unknown(),
  layout: z.array(z.strictObject({ name: z.string(), shape: z.array(z.number()).max(8) })).max(MAX_TENSORS),
});

/** The bytes that are hashed, stored and served. Throws RunConfigError or LayoutError on a manifest no peer takes. */
export function manifestBytes(config: RunConfig, layout: readonly TensorSpec[], hash: Hash): Uint8Array {
  const parsed = parseRunConfig(config);
  sharedEmbedding(parsed, parameterLayout(layout, hash));
  return encodeManifest({ version: MANIFEST_VERSION, config: parsed, layout });
}

/** The run's id: lower-case hex SHA-256 of the manifest's bytes. */
export const runId = (manifest: Uint8Array, hash: Hash): RunId => hexSha256(manifest, hash);

/**
 * Reads a manifest from an untrusted source. Throws ManifestError: MANIFEST_OVERSIZED, MANIFEST_HASH_MISMATCH (it is
 * not the run that was asked for), MANIFEST_UNKNOWN_VERSION (made by a newer program), MANIFEST_INVALID (out of
 * bounds or not canonical).
 */
export function parseManifest(bytes: Uint8Array, expectedRunId: RunId, hash: Hash): RunManifest {
  if (bytes.length > MAX_MANIFEST_BYTES) {
    throw new ManifestError(
      "MANIFEST_OVERSIZED",
      `The run manifest has ${bytes.length} bytes, more than ${MAX_MANIFEST_BYTES}; ask another peer for it.`,
    );
  }
  const actual = runId(bytes, hash);
  if (actual !== expectedRunId) {
    throw new ManifestError(
      "MANIFEST_HASH_MISMATCH",
      `The run manifest hashes to ${actual.slice(0, 12)}…, not to the run id ${expectedRunId.slice(0, 12)}…; ` +
        "it was changed or belongs to another run, ask another peer or for a new invite.",
    );
  }
  const parsed = parseJson(bytes);
  const version = (parsed as { version?: unknown } | null)?.version;
  if (typeof version === "number" && version !== MANIFEST_VERSION) {
    throw new ManifestError(
      "MANIFEST_UNKNOWN_VERSION",
      `The run's manifest has version ${version} and this program knows ${MANIFEST_VERSION}; update glossa.`,
    );
  }
  const shape = manifestSchema.safeParse(parsed);
  if (!shape.success) throw invalid(shape.error.issues[0]?.message ?? "unknown shape");
  const manifest = { ...shape.data, config: checked(() => parseRunConfig(shape.data.config)) };
  checked(() => sharedEmbedding(manifest.config, parameterLayout(manifest.layout, hash)));
  const canonical = encodeManifest(manifest);
  if (canonical.length !== bytes.length || canonical.some((byte, index) => byte !== bytes[index])) {
    throw invalid("another version of glossa made it, or its JSON was changed");
  }
  return manifest;
}

function encodeManifest({ version, config, layout }: RunManifest): Uint8Array {
  const tensors = layout.map(({ name, shape }) => ({ name, shape: [...shape] }));
  return canonicalJsonBytes({ version, config: config as unknown as Json, layout: tensors });
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw invalid("it is not JSON", cause);
  }
}

function checked<Value>(check: () => Value): Value {
  try {
    return check();
  } catch (error) {
    if (error instanceof RunConfigError || error instanceof LayoutError) throw invalid(error.message, error);
    throw error;
  }
}

const invalid = (detail: string, cause?: unknown): ManifestError =>
  new ManifestError(
    "MANIFEST_INVALID",
    `The run's manifest cannot be used: ${detail.replace(/\.$/, "")}; use the version that made the run, or a new invite.`,
    cause === undefined ? undefined : { cause },
  );
