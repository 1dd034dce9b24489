// Asks a list of addresses before the network of a run exists, over a host that lives as long as the question. Owns which
// of several failures is told; knows nothing of what is asked.
import type { DialTarget } from "./addresses.ts";
import { requireAddress } from "./addresses.ts";
import { systemClock } from "./clock.ts";
import { NetworkError, reasonOf } from "./errors.ts";
import { createHost, startHost } from "./host.ts";
import { createIdentity } from "./identity.ts";
import { silentLogger } from "./logger.ts";
import { RateLimiter } from "./rate-limit.ts";
import { Streams } from "./streams.ts";

export type Outcome<T> = { readonly value: T } | { readonly failure: NetworkError };

/** Streams of a host of its own, which ends when `use` does. Throws NetworkError `ADDRESS_INVALID` before it begins. */
export async function withStreams<T>(
  addresses: readonly string[],
  use: (streams: Streams, targets: readonly DialTarget[]) => Promise<T>,
): Promise<T> {
  const targets = addresses.map(requireAddress);
  const identity = await createIdentity();
  const host = await createHost({ identity, listen: [], maxConnections: 64 }, { isBanned: () => false }, {});
  const streams = new Streams(host, {
    logger: silentLogger,
    limiter: new RateLimiter(systemClock),
    penalise: () => {},
  });
  try {
    await startHost(host, []);
    return await use(streams, targets);
  } finally {
    await streams.stop();
    await host.stop();
  }
}

/** Asks all at once. With `first` the first value ends the race, with `every` each is waited for. */
export function askAll<T>(
  addresses: readonly string[],
  signal: AbortSignal,
  wanted: "first" | "every",
  ask: (streams: Streams, target: DialTarget, raceSignal: AbortSignal) => Promise<Outcome<T>>,
): Promise<readonly Outcome<T>[]> {
  const race = new AbortController();
  const raceSignal = AbortSignal.any([signal, race.signal]);
  return withStreams(addresses, (streams, targets) =>
    Promise.all(
      targets.map(async (target): Promise<Outcome<T>> => {
        try {
          const outcome = await ask(streams, target, raceSignal);
          if (wanted === "first" && "value" in outcome) {
            race.abort(new NetworkError("NETWORK_STOPPED", "Another peer was faster."));
          }
          return outcome;
        } catch (error) {
          signal.throwIfAborted();
          if (error instanceof NetworkError) return { failure: error };
          throw error;
        }
      }),
    ),
  );
}

/** The most telling failure: what an answering peer said outranks that others could not be reached. */
export function gravest<T>(
  outcomes: readonly Outcome<T>[],
  order: readonly NetworkError["code"][],
  addresses: readonly string[],
): NetworkError {
  const failures = outcomes.flatMap((outcome) => ("failure" in outcome ? [outcome.failure] : []));
  for (const code of order) {
    const failure = failures.find((candidate) => candidate.code === code);
    if (failure !== undefined) return failure;
  }
  return unreachable(addresses, failures.map(reasonOf), failures[0]);
}

export const unreachable = (
  addresses: readonly string[],
  attempts: readonly string[],
  cause?: unknown,
): NetworkError =>
  new NetworkError(
    "BOOTSTRAP_UNREACHABLE",
    `None of the bootstrap addresses answered (${addresses.join(", ") || "none was given"}); check that one of them is running and reachable from here.`,
    { attempts },
    cause,
  );
