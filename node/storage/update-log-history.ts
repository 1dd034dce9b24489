// The records of an update log as lineages: stretches in which each body follows from the one before. Pure.
import type { BeganRecord, LogRecord, RoundRecord } from "./update-log-records.ts";

/** Where a body stands: at the start of `closedRound`. */
export interface BodyMark {
  readonly closedRound: number;
  readonly root: string;
}

export interface Lineage {
  /** How it began; undefined where that is pruned. */
  readonly began: BeganRecord | undefined;
  /** The body before its first round. */
  readonly start: BodyMark | undefined;
  /** In order. A number that is missing is a damaged record. */
  readonly rounds: RoundRecord[];
}

export class UpdateHistory {
  readonly lineages: Lineage[] = [];
  readonly names = new Map<string, string>();

  add(record: LogRecord): void {
    switch (record.kind) {
      case "segment":
        if (this.lineages.length === 0 && record.head !== undefined) {
          this.lineages.push({ began: undefined, start: record.head, rounds: [] });
        }
        return;
      case "began":
        this.lineages.push({ began: record, start: record, rounds: [] });
        return;
      case "round":
        this.#current().rounds.push(record);
        return;
      case "undone": {
        const { rounds } = this.#current();
        while (rounds.length > 0 && rounds.at(-1)!.round >= record.fromRound) rounds.pop();
        return;
      }
      case "named":
        this.names.set(record.peer, record.name);
    }
  }

  get newest(): Lineage | undefined {
    return this.lineages.at(-1);
  }

  #current(): Lineage {
    if (this.lineages.length === 0) this.lineages.push({ began: undefined, start: undefined, rounds: [] });
    return this.lineages.at(-1)!;
  }
}

/** Where a lineage has come to. */
export function headOf({ start, rounds }: Lineage): BodyMark | undefined {
  const last = rounds.at(-1);
  return last === undefined ? start : { closedRound: last.round + 1, root: last.root };
}

/** Root of the lineage's body at the start of `closedRound`, undefined where it does not say. */
export function rootAt({ start, rounds }: Lineage, closedRound: number): string | undefined {
  if (start?.closedRound === closedRound) return start.root;
  return rounds.find(({ round }) => round === closedRound - 1)?.root;
}
