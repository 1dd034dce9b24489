// What a peer can say of itself at any moment, as plain JSON. Built from the round logic's state and from the events
// that have passed; owns the per-round history and the counters, decides nothing.

import { deadlineAtMs, missingAuthors } from "../core/closing.ts";
import type { Restraint } from "../core/judging.ts";
import { active, type Member } from "../core/membership.ts";
import type { ProtocolEvent } from "../core/protocol-events.ts";
import { holdsBody, type RoundState } from "../core/round-state.ts";
import {
  type BodyRoot,
  type ContentId,
  NO_BODY,
  type Offence,
  type PeerId,
  type Phase,
} from "../core/types.ts";

/** One applied round. Fields of the own update are undefined where this peer made none. */
export interface RoundRecord {
  readonly round: number;
  /** Root of the body after the round, as it was when the next one began. */
  readonly root: BodyRoot;
  readonly updates: number;
  readonly durationMs: number;
  readonly computeMs: number | undefined;
  readonly payloadBytes: number | undefined;
  readonly tokens: number | undefined;
  readonly lossNatsPerToken: number | undefined;
  readonly bitsPerByte: number | undefined;
}

export interface MemberStatus {
  readonly peer: PeerId;
  readonly name: string;
  readonly phase: Phase;
  readonly round: number;
  readonly root: BodyRoot;
  readonly closedRound: number;
  readonly closedRoot: BodyRoot;
  readonly step: number;
  readonly steps: number;
  readonly bitsPerByte: number;
  /** Rounds behind (negative) or ahead of this peer. */
  readonly lag: number;
  /** Milliseconds since its last presence. */
  readonly lastSeenMs: number;
  /** Whether its body is this peer's, at the newest round where both can be compared. */
  readonly agrees: boolean | undefined;
}

/** The other active peers by whether their bodies are this peer's. */
export interface Agreement {
  readonly agree: number;
  readonly differ: number;
  readonly unknown: number;
}

export interface ProtocolStatus {
  readonly peer: PeerId;
  readonly name: string;
  readonly phase: Phase;
  readonly round: number;
  readonly root: BodyRoot;
  readonly closedRound: number;
  readonly closedRoot: BodyRoot;
  readonly openUpdates: ContentId;
  /** Root of the body that this peer has to fetch before it can begin; missing once it has one. */
  readonly awaitedBody?: BodyRoot;
  readonly step: number;
  readonly steps: number;
  readonly bitsPerByte: number;
  /** Updates counted in the current round, the own one included. */
  readonly updatesHeld: number;
  readonly agreement: Agreement;
  /** By peer id. */
  readonly members: readonly MemberStatus[];
  /** Peers whose update of the current round is waited for. */
  readonly missing: readonly PeerId[];
  /** Until a quorum suffices; negative once it does. */
  readonly deadlineInMs: number;
  /** Oldest first, the last 256. */
  readonly rounds: readonly RoundRecord[];
  readonly offences: Readonly<Partial<Record<Offence, number>>>;
  /** Announcements dropped without anyone's fault. */
  readonly dropped: Readonly<Record<"expired" | "too-early" | "overflow", number>>;
  /** Updates of closed rounds that the run's defence did not count whole, by why. */
  readonly restrained: Readonly<Record<Restraint["why"], number>>;
  readonly lateUpdates: number;
  readonly heals: number;
  readonly syncs: number;
  readonly returnedUpdates: number;
  /** Time in local training and time since the first round began here; their quotient is the utilisation. */
  readonly computeMs: number;
  readonly wallMs: number;
  readonly utilisation: number;
  /** L2 norm of what error feedback holds back, over that of the last update sent; undefined before one. */
  readonly residualRatio: number | undefined;
  /** Bytes of an update as float32 over those of the last own payload; undefined before one. */
  readonly payloadRatio: number | undefined;
}

const KEPT_ROUNDS = 256;

/** Listens to everything that happens and keeps the sums. */
export class StatusBook {
  #updateBytes: number;
  readonly #own = new Map<number, Extract<ProtocolEvent, { type: "published" }>>();
  readonly #offences: Partial<Record<Offence, number>> = {};
  readonly #dropped = { expired: 0, "too-early": 0, overflow: 0 };
  readonly #restrained = { clipped: 0, opposed: 0, copied: 0 };
  #rounds: RoundRecord[] = [];
  #lateUpdates = 0;
  #heals = 0;
  #syncs = 0;
  #returnedUpdates = 0;
  #computeMs = 0;
  #firstRoundMs: number | undefined;
  #last: Extract<ProtocolEvent, { type: "published" }> | undefined;

  /** `updateBytes`: size of an own update as float32. */
  constructor(updateBytes: number) {
    this.#updateBytes = updateBytes;
  }

