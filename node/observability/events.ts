// What a peer or rendezvous says to a program that started it: one JSON object a line on stdout (`--events json`).
// A public format: add fields and types, never change what is there. Never carries text.
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import type { ModelConfig } from "#model/types.ts";
import type { Variant } from "#protocol/core/run-config.ts";
import type { CurvePoint } from "../adapting/curve.ts";
import type { LogEntry } from "../auditing/log-entries.ts";
import type { Verified } from "../auditing/verify-log.ts";
import type { AverageEvaluation, SourceEvaluation } from "../evaluating/evaluate-model.ts";
import type { ExportFormat } from "../generating/export-model.ts";
import type { GenerationReport } from "../generating/generate-text.ts";
import type { ModelSource } from "../models/load-model.ts";
import type { BaselineResult } from "../single-machine/run-baseline.ts";

/** What a peer's group ended with. */
export interface GroupSummary {
  readonly name: string;
  readonly rounds: number;
  /** Root of the whole embedding that the group shares. */
  readonly embeddingRoot: string;
}

/** A peer's row in the table at the end of a run. */
export interface PeerSummary {
  readonly name: string;
  readonly variant: Variant;
  readonly vocabularySize: number;
  /** Absent where each peer has a vocabulary of its own. */
  readonly commonVocabularySize: number | undefined;
  /** Embedding rows shared with the others; absent where the embedding is private. */
  readonly heldRows: number | undefined;
  readonly embeddingParameters: number;
  readonly bodyParameters: number;
  /** On held-out text, before this peer first trained and at the end; absent: never evaluated. */
  readonly bitsPerByteStart: number | undefined;
  readonly bitsPerByteEnd: number | undefined;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly bodyRoot: string;
  /** Tokens trained on by this peer. */
  readonly tokens: number;
  /** Optimizer steps taken by this peer. */
  readonly steps: number;
  readonly rounds: number;
  /** Absent where the peer was in no group. */
  readonly group?: GroupSummary | undefined;
}

export type PeerEvent =
  | {
      readonly event: "started";
      readonly name: string;
      readonly peerId: string;
      readonly stateDirectory: string;
    }
  | { readonly event: "listening"; readonly peerId: string; readonly addresses: readonly string[] }
  | { readonly event: "fetching-tokenizer"; readonly bytes: number; readonly totalBytes: number }
  | { readonly event: "tokenizer-progress"; readonly fraction: number }
  | { readonly event: "tokenizer-ready"; readonly vocabularySize: number; readonly trained: boolean }
  | { readonly event: "tokens-progress"; readonly tokens: number }
  | { readonly event: "tokens-ready"; readonly tokens: number; readonly bytes: number }
  | {
      /** Since this peer trained last, in tokens to train on. It goes on with all it has learnt, at the text's beginning. */
      readonly event: "text-changed";
      readonly tokensBefore: number;
      readonly tokens: number;
    }
  | { readonly event: "joined"; readonly runId: string; readonly round: number; readonly bodyRoot: string }
  | { readonly event: "syncing"; readonly bytes: number; readonly totalBytes: number }
  | { readonly event: "warming"; readonly step: number; readonly steps: number }
  | { readonly event: "round-started"; readonly round: number; readonly bodyRoot: string }
  | {
      readonly event: "step";
      readonly round: number;
      readonly step: number;
      readonly steps: number;
      /** Of the training batches, running mean within the round. */
      readonly bitsPerByte: number;
    }
  | { readonly event: "published"; readonly round: number; readonly payloadBytes: number }
  | {
      readonly event: "round-applied";
      readonly round: number;
      readonly updates: number;
      readonly bodyRoot: string;
    }
  | {
      readonly event: "group-round-applied";
      readonly group: string;
      readonly round: number;
      readonly updates: number;
      readonly embeddingRoot: string;
    }
  | {
      /** In float16 now and then, where the loss turns out to be scaled too far; `total` in this peer's life. */
      readonly event: "steps-skipped";
      readonly steps: number;
      readonly total: number;
    }
  | { readonly event: "evaluated"; readonly round: number; readonly bitsPerByte: number }
  | {
      /** The peer itself goes on. */
      readonly event: "trainer-crashed";
      readonly cause: string;
      readonly signal: string | undefined;
      readonly exitCode: number | undefined;
      /** Since something was last learnt, this one included. */
      readonly crashes: number;
      /** Absent: there have been too many, and the peer ends. */
      readonly restartInMs: number | undefined;
    }
  | {
      readonly event: "traffic";
      readonly bytesSent: number;
      readonly bytesReceived: number;
      readonly peers: number;
    }
  | ({ readonly event: "finished" } & PeerSummary);

