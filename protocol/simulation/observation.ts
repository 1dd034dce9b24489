// What is seen of a simulated swarm while it runs: every event of every peer, turned into sums and into the lineage of
// bodies. Owns the books; what they amount to is said in report.ts.
import type { ProtocolEvent } from "../core/protocol-events.ts";
import type { BodyRoot, PeerId, UpdateAnnouncement } from "../core/types.ts";
import { Histogram } from "./histogram.ts";
import type { SimulatedPeer } from "./simulated-peer.ts";

/** An update that was published, whoever counts it. */
export interface Made {
  readonly round: number;
  readonly author: PeerId;
  readonly atMs: number;
  readonly tokens: number;
}

export interface RoundBook {
  readonly durationsMs: number[];
  /** Most updates that any peer had counted when it closed the round. */
  updates: number;
  computeMs: number;
}

/** A newcomer's way in, or that of a peer that was away. */
export interface Joining {
  readonly peer: PeerId;
  readonly bootMs: number;
  /** When the first bytes of a body were asked for, and when it was adopted. */
  syncStartedMs: number | undefined;
  syncedMs: number | undefined;
  firstRoundMs: number | undefined;
  firstUpdateMs: number | undefined;
  readonly newcomer: boolean;
}

export class Observation {
  readonly made = new Map<string, Made>();
  readonly rounds = new Map<number, RoundBook>();
  readonly joinings: Joining[] = [];
  readonly ages = new Histogram();
  /** Applications of others' updates by how many rounds they were late. */
  readonly lateness: number[] = [];
  readonly counts = { heals: 0, syncs: 0, failedSyncs: 0, fellBehind: 0, returned: 0, late: 0, expired: 0 };
  readonly offences = new Map<string, number>();
  /** Rounds by author whose update the run's defence did not count whole, as any honest peer has it. */
  readonly restrained = new Map<PeerId, Set<number>>();
  /** Closed roots by round that any honest peer has ever held. */
  readonly closedRoots = new Map<number, Set<BodyRoot>>();
  readonly #held = new Map<PeerId, Map<number, BodyRoot>>();
  readonly #lineage = new Map<BodyRoot, { parent: BodyRoot; updates: readonly UpdateAnnouncement[] }>();
  readonly #joining = new Map<PeerId, Joining>();

  /** A peer that starts while the run goes on. */
  starts(peer: SimulatedPeer, nowMs: number): void {
    const joining: Joining = {
      peer: peer.id,
      bootMs: nowMs,
      syncStartedMs: undefined,
      syncedMs: undefined,
      firstRoundMs: undefined,
      firstUpdateMs: undefined,
      newcomer: peer.lives.length === 0,
    };
    this.joinings.push(joining);
    this.#joining.set(peer.id, joining);
  }

  /** Closed roots by round as this peer holds or held them, the last word on each. */
  heldBy(peer: PeerId): ReadonlyMap<number, BodyRoot> {
    return this.#held.get(peer) ?? new Map();
  }

  hear(peer: SimulatedPeer, event: ProtocolEvent, nowMs: number): void {
    const joining = this.#joining.get(peer.id);
    switch (event.type) {
      case "phase-changed":
        if (event.phase === "syncing" && joining !== undefined) joining.syncStartedMs ??= nowMs;
        break;
      case "round-started":
        if (joining !== undefined) joining.firstRoundMs ??= nowMs;
        break;
      case "published":
        this.#published(peer, event, nowMs, joining);
        break;
      case "update-applied":
        this.#applied(peer, event, nowMs);
        break;
      case "late-update":
        this.counts.late++;
        break;
      case "round-applied":
        this.#roundApplied(peer, event);
        break;
      case "synced":
        this.counts.syncs++;
        this.counts.returned += event.returnedUpdates;
        if (joining !== undefined) joining.syncedMs ??= nowMs;
        this.#holds(peer, true);
        break;
      case "healed":
        this.counts.heals++;
        this.counts.returned += event.returnedUpdates;
        this.#holds(peer, true);
        break;
      case "sync-failed":
        this.counts.failedSyncs++;
        break;
      case "fell-behind":
        this.counts.fellBehind++;
        break;
      case "update-dropped":
        if (event.why === "expired") this.counts.expired++;
        break;
      case "update-restrained":
        if (!peer.isHonest) break;
        this.restrained.set(event.author, (this.restrained.get(event.author) ?? new Set()).add(event.round));
        break;
      case "offence":
        this.offences.set(event.offence, (this.offences.get(event.offence) ?? 0) + 1);
        break;
      default:
    }
  }