  /** In variant trim an update has the rows that this peer holds, which it learns late. */
  resizeUpdate(updateBytes: number): void {
    this.#updateBytes = updateBytes;
  }

  record(event: ProtocolEvent, nowMs: number): void {
    switch (event.type) {
      case "round-started":
        this.#firstRoundMs ??= nowMs;
        break;
      case "published":
        this.#own.set(event.round, event);
        this.#last = event;
        this.#computeMs += event.computeMs;
        break;
      case "round-applied":
        this.#recordRound(event);
        break;
      case "late-update":
        this.#lateUpdates++;
        break;
      case "healed":
        this.#heals++;
        this.#returnedUpdates += event.returnedUpdates;
        break;
      case "synced":
        this.#syncs++;
        this.#returnedUpdates += event.returnedUpdates;
        break;
      case "offence":
        this.#offences[event.offence] = (this.#offences[event.offence] ?? 0) + 1;
        break;
      case "update-dropped":
        this.#dropped[event.why]++;
        break;
      case "update-restrained":
        this.#restrained[event.why]++;
        break;
      default:
    }
  }

  status(state: RoundState, name: string, nowMs: number): ProtocolStatus {
    const members = active(state.members, nowMs)
      .map((member) => memberStatus(member, state, nowMs))
      .sort((a, b) => (a.peer < b.peer ? -1 : 1));
    const wallMs = this.#firstRoundMs === undefined ? 0 : nowMs - this.#firstRoundMs;
    const last = this.#last;
    return {
      peer: state.self,
      name,
      phase: state.phase,
      round: state.round,
      ...state.roots,
      ...(!holdsBody(state) && state.rules.initialBody !== undefined
        ? { awaitedBody: state.rules.initialBody }
        : {}),
      step: state.step,
      steps: state.rules.localSteps,
      bitsPerByte: state.bitsPerByte,
      updatesHeld: state.counted.get(state.round)?.size ?? 0,
      agreement: agreementOf(members),
      members,
      missing: missingAuthors(state, state.round, nowMs),
      deadlineInMs: deadlineAtMs(state) - nowMs,
      rounds: [...this.#rounds],
      offences: { ...this.#offences },
      dropped: { ...this.#dropped },
      restrained: { ...this.#restrained },
      lateUpdates: this.#lateUpdates,
      heals: this.#heals,
      syncs: this.#syncs,
      returnedUpdates: this.#returnedUpdates,
      computeMs: this.#computeMs,
      wallMs,
      utilisation: wallMs > 0 ? this.#computeMs / wallMs : 0,
      residualRatio:
        last === undefined || last.updateNorm === 0 ? undefined : last.residualNorm / last.updateNorm,
      payloadRatio: last === undefined ? undefined : this.#updateBytes / last.payloadBytes,
    };
  }

  #recordRound({ round, root, updates, durationMs }: Extract<ProtocolEvent, { type: "round-applied" }>) {
    const own = this.#own.get(round);
    for (const made of [...this.#own.keys()]) if (made <= round) this.#own.delete(made);
    const record: RoundRecord = {
      round,
      root,
      updates,
      durationMs,
      computeMs: own?.computeMs,
      payloadBytes: own?.payloadBytes,
      tokens: own?.tokens,
      lossNatsPerToken: own?.lossNatsPerToken,
      bitsPerByte: own?.bitsPerByte,
    };
    // A peer that went back to the plurality's body applies some rounds again.
    this.#rounds = [...this.#rounds.filter((known) => known.round < round), record].slice(-KEPT_ROUNDS);
  }
}

function memberStatus(member: Member, state: RoundState, nowMs: number): MemberStatus {
  const { author, name, phase, round, root, closedRound, closedRoot, step, steps, bitsPerByte } =
    member.presence;
  return {
    peer: author,
    name,
    phase,
    round,
    root,
    closedRound,
    closedRoot,
    step,
    steps,
    bitsPerByte,
    lag: round - state.round,
    lastSeenMs: nowMs - member.seenMs,
    agrees: agrees(member, state),
  };
}

/** Closed bodies decide; where none can be compared, the bodies of the same round do. */
function agrees(member: Member, { round, roots, closedRoots }: RoundState): boolean | undefined {
  const { presence } = member;
  if (presence.root === NO_BODY || roots.root === NO_BODY) return undefined;
  const sameRound = presence.round === round;
  if (sameRound && presence.root === roots.root) return true;
  for (const [closedRound, own] of [...closedRoots].reverse()) {
    const theirs = member.closedRoots.get(closedRound);
    if (theirs !== undefined) return theirs === own;
  }
  return sameRound ? false : undefined;
}

export function agreementOf(members: readonly { readonly agrees: boolean | undefined }[]): Agreement {
  const count = (wanted: boolean | undefined) => members.filter(({ agrees }) => agrees === wanted).length;
  return { agree: count(true), differ: count(false), unknown: count(undefined) };
}