/** What the other commands say: `glossa bootstrap` while it runs, the others as their only line. */
export type CommandEvent =
  | {
      readonly event: "run-created";
      readonly runId: string;
      readonly invite: string;
      readonly file: string;
      /** The common tokenizer, beside the manifest; absent where each peer has its own. */
      readonly tokenizerFile: string | undefined;
      readonly uploaded: boolean;
      readonly variant: Variant;
      readonly bodyParameters: number;
      /** What is averaged: the body, and the embedding where it is shared. */
      readonly sharedParameters: number;
    }
  | {
      readonly event: "tokenizer-created";
      readonly file: string;
      readonly sha256: string;
      readonly vocabularySize: number;
    }
  | {
      readonly event: "exported";
      /** What the person called it. */
      readonly model: string;
      readonly source: ModelSource;
      readonly config: ModelConfig;
      readonly format: ExportFormat;
      readonly output: string;
    }
  | ({
      readonly event: "generated";
      readonly model: string;
      readonly source: ModelSource;
    } & GenerationReport);

/** What `glossa eval --json` says at its end, a line each: every source of every model, and every model's average. */
export type EvaluationEvent =
  | ({ readonly event: "evaluation"; readonly model: string } & SourceEvaluation)
  | ({ readonly event: "average"; readonly model: string; readonly sources: number } & AverageEvaluation);

/** What `glossa adapt --json` says on the way and at its end. */
export type AdaptEvent =
  | {
      readonly event: "adapting";
      readonly source: string;
      readonly vocabularySize: number;
      /** Rows of the embedding that come from the model. */
      readonly keptRows: number;
      /** Done before, by an adaptation that was interrupted. */
      readonly step: number;
      readonly steps: number;
      readonly learningRate: number;
    }
  | ({ readonly event: "curve-point" } & CurvePoint)
  | { readonly event: "saved"; readonly step: number }
  | ({
      readonly event: "adapted";
      readonly output: string;
      readonly vocabularySize: number;
      /** It was complete before. */
      readonly wasDone: boolean;
    } & CurvePoint);

/** What `glossa train --json` says on the way, and at the end of each model. */
export type TrainEvent =
  | { readonly event: "saved"; readonly output: string; readonly step: number }
  | ({ readonly event: "trained" } & BaselineResult);

/** What `glossa log --json` says, a line for each entry, and `glossa verify --json` at its end. */
export type AuditEvent = LogEntry | ({ readonly event: "verified" } & Verified);

export type GlossaEvent = PeerEvent | CommandEvent | EvaluationEvent | AdaptEvent | TrainEvent | AuditEvent;

/** Prints events; each is one line, however it is buffered. */
export function eventWriter(output: Writable): (event: GlossaEvent) => void {
  return (event) => {
    output.write(`${JSON.stringify(event)}\n`);
  };
}

/** Reads events until the stream ends. Lines that are no events (a stray print of a library) are passed over. */
export async function* readEvents(input: Readable): AsyncGenerator<GlossaEvent> {
  for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    const event = parseEvent(line);
    if (event !== undefined) yield event;
  }
}

function parseEvent(line: string): GlossaEvent | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const value = JSON.parse(line) as { event?: unknown };
    return typeof value.event === "string" ? (value as GlossaEvent) : undefined;
  } catch {
    return undefined;
  }
}