  /** Every update in the body that `witness` holds: those of its open rounds, then root by root back to genesis. */
  history(witness: SimulatedPeer): readonly UpdateAnnouncement[] {
    const { content } = witness.driver!;
    const { closedRound, root } = content.snapshot()!;
    const updates = content
      .inventory(closedRound)
      .map(({ announcement }) => announcement)
      .filter(({ round }) => round < witness.round);
    for (let at = this.#lineage.get(root); at !== undefined; at = this.#lineage.get(at.parent)) {
      updates.push(...at.updates);
    }
    return updates;
  }

  round(round: number): RoundBook {
    const known = this.rounds.get(round);
    if (known !== undefined) return known;
    const book: RoundBook = { durationsMs: [], updates: 0, computeMs: 0 };
    this.rounds.set(round, book);
    return book;
  }

  #published(
    { id, isHonest }: SimulatedPeer,
    event: Extract<ProtocolEvent, { type: "published" }>,
    nowMs: number,
    joining: Joining | undefined,
  ): void {
    const { round, tokens, computeMs } = event;
    if (isHonest) this.made.set(keyOf(round, id), { round, author: id, atMs: nowMs, tokens });
    this.round(round).computeMs += computeMs;
    if (joining !== undefined) {
      joining.firstUpdateMs ??= nowMs;
      this.#joining.delete(id);
    }
  }

  #applied(
    peer: SimulatedPeer,
    { round, author }: Extract<ProtocolEvent, { type: "update-applied" }>,
    nowMs: number,
  ): void {
    const made = this.made.get(keyOf(round, author));
    if (made === undefined || author === peer.id) return;
    const late = Math.max(0, peer.round - round);
    this.lateness[late] = (this.lateness[late] ?? 0) + 1;
    this.ages.add(nowMs - made.atMs);
  }

  #roundApplied(peer: SimulatedPeer, event: Extract<ProtocolEvent, { type: "round-applied" }>): void {
    const book = this.round(event.round);
    book.durationsMs.push(event.durationMs);
    book.updates = Math.max(book.updates, event.updates);
    this.#holds(peer, false);
  }

  /** Writes down which closed body a peer holds now. `exchanged`: it is another's, and what came after it is not. */
  #holds({ id, driver, isHonest }: SimulatedPeer, exchanged: boolean): void {
    const { closedRound, root } = driver!.content.snapshot()!;
    const held = this.#held.get(id) ?? new Map<number, BodyRoot>();
    this.#held.set(id, held);
    const parent = held.get(closedRound - 1);
    if (!exchanged && parent !== undefined && !this.#lineage.has(root)) {
      const updates = driver!.content
        .inventory(closedRound - 1)
        .map(({ announcement }) => announcement)
        .filter(({ round }) => round === closedRound - 1);
      this.#lineage.set(root, { parent, updates });
    }
    if (exchanged) for (const round of [...held.keys()]) if (round >= closedRound) held.delete(round);
    held.set(closedRound, root);
    if (!isHonest) return;
    const roots = this.closedRoots.get(closedRound) ?? new Set();
    this.closedRoots.set(closedRound, roots.add(root));
  }
}

export const keyOf = (round: number, author: PeerId): string => `${round}/${author}`;
