// What the run is: its manifest, from this peer's own disk or from whoever the invite names, checked against the run's id
// and against the architecture that this program builds.
import { bodyTensors } from "#model/architecture.ts";
import type { Invite } from "#protocol/core/invite.ts";
import { type ParameterLayout, parameterLayout } from "#protocol/core/layout.ts";
import type { RunConfig } from "#protocol/core/run-config.ts";
import { parseManifest } from "#protocol/core/run-manifest.ts";
import type { TensorSpec } from "#protocol/core/types.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { fetchRunManifest } from "#protocol/net/run-manifests.ts";
import type { StateDirectory } from "../storage/state-directory.ts";

export interface RunTerms {
  readonly runId: string;
  readonly manifest: Uint8Array;
  readonly config: RunConfig;
  readonly layout: ParameterLayout;
}

/** The run's tensors are not the ones this version builds from its settings. */
export class LayoutUnsupportedError extends Error {
  readonly code = "LAYOUT_INVALID";

  constructor(runId: string) {
    super(
      `The run ${runId.slice(0, 12)} has another body than this version of glossa builds from its settings; use the version that made the run.`,
    );
    this.name = "LayoutUnsupportedError";
  }
}

/**
 * Ties the state directory to the run. A resuming peer needs nobody to be reachable.
 * @throws NetworkError, StateOfAnotherRunError, errors of parseManifest, LayoutUnsupportedError
 */
export async function obtainRunTerms(
  { runId, addresses }: Invite,
  state: StateDirectory,
  signal: AbortSignal,
): Promise<RunTerms> {
  const kept = await state.boundManifest();
  const manifest =
    kept?.runId === runId
      ? new TextEncoder().encode(kept.manifest)
      : await fetchRunManifest(runId, addresses, signal);
  const { config, layout } = parseManifest(manifest, runId, sha256);
  if (!sameTensors(layout, bodyTensors(config.model))) throw new LayoutUnsupportedError(runId);
  await state.bindToRun(runId, new TextDecoder().decode(manifest));
  return { runId, manifest, config, layout: parameterLayout(layout, sha256) };
}

function sameTensors(a: readonly TensorSpec[], b: readonly TensorSpec[]): boolean {
  return JSON.stringify(a.map(nameAndShape)) === JSON.stringify(b.map(nameAndShape));
}

const nameAndShape = ({ name, shape }: TensorSpec) => [name, shape];
