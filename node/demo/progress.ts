// What the demo shows while it runs: a fold of the peers' events, and its picture as one line a peer. Pure.
import type { GlossaEvent } from "../observability/events.ts";
import { bytes, count, fixed, percent, shortRoot } from "../terminal/format.ts";
import type { Paint } from "../terminal/paint.ts";
import { table } from "../terminal/table.ts";

export interface PeerProgress {
  readonly name: string;
  /** What it is doing, in a word or two. */
  readonly doing: string;
  readonly round: number;
  readonly step: number;
  readonly steps: number;
  readonly vocabularySize: number | undefined;
  /** Held-out, first and newest. */
  readonly bitsPerByteStart: number | undefined;
  readonly bitsPerByte: number | undefined;
  /** The root after each round it has applied. */
  readonly roots: Readonly<Record<number, string>>;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly finished: boolean;
}

export type Progress = readonly PeerProgress[];

export function beginning(names: readonly string[]): Progress {
  return names.map((name) => ({
    name,
    doing: "starting",
    round: 0,
    step: 0,
    steps: 0,
    vocabularySize: undefined,
    bitsPerByteStart: undefined,
    bitsPerByte: undefined,
    roots: {},
    bytesSent: 0,
    bytesReceived: 0,
    finished: false,
  }));
}

export function advance(progress: Progress, name: string, event: GlossaEvent): Progress {
  return progress.map((peer) => (peer.name === name ? { ...peer, ...changeOf(peer, event) } : peer));
}

function changeOf(peer: PeerProgress, event: GlossaEvent): Partial<PeerProgress> {
  switch (event.event) {
    case "tokenizer-progress":
      return { doing: `vocabulary ${percent(event.fraction)}` };
    case "tokenizer-ready":
      return { doing: "tokenizing", vocabularySize: event.vocabularySize };
    case "tokens-progress":
      return { doing: `tokenizing ${count(event.tokens)}` };
    case "tokens-ready":
      return { doing: "meeting others" };
    case "joined":
      return { doing: "joined", round: event.round };
    case "syncing":
      return { doing: `fetching body ${percent(event.bytes / Math.max(1, event.totalBytes))}` };
    case "warming":
      return { doing: "fitting embeddings", step: event.step, steps: event.steps };
    case "round-started":
      return { doing: "training", round: event.round, step: 0 };
    case "step":
      return { doing: "training", round: event.round, step: event.step, steps: event.steps };
    // Steps of the next round may follow before this one is averaged.
    case "published":
      return { doing: "averaging" };
    case "round-applied":
      return { roots: { ...peer.roots, [event.round]: event.bodyRoot } };
    case "evaluated":
      return { bitsPerByte: event.bitsPerByte, bitsPerByteStart: peer.bitsPerByteStart ?? event.bitsPerByte };
    case "traffic":
      return { bytesSent: event.bytesSent, bytesReceived: event.bytesReceived };
    case "finished":
      return {
        doing: "done",
        finished: true,
        bitsPerByte: event.bitsPerByteEnd,
        bitsPerByteStart: event.bitsPerByteStart,
        vocabularySize: event.vocabularySize,
        bytesSent: event.bytesSent,
        bytesReceived: event.bytesReceived,
      };
    default:
      return {};
  }
}

export type Agreement = "pending" | "agrees" | "differs";

/**
 * Whether the others have the same body as `peer` after the round it applied last. Pending while one of them is not
 * there yet; a difference may still heal, since a late update counts while its round is open.
 */
export function agreementOf(peer: PeerProgress, progress: Progress): Agreement {
  const round = lastApplied(peer);
  if (round === undefined) return "pending";
  const roots = progress.map((other) => other.roots[round]);
  if (roots.some((root) => root === undefined)) return "pending";
  return new Set(roots).size === 1 ? "agrees" : "differs";
}

export function lastApplied({ roots }: PeerProgress): number | undefined {
  const rounds = Object.keys(roots).map(Number);
  return rounds.length === 0 ? undefined : Math.max(...rounds);
}

const BAR_CELLS = 16;

const PROGRESS_COLUMNS = [
  { title: "peer" },
  { title: "doing", minimumWidth: "fitting embeddings".length },
  { title: "round" },
  { title: "steps" },
  { title: "bits per byte", minimumWidth: "4.500 → 2.250".length },
  { title: "body", minimumWidth: "4304e718 ✓".length },
  { title: "traffic" },
] as const;

export function progressLines(progress: Progress, rounds: number, paint: Paint): string[] {
  const rows = progress.map((peer) => [
    paint("bold", peer.name),
    peer.finished ? paint("green", peer.doing) : peer.doing,
    `${peer.finished ? rounds : Math.min(peer.round + 1, rounds)}/${rounds}`,
    bar(peer),
    learning(peer, paint),
    rootText(peer, progress, paint),
    paint("gray", `↑ ${bytes(peer.bytesSent)} ↓ ${bytes(peer.bytesReceived)}`),
  ]);
  return table(PROGRESS_COLUMNS, rows, (title) => paint("gray", title));
}

function bar({ step, steps, finished }: PeerProgress): string {
  const share = finished ? 1 : steps === 0 ? 0 : step / steps;
  const filled = Math.round(share * BAR_CELLS);
  return "━".repeat(filled) + "╌".repeat(BAR_CELLS - filled);
}

function learning({ bitsPerByte, bitsPerByteStart }: PeerProgress, paint: Paint): string {
  if (bitsPerByte === undefined) return "–";
  const now = fixed(bitsPerByte, 3);
  if (bitsPerByteStart === undefined || bitsPerByteStart === bitsPerByte) return now;
  return `${paint("gray", `${fixed(bitsPerByteStart, 3)} →`)} ${now}`;
}

function rootText(peer: PeerProgress, progress: Progress, paint: Paint): string {
  const round = lastApplied(peer);
  if (round === undefined) return "–";
  const mark = { pending: paint("gray", "·"), agrees: paint("green", "✓"), differs: paint("yellow", "≠") };
  return `${shortRoot(peer.roots[round]!)} ${mark[agreementOf(peer, progress)]}`;
}

/** The events worth a line of their own where nothing can be drawn over. */
export function eventLine(name: string, event: GlossaEvent): string | undefined {
  switch (event.event) {
    case "tokenizer-ready":
      return `${name}: vocabulary of ${event.vocabularySize} tokens ${event.trained ? "trained" : "taken"}`;
    case "tokens-ready":
      return `${name}: ${count(event.tokens)} tokens from ${bytes(event.bytes)} of text`;
    case "joined":
      return `${name}: joined at round ${event.round}`;
    case "round-applied":
      return `${name}: round ${event.round} averaged over ${event.updates} updates, body ${shortRoot(event.bodyRoot)}`;
    case "evaluated":
      return `${name}: ${fixed(event.bitsPerByte, 3)} bits per byte before round ${event.round}`;
    case "finished":
      return `${name}: done`;
    default:
      return undefined;
  }
}
