// What an offence costs and what follows: a decaying score per peer that gossipsub reads, and a ban when it is spent.
// Pure bookkeeping on an injected clock; who closes connections is the host's business.
import type { Offence, PeerId } from "../core/types.ts";
import type { ClockPort } from "../ports.ts";

/**
 * Points per offence; a ban comes at BAN_POINTS. What only malice or broken software can cause weighs most;
 * what a slow link or an old version can cause weighs little.
 */
export const OFFENCE_POINTS: Readonly<Record<Offence, number>> = {
  "malformed-message": 20,
  "bad-signature": 50,
  "wrong-run": 10,
  oversized: 34,
  "hash-mismatch": 50,
  "undecodable-payload": 50,
  "non-finite-update": 50,
  "out-of-bounds-update": 25,
  equivocation: 100,
  "rate-exceeded": 2,
};

/** Below two false hashes and five malformed messages, so that the little that decays in between does not save them. */
export const BAN_POINTS = 90;
/** Points halve in this time, so that rare accidents of a long run never add up. */
const HALF_LIFE_MS = 10 * 60_000;
const FIRST_BAN_MS = 10 * 60_000;
/** Each further ban doubles, up to a day. */
const LONGEST_BAN_MS = 24 * 60 * 60_000;
/** Bound on remembered peers; the ones with the fewest points are forgotten first. */
const MAX_RECORDS = 4096;

interface Standing {
  points: number;
  atMs: number;
  bans: number;
  bannedUntilMs: number;
}

export class OffenceBook {
  readonly #clock: ClockPort;
  readonly #records = new Map<PeerId, Standing>();
  readonly #counts = new Map<Offence, number>();

  constructor(clock: ClockPort) {
    this.#clock = clock;
  }

  /** Books an offence. Returns whether the peer is banned by it. */
  penalise(peer: PeerId, offence: Offence): { banned: boolean } {
    this.#counts.set(offence, (this.#counts.get(offence) ?? 0) + 1);
    const nowMs = this.#clock.nowMs();
    const record = this.#records.get(peer) ?? { points: 0, atMs: nowMs, bans: 0, bannedUntilMs: 0 };
    record.points = decayed(record, nowMs) + OFFENCE_POINTS[offence];
    record.atMs = nowMs;
    this.#records.set(peer, record);
    if (record.points >= BAN_POINTS && record.bannedUntilMs <= nowMs) {
      record.bannedUntilMs = nowMs + Math.min(FIRST_BAN_MS * 2 ** record.bans, LONGEST_BAN_MS);
      record.bans++;
    }
    this.#forgetLeast(nowMs);
    return { banned: record.bannedUntilMs > nowMs };
  }

  /** Points now: 0 for a peer in good standing. */
  points(peer: PeerId): number {
    const record = this.#records.get(peer);
    return record === undefined ? 0 : decayed(record, this.#clock.nowMs());
  }

  isBanned(peer: PeerId): boolean {
    return (this.#records.get(peer)?.bannedUntilMs ?? 0) > this.#clock.nowMs();
  }

  /** How often each offence was booked since the start. */
  counts(): Readonly<Partial<Record<Offence, number>>> {
    return Object.fromEntries(this.#counts);
  }

  #forgetLeast(nowMs: number): void {
    if (this.#records.size <= MAX_RECORDS) return;
    let least: PeerId | undefined;
    let leastPoints = Number.POSITIVE_INFINITY;
    for (const [peer, record] of this.#records) {
      const points = record.bannedUntilMs > nowMs ? BAN_POINTS + record.points : decayed(record, nowMs);
      if (points < leastPoints) {
        least = peer;
        leastPoints = points;
      }
    }
    if (least !== undefined) this.#records.delete(least);
  }
}

const decayed = (record: Standing, nowMs: number): number =>
  record.points * 0.5 ** ((nowMs - record.atMs) / HALF_LIFE_MS);
