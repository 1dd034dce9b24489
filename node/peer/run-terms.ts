// What the run is: its manifest, from this peer's own disk or from whoever the invite names, checked against the run's id
// and against the architecture that this program builds.
import { type ParameterLayout, parameterLayout } from "#protocol/core/layout.ts";
import type { RunConfig } from "#protocol/core/run-config.ts";
import { parseManifest } from "#protocol/core/run-manifest.ts";
import type { RunId, TensorSpec } from "#protocol/core/types.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { fetchRunManifest } from "#protocol/net/run-manifests.ts";
import { readIfPresent } from "../storage/atomic-file.ts";
import type { StateDirectory } from "../storage/state-directory.ts";
import { sharedTensorsOf } from "../variants.ts";

export interface RunTerms {
  readonly runId: RunId;
  readonly manifest: Uint8Array;
  readonly config: RunConfig;
  readonly layout: ParameterLayout;
}

export class ManifestFileMissingError extends Error {
  readonly code = "MANIFEST_NOT_FOUND";

  constructor(path: string) {
    super(
      `There is no run manifest at ${path}; give the file that glossa init wrote, or leave --manifest out.`,
    );
    this.name = "ManifestFileMissingError";
  }
}

/** The run's tensors are not the ones this version builds from its settings. */
export class LayoutUnsupportedError extends Error {
  readonly code = "LAYOUT_INVALID";

  constructor(runId: string) {
    super(
      `The run ${runId.slice(0, 12)} shares other tensors than this version of glossa builds from its settings; use the version that made the run.`,
    );
    this.name = "LayoutUnsupportedError";
  }
}

export interface RunSources {
  /** A file with the manifest, as `glossa init` wrote it. */
  readonly manifestFile: string | undefined;
  /** Whom to ask. */
  readonly addresses: readonly string[];
}

/**
 * Ties the state directory to the run. A resuming peer needs nobody to be reachable.
 * @throws ManifestFileMissingError, NetworkError, StateOfAnotherRunError, errors of parseManifest, LayoutUnsupportedError
 */
export async function obtainRunTerms(
  runId: RunId,
  sources: RunSources,
  state: StateDirectory,
  signal: AbortSignal,
): Promise<RunTerms> {
  await state.requireRun(runId);
  const manifest = await findManifest(runId, sources, state, signal);
  const { config, layout } = parseManifest(manifest, runId, sha256);
  if (!sameTensors(layout, sharedTensorsOf(config))) throw new LayoutUnsupportedError(runId);
  await state.bindToRun(runId, new TextDecoder().decode(manifest));
  return { runId, manifest, config, layout: parameterLayout(layout, sha256) };
}

async function findManifest(
  runId: RunId,
  { manifestFile, addresses }: RunSources,
  state: StateDirectory,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const kept = await state.boundManifest();
  if (kept?.runId === runId) return new TextEncoder().encode(kept.manifest);
  if (manifestFile === undefined) return fetchRunManifest(runId, addresses, signal);
  const manifest = await readIfPresent(manifestFile);
  if (manifest === undefined) throw new ManifestFileMissingError(manifestFile);
  return manifest;
}

function sameTensors(a: readonly TensorSpec[], b: readonly TensorSpec[]): boolean {
  return JSON.stringify(a.map(nameAndShape)) === JSON.stringify(b.map(nameAndShape));
}

const nameAndShape = ({ name, shape }: TensorSpec) => [name, shape];
