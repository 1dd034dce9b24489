// The driver: turns what happens into events, asks the round logic (core/round.ts), and carries out the effects it asks
// for, in order. It decides nothing itself; the parts that do the work are in driver/.

import { phaseToTell } from "./core/heartbeat.ts";
import type { ProtocolEvent } from "./core/protocol-events.ts";
import { transition } from "./core/round.ts";
import type { Effect, EffectOf, RoundEvent } from "./core/round-events.ts";
import { initialRoundState, type RoundState } from "./core/round-state.ts";
import { requireHeldRows } from "./core/shared-embedding.ts";
import type { BodyRoot, Presence } from "./core/types.ts";
import type { BodyArithmetic } from "./driver/arithmetic.ts";
import type { DriverContext, DriverModules, DriverOptions, StartOptions } from "./driver/context.ts";
import { UpdateExchange } from "./driver/exchange.ts";
import { requireInitial } from "./driver/genesis.ts";
import { Lane } from "./driver/lane.ts";
import { Ledger } from "./driver/ledger.ts";
import { LocalArithmetic } from "./driver/local-arithmetic.ts";
import { roundRules } from "./driver/round-rules.ts";
import { type Agreement, agreementOf, type ProtocolStatus, StatusBook } from "./driver/status.ts";
import { forgetDraft, syncFrom } from "./driver/syncing.ts";
import { abortTraining, reclaimProgress, train, trainAhead, warmUp } from "./driver/training.ts";
import { GenesisMissingError } from "./errors.ts";
import type { NetworkListener, ProtocolCheckpoint, ServedContent } from "./ports.ts";

export type { ProtocolEvent } from "./core/protocol-events.ts";
export type { DriverModules, DriverOptions, StartOptions } from "./driver/context.ts";
export type { Agreement, MemberStatus, ProtocolStatus, RoundRecord } from "./driver/status.ts";

/** How it ended. `completed`: the wished rounds are applied and the others agree (or did not within the time). */
export interface Outcome {
  readonly reason: "completed" | "stopped";
  readonly round: number;
  readonly root: BodyRoot;
  readonly agreement: Agreement;
}

export interface Driver {
  /**
   * Loads the checkpoint and begins. Rejects where the state cannot be read, with HeldRowsError where `heldRows` are not
   * what the variant needs. Aborting the signal is requestStop.
   */
  start(signal: AbortSignal, options?: StartOptions): Promise<void>;
  /** Resolves when the peer has left; rejects with what made it impossible to go on (disk full, diverged training). */
  readonly done: Promise<Outcome>;
  /** Save, say goodbye, end: within two seconds, in the middle of a round if need be. */
  requestStop(): void;
  /** For the network to call. Before start() everything is ignored. */
  readonly listener: NetworkListener;
  readonly content: ServedContent;
  /** Throws before start(). */
  status(): ProtocolStatus;
  /**
   * The body at the start of the current round. Shared and read-only. Throws BodyNotHeldError until the initial body is
   * fetched, where the run has one and this peer did not.
   */
  body(): Float32Array;
}

/** Deadlines and retries are looked at this often; nothing else depends on it. */
const TICK_MS = 250;
/** Presences sent since the last checkpoint are at most this many, so that a restart never repeats a sequence. */
const PRESENCE_RESERVE = 1_000_000;
/** A trainer that does not let go in this time is left behind: leaving must not hang. */
const LEAVE_PATIENCE_MS = 1_500;

export function createDriver(options: DriverOptions, modules: DriverModules): Driver {
  return new RoundDriver(options, modules);
}

class RoundDriver implements Driver {
  readonly #options: DriverOptions;
  readonly #modules: DriverModules;
  readonly #ending = new AbortController();
  readonly #book: StatusBook;
  readonly #queue: RoundEvent[] = [];
  readonly #outcome = Promise.withResolvers<Outcome>();
  #running: { context: DriverContext; exchange: UpdateExchange; state: RoundState } | undefined;
  #presenceSequence = 0;
  #handling = false;
  #cancelTick: () => void = () => {};

