// Run manifests over the network, before the network of the run exists: fetching one by run id on the way in, handing
// one to the rendezvous when a run is made. Each uses a host of its own that lives as long as the request.
import type { RunId } from "../core/types.ts";
import type { DialTarget } from "./addresses.ts";
import { requireAddress } from "./addresses.ts";
import { systemClock } from "./clock.ts";
import { NetworkError, reasonOf } from "./errors.ts";
import { sha256Hex } from "./hash.ts";
import { createHost, startHost } from "./host.ts";
import { createIdentity } from "./identity.ts";
import { silentLogger } from "./logger.ts";
import { RateLimiter } from "./rate-limit.ts";
import { Streams, targetName } from "./streams.ts";

/**
 * The manifest whose SHA-256 is `runId`, from the first of `addresses` (a rendezvous or any peer) that has it.
 * Throws NetworkError `address-invalid`, `bootstrap-unreachable`, `manifest-not-found` or `manifest-mismatch`.
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
  throw gravest(outcomes, ["manifest-mismatch", "manifest-not-found"], addresses);
}

/**
 * Hands a manifest to every rendezvous among `addresses`; resolves when at least one has stored it.
 * Throws NetworkError `address-invalid`, `bootstrap-unreachable`, `manifest-refused`, or `not-served` where
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
    throw gravest(outcomes, ["manifest-refused", "not-served"], addresses);
  }
}

type Outcome<T> = { readonly value: T } | { readonly failure: NetworkError };

/** Asks all at once. With `first` the first value ends the race, with `every` each is waited for. */
async function askAll<T>(
  addresses: readonly string[],
  signal: AbortSignal,
  wanted: "first" | "every",
  ask: (streams: Streams, target: DialTarget, raceSignal: AbortSignal) => Promise<Outcome<T>>,
): Promise<readonly Outcome<T>[]> {
  const targets = addresses.map(requireAddress);
  const identity = await createIdentity();
  const host = await createHost({ identity, listen: [], maxConnections: 64 }, { isBanned: () => false }, {});
  const streams = new Streams(host, {
    logger: silentLogger,
    limiter: new RateLimiter(systemClock),
    penalise: () => {},
  });
  const race = new AbortController();
  const raceSignal = AbortSignal.any([signal, race.signal]);
  try {
    await startHost(host, []);
    return await Promise.all(
      targets.map(async (target): Promise<Outcome<T>> => {
        try {
          const outcome = await ask(streams, target, raceSignal);
          if (wanted === "first" && "value" in outcome) {
            race.abort(new NetworkError("network-stopped", "Another peer was faster."));
          }
          return outcome;
        } catch (error) {
          signal.throwIfAborted();
          if (error instanceof NetworkError) return { failure: error };
          throw error;
        }
      }),
    );
  } finally {
    await streams.stop();
    await host.stop();
  }
}

/** The most telling failure: what an answering peer said outranks that others could not be reached. */
function gravest<T>(
  outcomes: readonly Outcome<T>[],
  order: readonly NetworkError["code"][],
  addresses: readonly string[],
): NetworkError {
  const failures = outcomes.flatMap((outcome) => ("failure" in outcome ? [outcome.failure] : []));
  for (const code of order) {
    const failure = failures.find((candidate) => candidate.code === code);
    if (failure !== undefined) return failure;
  }
  return new NetworkError(
    "bootstrap-unreachable",
    `None of the bootstrap addresses answered (${addresses.join(", ") || "none was given"}); check that one of them is running and reachable from here.`,
    { attempts: failures.map(reasonOf) },
    failures[0],
  );
}

const notFound = (runId: RunId, target: DialTarget): NetworkError =>
  new NetworkError(
    "manifest-not-found",
    `${targetName(target)} does not know the run ${runId}; check the invite, or ask whoever made the run to start a peer of it.`,
    { runId, address: targetName(target) },
  );

const mismatch = (runId: RunId, target: DialTarget): NetworkError =>
  new NetworkError(
    "manifest-mismatch",
    `${targetName(target)} sent a manifest that does not hash to the run ${runId}; use another bootstrap address.`,
    { runId, address: targetName(target) },
  );

const refused = (target: DialTarget, reason: string): NetworkError =>
  new NetworkError(
    "manifest-refused",
    `${targetName(target)} did not store the run's manifest (${reason}); use another rendezvous or try again later.`,
    { address: targetName(target) },
  );
