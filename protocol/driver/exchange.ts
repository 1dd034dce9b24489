// Updates in and out: payloads fetched and counted, inventories reconciled, the own update made and published.
import { probationAfter } from "../core/own-round.ts";
import type { EffectOf } from "../core/round-events.ts";
import type { PeerId, SignedUpdate, UpdateAnnouncement } from "../core/types.ts";
import { updateIdOf } from "../core/update-id.ts";
import { type UpdateId, updateKey } from "../core/update-set.ts";
import type { DriverContext } from "./context.ts";
import { spreadUpdate } from "./spreading.ts";

/** Of one peer's answer; a run of 1,024 peers with four open rounds and two to come fits. */
const MAX_INVENTORY = 6_144;

/** How long an author that offers its update is kept waiting; it has given up by then. */
const OFFER_PATIENCE_MS = 20_000;

/** Announcements whose payload is wanted, by update key, and everything done with them. */
export class UpdateExchange {
  readonly #context: DriverContext;
  #turn = 0;
  readonly #announced = new Map<string, SignedUpdate>();
  /** Who waits for an offered update to be counted or refused, by update key. */
  readonly #settling = new Map<string, Set<() => void>>();

  constructor(context: DriverContext) {
    this.#context = context;
  }

  /** An announcement, wherever it came from: gossip, an inventory, a manifest, the own checkpoint. */
  receive(update: SignedUpdate, from: PeerId): void {
    const { options, modules, dispatch, state } = this.#context;
    const { announcement } = update;
    if (announcement.runId !== options.runId) {
      modules.network.penalise(from, "wrong-run", `update of run ${announcement.runId}`);
      return;
    }
    const id = this.#idOf(update);
    // Most of what inventories say is known: it is no event.
    if (this.#isCounted(id)) return;
    const key = updateKey(id);
    if (state().wanted.get(key)?.holders.includes(from)) return;
    const known = this.#announced.has(key);
    if (!known) this.#announced.set(key, update);
    dispatch({ type: "announced", id, payloadBytes: announcement.payloadBytes, from });
    if (!state().wanted.has(key)) this.#announced.delete(key);
  }

  /** Announcements that an event is about to tell the round logic of, as it wants them. */
  prepare(updates: readonly SignedUpdate[]) {
    return updates.map((update) => {
      const id = this.#idOf(update);
      this.#announced.set(updateKey(id), update);
      return { id, payloadBytes: update.announcement.payloadBytes };
    });
  }

  /** Fetches a payload, checks it and counts it. */
  async fetch({ key, holders }: EffectOf<"fetch">): Promise<void> {
    const { modules, bodyLane, dispatch, signal } = this.#context;
    const update = this.#announced.get(key);
    if (update === undefined) return dispatch({ type: "fetch-failed", key });
    const sources = inTurn(holders, update.announcement, modules.network.self);
    let payload: Uint8Array;
    try {
      // Another announcement of the same payload may have brought it.
      payload =
        (await modules.store.payload(update.announcement.payload)) ??
        (await modules.network.fetchPayload(update, sources, signal));
    } catch {
      // The network has judged and penalised; here it only means: not now.
      if (!signal.aborted) dispatch({ type: "fetch-failed", key });
      return;
    }
    dispatch({ type: "fetched", key });
    bodyLane.enqueue(() => this.#count(update, payload));
  }

  async reconcile({ peer, fromRound }: EffectOf<"reconcile">): Promise<void> {
    const { modules, dispatch, signal } = this.#context;
    try {
      const asked = this.#withinReach(peer);
      const { updates } = await modules.network.fetchInventory(asked, fromRound, signal);
      for (const update of updates.slice(0, MAX_INVENTORY)) {
        if (update.announcement.round >= fromRound) this.receive(update, asked);
      }
    } catch {
      // Asked again at the peer's next presence that differs.
    }
    if (!signal.aborted) dispatch({ type: "reconciled", peer });
  }

  /**
   * Of a swarm in which most are not connected with each other a neighbour is asked instead: another one every time, and what
   * one knows the others soon do.
   */
  #withinReach(peer: PeerId): PeerId {
    const { modules, state } = this.#context;
    const { cadence, rules } = state();
    if (cadence.size <= 2 * rules.cohort.size) return peer;
    const connected = modules.network.connectedPeers();
    if (connected.length === 0 || connected.includes(peer)) return peer;
    return connected[this.#turn++ % connected.length]!;
  }

  /**
   * Makes and announces the own update of a round. On disk before it is told: payload, then the checkpoint with the
   * new residual, then the announcement, so that a kill at any point neither loses nor doubles it.
   */
  async publish(round: number): Promise<void> {
    const { options, modules, ledger, trained, state, dispatch, save, note } = this.#context;
    const training = trained.get(round);
    trained.delete(round);
    const { phase, round: current, publishedRound } = state();
    if (training === undefined || phase !== "training" || current !== round || publishedRound >= round) {
      return dispatch({ type: "publish-dropped" });
    }
    const own = await ledger.compress(training.delta);
    const { tokens, lossNatsPerToken, bitsPerByte, computeMs, idleMs, baseRoot } = training;
    const update = await modules.network.signUpdate({
      runId: options.runId,
      round,
      author: modules.network.self,
      payload: own.payloadId,
      payloadBytes: own.payload.length,
      baseRoot,
      tokens,
      lossNatsPerToken,
      bitsPerByte,
      ...(state().probation > 0 && { probation: state().probation }),
    });
    const outcome = await ledger.adoptOwn(update, own);
    if (outcome.outcome === "refused") return dispatch({ type: "outdrawn", round });
    if (outcome.outcome !== "counted") return dispatch({ type: "publish-dropped" });
    await save({ publishedRound: round, probation: probationAfter(state(), round) });
    ledger.ownSaved();
    note({
      type: "published",
      round,
      payload: own.payloadId,
      payloadBytes: own.payload.length,
      residualNorm: own.residualNorm,
      updateNorm: own.updateNorm,
      lossNatsPerToken,
      bitsPerByte,
      tokens,
      computeMs,
      ...(idleMs !== undefined && { idleMs }),
    });
    const { replaced } = outcome;
    dispatch({ type: "published", id: this.#idOf(update), replaced, roots: ledger.roots() });
    // Not waited for: others' updates are counted meanwhile.
    spreadUpdate(this.#context, update).then(
      () => this.announce(update),
      () => {},
    );
  }

  /** As `receive`, from the author before it announces. Whether the payload comes to be on the disk here, soon. */
  async offered(update: SignedUpdate, from: PeerId): Promise<boolean> {
    const { modules, state, signal } = this.#context;
    const id = this.#idOf(update);
    const key = updateKey(id);
    this.receive(update, from);
    if (this.#isCounted(id) || !state().wanted.has(key)) return this.#isCounted(id);
    await new Promise<void>((resolve) => {
      const settle = () => {
        cancel();
        this.#settling.get(key)?.delete(settle);
        resolve();
      };
      const cancel = modules.clock.after(OFFER_PATIENCE_MS, settle);
      this.#settling.set(key, (this.#settling.get(key) ?? new Set()).add(settle));
      if (signal.aborted) settle();
    });
    if (this.#settling.get(key)?.size === 0) this.#settling.delete(key);
    return this.#isCounted(id);
  }

  /** Gossip may fail (no peer subscribed yet): anti-entropy then carries the update. */
  async announce(update: SignedUpdate): Promise<void> {
    await this.#context.modules.network.publishUpdate(update).catch(() => {});
  }

  /** Forgets announcements that the round logic no longer wants. */
  sweep(): void {
    const { wanted } = this.#context.state();
    for (const key of [...this.#announced.keys()]) if (!wanted.has(key)) this.#announced.delete(key);
  }

  async #count(update: SignedUpdate, payload: Uint8Array): Promise<void> {
    const { ledger, dispatch, state, save } = this.#context;
    const outcome = await ledger.count(update, payload);
    // No round follows whose checkpoint would have it, and those that it could be had from again are about to leave.
    if (outcome.outcome === "counted" && state().phase === "settling") await save();
    const id = this.#idOf(update);
    if (outcome.outcome === "refused") {
      dispatch({ type: "refused", id, offence: outcome.offence, detail: outcome.detail });
    } else if (outcome.outcome === "untimely") {
      dispatch({ type: "untimely", id });
    } else {
      dispatch({ type: "counted", id, replaced: outcome.replaced, roots: ledger.roots() });
    }
    this.#announced.delete(updateKey(id));
    for (const settle of [...(this.#settling.get(updateKey(id)) ?? [])]) settle();
  }
  #idOf({ announcement }: SignedUpdate): UpdateId {
    return updateIdOf(announcement, this.#context.options.hash);
  }

  #isCounted({ round, author, statement }: UpdateId): boolean {
    return this.#context.state().counted.get(round)?.get(author) === statement;
  }
}

/**
 * Whom to ask for a payload, its author last: all who miss it ask the author, those who have it are spared. Who comes first
 * depends on the payload and on who asks, so that all get their share.
 */
export function inTurn(
  holders: readonly PeerId[],
  { author, payload }: UpdateAnnouncement,
  self: PeerId,
): readonly PeerId[] {
  const others = holders.filter((holder) => holder !== self && holder !== author).sort();
  let turn = Number.parseInt(payload.slice(0, 8), 16);
  for (const letter of self) turn = (Math.imul(turn, 31) + letter.charCodeAt(0)) >>> 0;
  const first = others.length === 0 ? 0 : turn % others.length;
  return [...others.slice(first), ...others.slice(0, first), ...(author === self ? [] : [author])];
}