  constructor(options: DriverOptions, modules: DriverModules) {
    this.#options = options;
    this.#modules = modules;
    this.#book = new StatusBook(4 * options.layout.total);
    // Whoever does not wait for the end is told by the log, not by an unhandled rejection.
    this.#outcome.promise.catch(() => {});
  }

  get done(): Promise<Outcome> {
    return this.#outcome.promise;
  }

  readonly listener: NetworkListener = {
    onUpdate: (update, from) => this.#running?.exchange.receive(update, from),
    onPresence: (presence) => this.#onPresence(presence),
    onPeerConnected: (peer) => this.#dispatch({ type: "peer-connected", peer }),
    // Silence, not a closed connection, means gone: others may still relay what the peer says.
    onPeerDisconnected: () => {},
  };

  readonly content: ServedContent = {
    payload: (id) => this.#modules.store.payload(id),
    inventory: (fromRound) => this.#running?.context.ledger.inventory(fromRound) ?? [],
    closedRoots: (fromRound) => this.#running?.context.ledger.closedRoots(fromRound) ?? new Map(),
    isOpposed: (update) => this.#running?.context.ledger.isOpposed(update) ?? false,
    snapshot: () => this.#running?.context.ledger.snapshot(),
    tile: (root, index) => this.#running?.context.ledger.tile(root, index),
    offer: async (update, from) => (await this.#running?.exchange.offered(update, from)) ?? false,
  };

  async start(signal: AbortSignal, { heldRows }: StartOptions = {}): Promise<void> {
    requireHeldRows(this.#options.config, heldRows);
    if (heldRows !== undefined) this.#book.resizeUpdate(4 * this.#heldValues(heldRows));
    signal.throwIfAborted();
    this.#ending.signal.throwIfAborted();
    const { clock, network, store } = this.#modules;
    const checkpoint = await store.load();
    const ledger = await this.#ledger(checkpoint, heldRows);
    const context = this.#context(ledger);
    const origin = ledger.origin(checkpoint === undefined ? "genesis" : "resumed");
    if (origin !== undefined) await this.#modules.updateLog?.begin(origin);
    // Wall-clock milliseconds, so that an identity whose state was lost is heard again.
    this.#presenceSequence = Math.max(
      Math.floor(clock.nowMs()),
      (checkpoint?.presenceSequence ?? 0) + PRESENCE_RESERVE,
    );
    const publishedRound = checkpoint?.publishedRound ?? -1;
    const { progressRound } = this.#modules.trainer;
    const state = initialRoundState(
      {
        rules: roundRules(this.#options),
        self: network.self,
        roots: ledger.roots(),
        round: ledger.round,
        publishedRound,
        probation: checkpoint?.probation,
        experienced: checkpoint !== undefined,
        unpublished: progressRound === undefined ? undefined : progressRound > publishedRound,
        counted: ledger.counted(),
      },
      clock.nowMs(),
    );
    const exchange = new UpdateExchange(context);
    this.#running = { context, exchange, state };
    const open = checkpoint?.updates.filter(({ announcement }) => announcement.round >= ledger.closedRound);
    for (const update of open ?? []) {
      // What was on disk is counted already; the rest is fetched again. The own one may never have been told.
      exchange.receive(update, network.self);
      if (update.announcement.author === network.self) await exchange.announce(update);
    }
    if (state.unpublished && progressRound === undefined) reclaimProgress(context, state.round);
    signal.addEventListener("abort", () => this.requestStop(), { once: true });
    this.#tick();
  }

  /** Values of an update that has these rows of the embedding. */
  #heldValues(rows: Int32Array): number {
    const { config, layout } = this.#options;
    return layout.total - (config.vocabulary!.size - rows.length) * config.model.width;
  }

  requestStop(): void {
    if (this.#running === undefined) {
      const stopped = new DOMException("The peer was stopped before it started.", "AbortError");
      this.#ending.abort(stopped);
      this.#outcome.reject(stopped);
    } else {
      this.#dispatch({ type: "stop" });
    }
  }

  status(): ProtocolStatus {
    const { state } = this.#started();
    return this.#book.status(state, this.#options.name, this.#modules.clock.nowMs());
  }

  body(): Float32Array {
    return this.#started().context.ledger.body();
  }

  #started() {
    if (this.#running === undefined) throw new TypeError("the driver has not been started");
    return this.#running;
  }

  async #ledger(
    checkpoint: ProtocolCheckpoint | undefined,
    heldRows: Int32Array | undefined,
  ): Promise<Ledger> {
    const { genesisBody, layout, config } = this.#options;
    const { network, store, updateLog, clock } = this.#modules;
    const options = { ...this.#options, self: network.self, heldRows };
    if (checkpoint === undefined && genesisBody === undefined && config.initialBody === undefined) {
      throw new GenesisMissingError();
    }
    const arithmetic: BodyArithmetic = this.#modules.arithmetic?.(options) ?? new LocalArithmetic(options);
    void arithmetic.lost?.then((error) => this.#fail(error));
    const start = checkpoint ?? {
      closedRound: 0,
      closedBody: genesisBody,
      round: 0,
      residual: new Float32Array(layout.total),
      pendingOwn: [],
    };
    const onAdvanced = () => this.#dispatch({ type: "advanced" });
    const modules = { arithmetic, store, updateLog, nowMs: () => clock.nowMs(), onAdvanced };
    const ledger = await Ledger.open(options, modules, start, checkpoint?.updates ?? []);
    if (checkpoint === undefined) requireInitial(config, ledger);
    return ledger;
  }

  #context(ledger: Ledger): DriverContext {
    const fail = (error: unknown) => this.#fail(error);
    return {
      options: this.#options,
      modules: this.#modules,
      ledger,
      bodyLane: new Lane(fail),
      trainingLane: new Lane(fail),
      aheadLane: new Lane(fail),
      signal: this.#ending.signal,
      trained: new Map(),
      state: () => this.#started().state,
      dispatch: (event) => this.#dispatch(event),
      note: (event) => this.#note(event),
      save: (changes) => this.#save(changes),
    };
  }

  #onPresence(presence: Presence): void {
    if (this.#running === undefined || presence.runId !== this.#options.runId) return;
    const { ledger } = this.#running.context;
    const { closedRound, openUpdates } = presence;
    const sameUpdates =
      closedRound < ledger.closedRound ? undefined : ledger.digest(closedRound) === openUpdates;
    this.#dispatch({ type: "presence", presence, sameUpdates });
  }

  #tick(): void {
    if (this.#ending.signal.aborted) return;
    this.#cancelTick = this.#modules.clock.after(TICK_MS, () => this.#tick());
    this.#dispatch({ type: "tick" });
  }

  /** Events that effects cause at once wait until the event in hand is done with. */
  #dispatch(event: RoundEvent): void {
    const running = this.#running;
    if (running === undefined || this.#ending.signal.aborted) return;
    this.#queue.push(event);
    if (this.#handling) return;
    this.#handling = true;
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        const { state, effects } = transition(running.state, next, this.#modules.clock.nowMs());
        running.state = state;
        for (const effect of effects) this.#perform(effect);
      }
    } finally {
      this.#handling = false;
    }
  }

  #perform(effect: Effect) {
    const { context, exchange } = this.#started();
    switch (effect.type) {
      case "send-presence":
        return this.#background(this.#sendPresence(effect.leaving));
      case "train":
        return train(context, effect);
      case "train-ahead":
        return trainAhead(context, effect);
      case "end-training":
        return this.#modules.trainer.endRound(effect.round);
      case "warm-up":
        return warmUp(context);
      case "abort-training":
        return abortTraining(context);
      case "publish":
        return context.bodyLane.enqueue(() => exchange.publish(effect.round));
      case "fetch":
        return this.#background(exchange.fetch(effect));
      case "reconcile":
        return this.#background(exchange.reconcile(effect));
      case "open-round":
        return context.bodyLane.enqueue(() => this.#openRound(effect.round, effect.closedRound));
      case "sync":
        return this.#background(syncFrom(context, exchange, effect));
      case "penalise":
        this.#modules.network.penalise(effect.peer, effect.offence, effect.detail);
        return this.#note({
          type: "offence",
          peer: effect.peer,
          offence: effect.offence,
          detail: effect.detail,
        });
      case "drop":
        return this.#drop(effect);
      case "note":
        return this.#note(effect.event);
      case "finish":
        return this.#background(this.#finish(effect.reason));
    }
  }

  #drop({ id, why }: EffectOf<"drop">): void {
    this.#note({ type: "update-dropped", round: id.round, author: id.author, why });
  }

  async #openRound(round: number, closedRound: number): Promise<void> {
    const { context, exchange } = this.#started();
    const roots = await context.ledger.open(round, closedRound);
    await this.#save();
    for (const { update, restraint } of context.ledger.takeRestrained()) {
      const { round: made, author } = update.announcement;
      const { why, kept } = restraint!;
      this.#note({ type: "update-restrained", round: made, author, why, kept });
    }
    await context.ledger.prune();
    await forgetDraft(context);
    this.#dispatch({ type: "opened", round, roots });
    exchange.sweep();
  }

  async #sendPresence(leaving: boolean): Promise<void> {
    const { state } = this.#started();
    const { rules, roots } = state;
    const presence: Presence = {
      runId: this.#options.runId,
      author: state.self,
      name: this.#options.name,
      sequence: ++this.#presenceSequence,
      phase: phaseToTell(state),
      round: state.round,
      ...roots,
      step: state.step,
      steps: rules.localSteps,
      bitsPerByte: state.bitsPerByte,
      leaving,
      intervalMs: leaving ? undefined : state.cadence.intervalMs,
    };
    // Nobody may be subscribed yet; the next heartbeat says the same.
    await this.#modules.network.publishPresence(presence).catch(() => {});
  }

  async #save(changes: Parameters<DriverContext["save"]>[0] = {}): Promise<void> {
    const { context, state } = this.#started();
    const { publishedRound, probation } = { ...state, ...changes };
    if (!context.ledger.holdsBody) return;
    const presenceSequence = this.#presenceSequence;
    await this.#modules.store.save({
      ...context.ledger.checkpoint(),
      publishedRound,
      probation,
      presenceSequence,
    });
  }

  async #finish(reason: Outcome["reason"]): Promise<void> {
    const { context, state } = this.#started();
    this.#cancelTick();
    const { members } = this.status();
    // The farewell has been sent before this effect; give it, the ledger and the trainer a moment to end whole.
    this.#ending.abort();
    await context.bodyLane.idle();
    await this.#save();
    const atRest = Promise.all([context.trainingLane.idle(), context.aheadLane.idle()]);
    await Promise.race([atRest, this.#patience()]);
    this.#outcome.resolve({
      reason,
      round: state.round,
      root: context.ledger.roots().root,
      agreement: agreementOf(members),
    });
  }

  /** Something here cannot go on (not a peer's doing): tell the others and give up. */
  #fail(error: unknown): void {
    if (this.#ending.signal.aborted) return;
    if (this.#running === undefined) return void this.#outcome.reject(error);
    this.#cancelTick();
    abortTraining(this.#running.context);
    const farewell = this.#sendPresence(true);
    this.#ending.abort();
    Promise.race([farewell, this.#patience()]).then(() => this.#outcome.reject(error), this.#outcome.reject);
  }

  #patience(): Promise<void> {
    return new Promise((resolve) => this.#modules.clock.after(LEAVE_PATIENCE_MS, resolve));
  }

  #background(work: Promise<void>): void {
    work.catch((error) => this.#fail(error));
  }

  #note(event: ProtocolEvent): void {
    this.#book.record(event, this.#modules.clock.nowMs());
    this.#modules.observer?.onEvent(event);
  }
}
