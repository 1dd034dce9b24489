// Who takes part in which run, by what each peer says of itself: bounded in runs and peers, forgotten when silent.
import type { PeerId, RunId } from "#protocol/core/types.ts";
import { PeerDirectory } from "#protocol/net/peer-directory.ts";
import type { ClockPort } from "#protocol/ports.ts";
import type { PeerRecord } from "#protocol/wire/exchange.ts";

/** Peers ask again every half minute at the latest; four missed and they are gone. */
const REGISTRATION_LIFETIME_MS = 120_000;
const MAX_PEERS_PER_RUN = 4096;

export class RunRegistry {
  readonly #clock: ClockPort;
  readonly #maxRuns: number;
  /** Ordered by last use, oldest first. */
  readonly #runs = new Map<RunId, PeerDirectory>();

  constructor(maxRuns: number, clock: ClockPort) {
    this.#maxRuns = maxRuns;
    this.#clock = clock;
  }

  register(runId: RunId, record: PeerRecord): void {
    const directory = this.#runs.get(runId) ?? this.#newDirectory();
    directory.introduce(record);
    this.#runs.delete(runId);
    this.#runs.set(runId, directory);
    if (this.#runs.size > this.#maxRuns) {
      const oldest = this.#runs.keys().next().value;
      if (oldest !== undefined) this.#runs.delete(oldest);
    }
  }

  peersOf(runId: RunId, asker: PeerId): readonly PeerRecord[] {
    return this.#runs.get(runId)?.answerFor(asker) ?? [];
  }

  runs(): readonly { readonly runId: RunId; readonly peers: number }[] {
    return [...this.#runs].map(([runId, directory]) => ({ runId, peers: directory.size }));
  }

  #newDirectory(): PeerDirectory {
    return new PeerDirectory(
      { maxPeers: MAX_PEERS_PER_RUN, lifetimeMs: REGISTRATION_LIFETIME_MS },
      this.#clock,
    );
  }
}
