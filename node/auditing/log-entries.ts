// What `glossa log` shows: the records of an update log as plain facts, chosen by round and author. Pure. Nothing here checks
// a signature; verify-log.ts does.
import { type RunConfig, updateWeight } from "#protocol/core/run-config.ts";
import { openUpdate } from "#protocol/wire/signed.ts";
import type { Lineage } from "../storage/update-log-history.ts";
import type { BeganRecord, RoundRecord } from "../storage/update-log-records.ts";

export interface LoggedContribution {
  readonly author: string;
  /** What the author called itself, where this peer has heard it. */
  readonly name: string | undefined;
  readonly tokens: number;
  readonly bitsPerByte: number;
  readonly lossNatsPerToken: number;
  readonly payload: string;
  readonly payloadBytes: number;
  readonly codec: string;
  readonly weight: number;
  readonly baseRoot: string;
  /** It came when this peer stood in a later round already. */
  readonly late: boolean;
  /** Rows of the shared embedding that it has; absent where it has all, or there is none. */
  readonly heldRows?: number | undefined;
  /** Why it does not count whole, and how much of its norm does; absent where it does. */
  readonly restraint?: RoundRecord["updates"][number]["restraint"];
}

/** A public format, as all events: add fields, never change what is there. */
export type LogEntry =
  | {
      readonly event: "round-logged";
      readonly round: number;
      /** Of the body after the round. */
      readonly bodyRoot: string;
      /** When this peer closed it. */
      readonly time: string;
      readonly updates: readonly LoggedContribution[];
    }
  | {
      readonly event: "log-began";
      readonly cause: BeganRecord["cause"];
      /** The body is the one at the start of this round. */
      readonly closedRound: number;
      readonly bodyRoot: string;
      readonly time: string;
      readonly donor?: string | undefined;
      readonly donorName?: string | undefined;
    }
  /** Its record has been damaged. */
  | { readonly event: "round-unreadable"; readonly round: number };

export interface LogContext {
  readonly config: RunConfig;
  readonly names: ReadonlyMap<string, string>;
}

export interface LogSelection {
  readonly firstRound: number;
  readonly lastRound: number;
  /** A name, a peer id, or the end of one; undefined: everybody. */
  readonly author: string | undefined;
}

/** In the order it happened. */
export function entriesOf(lineages: readonly Lineage[], context: LogContext): LogEntry[] {
  return lineages.flatMap(({ began, start, rounds }) => {
    const entries: LogEntry[] = began === undefined ? [] : [beginningOf(began, context)];
    let next = start?.closedRound ?? rounds[0]?.round ?? 0;
    for (const record of rounds) {
      for (; next < record.round; next++) entries.push({ event: "round-unreadable", round: next });
      entries.push(roundOf(record, context));
      next = record.round + 1;
    }
    return entries;
  });
}

export function beginningOf(record: BeganRecord, { names }: LogContext): LogEntry {
  const { cause, closedRound, root, timeMs, donor } = record;
  const donorName = donor === undefined ? undefined : nameOf(donor, names);
  return {
    ...{ event: "log-began", cause, closedRound, bodyRoot: root, time: isoTime(timeMs) },
    ...(donor !== undefined && { donor, donorName }),
  };
}

export function roundOf({ round, root, timeMs, updates }: RoundRecord, context: LogContext): LogEntry {
  const contributions = updates.flatMap(({ envelope, late, heldRows, restraint }): LoggedContribution[] => {
    const opened = openUpdate(new Uint8Array(Buffer.from(envelope, "base64")));
    if (!opened.ok) return [];
    const { author, tokens, bitsPerByte, lossNatsPerToken, payload, payloadBytes, baseRoot } =
      opened.value.message.announcement;
    return [
      {
        ...{ author, name: nameOf(author, context.names), tokens, bitsPerByte, lossNatsPerToken },
        ...{ payload, payloadBytes, codec: context.config.averaging.codec },
        ...{
          weight: updateWeight(context.config, opened.value.message.announcement),
          baseRoot,
          late: late === true,
        },
        ...(heldRows !== undefined && { heldRows }),
        ...(restraint !== undefined && { restraint }),
      },
    ];
  });
  return { event: "round-logged", round, bodyRoot: root, time: isoTime(timeMs), updates: contributions };
}

/** The entry as far as it was asked for; undefined where it was not. */
export function selected(
  entry: LogEntry,
  { firstRound, lastRound, author }: LogSelection,
): LogEntry | undefined {
  const round = entry.event === "log-began" ? entry.closedRound : entry.round;
  if (round < firstRound || round > lastRound) return undefined;
  if (author === undefined) return entry;
  if (entry.event !== "round-logged") return undefined;
  const updates = entry.updates.filter((update) => update.name === author || update.author.endsWith(author));
  return updates.length === 0 ? undefined : { ...entry, updates };
}

/** What others call themselves is theirs: nothing of it may move a cursor. */
const nameOf = (peer: string, names: ReadonlyMap<string, string>): string | undefined =>
  names.get(peer)?.replaceAll(/\p{C}/gu, "");

/** A record that is damaged may say any time; no more than a Date can hold is shown. */
function isoTime(timeMs: number): string {
  const date = new Date(timeMs);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString();
}
