// The demo: a rendezvous, a run and one peer for each corpus, all of them real `glossa` processes on loopback, followed
// through their events until every peer has finished. Draws nothing itself; whoever calls it is told what happens.
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { GlossaEvent, PeerSummary } from "../observability/events.ts";
import { type Exit, type GlossaProcess, startGlossa } from "./child-process.ts";
import type { DemoCorpus } from "./corpora.ts";
import { DemoFailedError, type DemoResult, requireSuccess, resultOf } from "./report.ts";

/** Without progress of any peer for this long, something hangs. A slow machine needs seconds from step to step. */
const SILENCE_TIMEOUT_MS = 120_000;
const LOOPBACK = "/ip4/127.0.0.1/tcp/0";

export interface DemoOptions {
  readonly corpora: readonly DemoCorpus[];
  readonly rounds: number;
  /** Exists and is empty; states and logs go here. */
  readonly directory: string;
  readonly onEvent: (name: string, event: GlossaEvent) => void;
}

/**
 * Runs the demo to its end. Whatever happens, every process that was started has ended when this settles.
 * @throws {DemoFailedError} where a process dies or the result does not hold what the demo promises
 */
export async function runDemo(options: DemoOptions, signal: AbortSignal): Promise<DemoResult> {
  const { corpora, rounds, directory } = options;
  const startedAt = performance.now();
  const running: GlossaProcess[] = [];
  const start = (name: string, args: readonly string[]) => {
    const child = startGlossa(name, args, join(directory, `${name}.log`));
    running.push(child);
    return child;
  };
  const abandoned = Promise.withResolvers<never>();
  const abandon = () => abandoned.reject(signal.reason);
  signal.addEventListener("abort", abandon, { once: true });
  // Nobody may be listening yet when it rejects.
  abandoned.promise.catch(() => {});
  try {
    signal.throwIfAborted();
    const work = async () => {
      const address = await startRendezvous(start, directory);
      const invite = await makeRun(start, options, address);
      const peers = corpora.map((corpus) => start(corpus.name, peerArguments(corpus, invite, options)));
      return finishAll(peers, options);
    };
    const summaries = await Promise.race([work(), abandoned.promise]);
    const result = resultOf(rounds, (performance.now() - startedAt) / 1000, summaries);
    requireSuccess(result);
    return result;
  } finally {
    signal.removeEventListener("abort", abandon);
    await Promise.all(running.map((child) => child.stop()));
  }
}

type Start = (name: string, args: readonly string[]) => GlossaProcess;

/** The address that the rendezvous says it can be reached at. */
async function startRendezvous(start: Start, directory: string): Promise<string> {
  const args = [
    "bootstrap",
    "--listen",
    LOOPBACK,
    "--state-dir",
    join(directory, "bootstrap"),
    "--events",
    "json",
  ];
  const child = start("bootstrap", args);
  const listening = Promise.withResolvers<string>();
  const follow = async () => {
    for await (const event of child.events) {
      if (event.event === "listening" && event.addresses[0] !== undefined)
        listening.resolve(event.addresses[0]);
    }
    listening.reject(deathOf(child, await child.exited));
  };
  follow().catch(listening.reject);
  return listening.promise;
}

/** Makes the run with the command that a person would use, and gives its invite. */
async function makeRun(
  start: Start,
  { corpora, rounds, directory }: DemoOptions,
  address: string,
): Promise<string> {
  const child = start("init", [
    // Half of the preset's batch: more steps for the minutes that a person watches.
    ...["init", "--preset", "tiny", "--name", "demo", "--rounds", String(rounds), "--batch-size", "8"],
    ...["--minimum-peers", String(corpora.length), "--quorum", "1"],
    ...["--bootstrap", address, "--output", join(directory, "demo.run.json"), "--json"],
  ]);
  let invite: string | undefined;
  for await (const event of child.events) {
    if (event.event === "run-created") invite = event.invite;
  }
  const exit = await child.exited;
  if (invite === undefined || exit.code !== 0) throw deathOf(child, exit);
  return invite;
}

function peerArguments(
  { name, path, vocabularySize }: DemoCorpus,
  invite: string,
  options: DemoOptions,
): string[] {
  const threads = Math.max(1, Math.floor(availableParallelism() / options.corpora.length));
  return [
    ...[
      "peer",
      "--join",
      invite,
      "--name",
      name,
      "--data",
      path,
      "--vocabulary-size",
      String(vocabularySize),
    ],
    ...[
      "--state-dir",
      join(options.directory, name),
      "--listen",
      LOOPBACK,
      "--rounds",
      String(options.rounds),
    ],
    // Three processes do not share a graphics card well, and the demo should run the same everywhere.
    ...["--device", "cpu", "--threads", String(threads), "--evaluation-tokens", "8192"],
    ...["--events", "json", "--log-format", "json"],
  ];
}

/** Resolves with every peer's row once all have left; rejects when one dies before it has finished. */
async function finishAll(peers: readonly GlossaProcess[], { onEvent }: DemoOptions): Promise<PeerSummary[]> {
  const silence = Promise.withResolvers<never>();
  const hang = () => {
    silence.reject(new DemoFailedError(`no peer has made progress for ${SILENCE_TIMEOUT_MS / 1000} s`));
  };
  const timer = setTimeout(hang, SILENCE_TIMEOUT_MS);
  const finish = async (peer: GlossaProcess): Promise<PeerSummary> => {
    let summary: PeerSummary | undefined;
    for await (const event of peer.events) {
      // Traffic is reported by the clock, also while nothing moves.
      if (event.event !== "traffic") timer.refresh();
      onEvent(peer.name, event);
      if (event.event === "finished") {
        const { event: _, ...row } = event;
        summary = row;
      }
    }
    const exit = await peer.exited;
    if (summary === undefined || exit.code !== 0) throw deathOf(peer, exit);
    return summary;
  };
  try {
    return await Promise.race([Promise.all(peers.map(finish)), silence.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function deathOf({ name }: GlossaProcess, { code, signal, tail }: Exit): DemoFailedError {
  const how = signal === null ? `exit code ${code}` : signal;
  return new DemoFailedError(`${name} ended early (${how}${tail.length === 0 ? "" : `: ${tail.at(-1)}`})`);
}
