// The demo's result: its table, its JSON and the verdict whether it shows what it promises. Pure.
import type { PeerSummary } from "../observability/events.ts";
import { dataParallelBytes } from "../observability/status.ts";
import { bytes, count, factor, fixed, shortRoot } from "../terminal/format.ts";
import type { Paint } from "../terminal/paint.ts";
import { table } from "../terminal/table.ts";

export interface Savings {
  /** By all peers together. */
  readonly bytesSent: number;
  /** What fp32 data parallelism would have sent over the same steps; see `dataParallelBytes`. */
  readonly dataParallelBytes: number;
  /** The second over the first. */
  readonly reduction: number;
}

export interface DemoResult {
  readonly rounds: number;
  readonly seconds: number;
  readonly peers: readonly PeerSummary[];
  readonly savings: Savings;
}

export class DemoFailedError extends Error {
  readonly code = "DEMO_FAILED";
  readonly reason: string;

  constructor(reason: string) {
    super(`The demo failed: ${reason}.`);
    this.name = "DemoFailedError";
    this.reason = reason;
  }
}

export function resultOf(rounds: number, seconds: number, peers: readonly PeerSummary[]): DemoResult {
  const bytesSent = peers.reduce((sum, peer) => sum + peer.bytesSent, 0);
  const parallel = peers.reduce((sum, peer) => sum + dataParallelBytes(peer), 0);
  return {
    rounds,
    seconds: Math.round(seconds * 10) / 10,
    peers,
    savings: { bytesSent, dataParallelBytes: parallel, reduction: bytesSent > 0 ? parallel / bytesSent : 0 },
  };
}

/** @throws {DemoFailedError} unless all bodies are the same, everybody has learned, and every round was trained */
export function requireSuccess({ rounds, peers }: DemoResult): void {
  const roots = new Map(peers.map(({ name, bodyRoot }) => [name, bodyRoot]));
  if (new Set(roots.values()).size !== 1) {
    const list = [...roots].map(([name, root]) => `${name} ${shortRoot(root)}`).join(", ");
    throw new DemoFailedError(`the peers ended with different bodies (${list})`);
  }
  for (const { name, bitsPerByteStart, bitsPerByteEnd, rounds: trained } of peers) {
    // Written so that a number that is missing or NaN fails.
    if (!((bitsPerByteEnd ?? Number.NaN) < (bitsPerByteStart ?? Number.NaN))) {
      throw new DemoFailedError(
        `${name} did not learn (${fixed(bitsPerByteStart, 3)} bits per byte at first, ${fixed(bitsPerByteEnd, 3)} at the end)`,
      );
    }
    if (trained < rounds) throw new DemoFailedError(`${name} trained ${trained} of ${rounds} rounds`);
  }
}

const COLUMNS = [
  { title: "peer" },
  { title: "vocabulary", align: "right" },
  { title: "private", align: "right" },
  { title: "shared", align: "right" },
  { title: "bits per byte" },
  { title: "tokens", align: "right" },
  { title: "sent", align: "right" },
  { title: "received", align: "right" },
  { title: "body" },
] as const;

export function resultLines({ rounds, seconds, peers, savings }: DemoResult, paint: Paint): string[] {
  const rows = peers.map((peer) => [
    paint("bold", peer.name),
    peer.vocabularySize.toLocaleString("en-US"),
    count(peer.embeddingParameters),
    count(peer.bodyParameters),
    `${fixed(peer.bitsPerByteStart, 3)} → ${paint("bold", fixed(peer.bitsPerByteEnd, 3))}`,
    count(peer.tokens),
    bytes(peer.bytesSent),
    bytes(peer.bytesReceived),
    `${shortRoot(peer.bodyRoot)} ${paint("green", "✓")}`,
  ]);
  return [
    ...table(COLUMNS, rows, (title) => paint("gray", title)),
    "",
    `${peers.length} vocabularies, one body: bit-identical after ${rounds} ${rounds === 1 ? "round" : "rounds"} in ${Math.round(seconds)} s.`,
    `${bytes(savings.bytesSent)} sent by all peers; fp32 data parallel would have sent ${bytes(savings.dataParallelBytes)}: ` +
      `${paint("bold", factor(savings.reduction))} less.`,
  ];
}
