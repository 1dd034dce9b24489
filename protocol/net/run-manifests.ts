// Run manifests over the network, before the network of the run exists: fetching one by run id on the way in, handing
// one to the rendezvous when a run is made. Each uses a host of its own that lives as long as the request.
import type { RunId } from "../core/types.ts";
import type { DialTarget } from "./addresses.ts";
import { askAll, gravest } from "./ask-addresses.ts";
import { NetworkError } from "./errors.ts";
import { sha256Hex } from "./hash.ts";
import { targetName } from "./streams.ts";

/**
 * The manifest whose SHA-256 is `runId`, from the first of `addresses` (a rendezvous or any peer) that has it.
 * Throws NetworkError `ADDRESS_INVALID`, `BOOTSTRAP_UNREACHABLE`, `MANIFEST_NOT_FOUND` or `MANIFEST_MISMATCH`.
 */
export async function fetchRunManifest(
  runId: RunId,
  addresses: readonly string[],
  signal: AbortSignal,
): Promise<Uint8Array> {
  const outcomes = await askAll(addresses, signal, "first", async (streams, target, raceSignal) => {
    const { manifest } = await streams.ask(target, "run-manifest", { runId }, raceSignal);
    if (manifest === undefined) return { failure: notFound(runId, target) };
    return sha256Hex(manifest) === runId
      ? { value: new Uint8Array(manifest) }
      : { failure: mismatch(runId, target) };
  });
  const found = outcomes.find((outcome) => "value" in outcome);
  if (found !== undefined) return found.value;
  throw gravest(outcomes, ["MANIFEST_MISMATCH", "MANIFEST_NOT_FOUND"], addresses);
}

/**
 * Hands a manifest to every rendezvous among `addresses`; resolves when at least one has stored it.
 * Throws NetworkError `ADDRESS_INVALID`, `BOOTSTRAP_UNREACHABLE`, `MANIFEST_REFUSED`, or `NOT_SERVED` where
 * only peers were reached, which keep no manifest but their own.
 */
export async function storeRunManifest(
  manifest: Uint8Array,
  addresses: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const outcomes = await askAll(addresses, signal, "every", async (streams, target, raceSignal) => {
    const { stored, reason } = await streams.ask(target, "store-manifest", { manifest }, raceSignal);
    return stored ? { value: true } : { failure: refused(target, reason) };
  });
  if (!outcomes.some((outcome) => "value" in outcome)) {
    throw gravest(outcomes, ["MANIFEST_REFUSED", "NOT_SERVED"], addresses);
  }
}

const notFound = (runId: RunId, target: DialTarget): NetworkError =>
  new NetworkError(
    "MANIFEST_NOT_FOUND",
    `${targetName(target)} does not know the run ${runId}; check the invite, or ask whoever made the run to start a peer of it.`,
    { runId, address: targetName(target) },
  );

const mismatch = (runId: RunId, target: DialTarget): NetworkError =>
  new NetworkError(
    "MANIFEST_MISMATCH",
    `${targetName(target)} sent a manifest that does not hash to the run ${runId}; use another bootstrap address.`,
    { runId, address: targetName(target) },
  );

const refused = (target: DialTarget, reason: string): NetworkError =>
  new NetworkError(
    "MANIFEST_REFUSED",
    `${targetName(target)} did not store the run's manifest (${reason}); use another rendezvous or try again later.`,
    { address: targetName(target) },
  );
