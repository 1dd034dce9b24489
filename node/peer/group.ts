// A peer's part in a group: peers of the run with the same tokenizer that average their embeddings. A second run on the same
// host, with a driver and a directory of its own; the run decides when is trained, the group when is averaged.
import { embeddingTensors } from "#model/architecture.ts";
import { type GroupRun, groupRun } from "#protocol/core/group-run.ts";
import { type RunConfig, sharesEmbedding } from "#protocol/core/run-config.ts";
import type { BodyRoot, PeerId, Phase, RunId } from "#protocol/core/types.ts";
import { updateCodec } from "#protocol/core/update-codec.ts";
import { createDriver, type Driver, type ProtocolEvent, type ProtocolStatus } from "#protocol/driver.ts";
import { systemClock } from "#protocol/net/clock.ts";
import { sha256 } from "#protocol/net/hash.ts";
import type { Network, RunNetwork } from "#protocol/net/network.ts";
import type { ArithmeticThread } from "../arithmetic/arithmetic-thread.ts";
import type { GroupSummary } from "../observability/events.ts";
import type { Logger } from "../observability/log.ts";
import { ProtocolStore } from "../storage/protocol-store.ts";
import type { StateDirectory } from "../storage/state-directory.ts";
import { type KeepLog, UpdateLog } from "../storage/update-log.ts";
import type { PrepareResult } from "../trainer/messages.ts";
import { SharedParameters } from "../trainer/shared-parameters.ts";
import type { Trainer } from "../trainer/trainer.ts";
import { GroupTrainer } from "./group-trainer.ts";
import { logEvent } from "./translate-event.ts";

/** Peers find each other in seconds; whoever is alone this long should know. */
const LONELY_MS = 60_000;
/** At the end, for the others to take and give what is left. */
const SETTLE_MS = 60_000;
const SETTLE_LOOK_MS = 250;

/** Phases of peers that the end of a run for us is none for. */
const TRAINS_ON: ReadonlySet<Phase> = new Set<Phase>([
  "waiting",
  "syncing",
  "warming",
  "training",
  "collecting",
]);

export class GroupNotPossibleError extends Error {
  readonly code = "GROUP_NOT_POSSIBLE";

  constructor({ name, variant }: Pick<RunConfig, "name" | "variant">) {
    super(
      `The run ${name} is of variant ${variant}, in which all peers share their embedding rows already: leave --group out.`,
    );
    this.name = "GroupNotPossibleError";
  }
}

/** @throws GroupNotPossibleError */
export function requireGroupPossible(config: RunConfig): void {
  if (sharesEmbedding(config)) throw new GroupNotPossibleError(config);
}

/** What of the group is known once the tokenizer is. */
export interface GroupTerms extends GroupRun {
  readonly name: string;
  readonly parameters: SharedParameters;
  /** Rows of the group's embedding that this peer has; undefined has all. */
  readonly rows: Int32Array | undefined;
  readonly shape: { readonly width: number; readonly vocabularySize: number };
}

export function groupTerms(
  name: string,
  run: { readonly runId: RunId; readonly config: RunConfig },
  { tokenizerFingerprint, vocabularySize: own, rows }: PrepareResult,
): GroupTerms {
  const { vocabulary, model } = run.config;
  const shape = { width: model.width, vocabularySize: vocabulary?.size ?? own };
  const tokenizer = vocabulary?.tokenizer ?? tokenizerFingerprint;
  const [embedding] = embeddingTensors(shape);
  return {
    ...groupRun({ ...run, name, tokenizer, embedding: embedding! }, sha256),
    name,
    parameters: new SharedParameters(0, { ...shape, rows }),
    rows,
    shape,
  };
}

export interface GroupModules {
  readonly network: Network;
  readonly trainer: Trainer;
  readonly arithmetic: ArithmeticThread;
  readonly state: StateDirectory;
  readonly log: Logger;
  /** A round of the group is over: its number, updates, and the embedding's root after it. */
  readonly onRound: (round: number, updates: number, root: BodyRoot) => void;
}

export interface GroupOptions {
  /** What others see this peer called. */
  readonly peerName: string;
  /** The group's embedding at its round 0, whole. */
  readonly genesis: Float32Array;
  readonly keepLog: KeepLog;
}

interface GroupParts {
  readonly trainer: GroupTrainer;
  readonly link: RunNetwork;
  readonly updateLog: UpdateLog;
}

export class Group {
  readonly terms: GroupTerms;
  readonly #driver: Driver;
  readonly #trainer: GroupTrainer;
  readonly #link: RunNetwork;
  readonly #updateLog: UpdateLog;
  readonly #modules: GroupModules;

  private constructor(
    terms: GroupTerms,
    driver: Driver,
    { trainer, link, updateLog }: GroupParts,
    modules: GroupModules,
  ) {
    this.terms = terms;
    this.#driver = driver;
    this.#trainer = trainer;
    this.#link = link;
    this.#updateLog = updateLog;
    this.#modules = modules;
  }

  /** Joins over the peer's network, which runs, with its trainer, which was created for the group. */
  static async join(
    terms: GroupTerms,
    { peerName, genesis, keepLog }: GroupOptions,
    modules: GroupModules,
    signal: AbortSignal,
  ): Promise<Group> {
    const { runId, config, layout, manifest, parameters, rows } = terms;
    const { network, state, log } = modules;
    const directory = await state.groupDirectory(runId);
    const updateLog = await UpdateLog.open(directory, {
      ...{ runId, manifest, keep: keepLog },
      onTrouble: (err, what) => log.warn({ err, group: terms.name }, what),
    });
    updateLog.named(network.self, peerName);
    const store = await ProtocolStore.open(directory, {
      retention: updateLog,
      onFallback: (err) => log.warn({ err, group: terms.name }, "the group's newest checkpoint is damaged"),
    });
    const { localSteps } = config.training;
    const trainer = new GroupTrainer(modules.trainer, { parameters, localSteps });
    const maxPayloadBytes = updateCodec(config, layout).maxPayloadBytes;
    const link = network.besides({ runId, runManifest: manifest, bodyValues: layout.total, maxPayloadBytes });
    const observe = (event: ProtocolEvent) => {
      if (event.type === "peer-joined") updateLog.named(event.peer, event.name);
      observeGroup(event, terms.name, trainer, modules);
    };
    const driver = createDriver(
      { name: peerName, runId, config, layout, hash: sha256, genesisBody: genesis },
      {
        network: link,
        store,
        updateLog,
        clock: systemClock,
        arithmetic: (options) => modules.arithmetic.open(options),
        trainer,
        observer: { onEvent: observe },
      },
    );
    link.attach(driver);
    const group = new Group(terms, driver, { trainer, link, updateLog }, modules);
    await link.start();
    await driver.start(signal, { heldRows: config.variant === "trim" ? rows : undefined });
    group.#sayWhenAlone(signal);
    log.info({ group: terms.name, groupId: runId, round: driver.status().round }, "joined the group");
    return group;
  }

  /** Rejects where the group cannot go on (a full disk); never resolves. */
  get failure(): Promise<never> {
    return this.#driver.done.then(
      () => new Promise<never>(() => {}),
      (error) => Promise.reject(error),
    );
  }

  status(): ProtocolStatus {
    return this.#driver.status();
  }

  /** For the table at the end. */
  summary(): GroupSummary {
    const { round, root } = this.#driver.status();
    return { name: this.terms.name, rounds: round, embeddingRoot: root };
  }

  /**
   * After the run's last round, which ended as `run` says: hands out what is left, and leaves once all members that end
   * with it hold the same embedding, and those that train on have what this peer gave.
   */
  async settle(run: ProtocolStatus, signal: AbortSignal): Promise<void> {
    this.#trainer.end();
    const goOn = new Set(run.members.filter(({ phase }) => TRAINS_ON.has(phase)).map(({ peer }) => peer));
    const deadline = Date.now() + SETTLE_MS;
    while (!signal.aborted && Date.now() < deadline && !this.#isSettled(goOn)) {
      await new Promise((resolve) => setTimeout(resolve, SETTLE_LOOK_MS));
    }
    await this.leave();
    const { round, phase } = this.#driver.status();
    if (phase === "waiting" || signal.aborted) return;
    // Late updates may have moved the group's embedding after the trainer took it over.
    const { trainer } = this.#modules;
    await trainer.enterGroup(round, this.terms.parameters.gather(this.#driver.body()), false);
    await trainer.collectGroup("now", signal);
  }

  async leave(): Promise<void> {
    this.#driver.requestStop();
    await this.#driver.done;
    await this.#updateLog.close();
    await this.#link.stop();
  }

  #isSettled(goOn: ReadonlySet<PeerId>): boolean {
    const { phase, round, root, members } = this.#driver.status();
    if (phase === "waiting") return true;
    if (phase !== "training" || this.#trainer.idleRound !== round) return false;
    return members.every((member) => {
      if (member.round > round) return goOn.has(member.peer);
      const isThere = member.round === round && member.root === root;
      const isIdle = member.phase === "training" && member.step >= member.steps;
      return isThere && (goOn.has(member.peer) || isIdle);
    });
  }

  #sayWhenAlone(signal: AbortSignal): void {
    const timer = setTimeout(() => {
      if (this.#driver.status().members.length > 0) return;
      this.#modules.log.warn(
        { group: this.terms.name },
        "nobody else is in the group: its members need the same tokenizer, give them this peer's with --tokenizer",
      );
    }, LONELY_MS);
    timer.unref();
    signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
  }
}

/** Tells the trainer that others go on, the log what a person should know, and whoever asked of each round. */
function observeGroup(
  event: ProtocolEvent,
  group: string,
  trainer: GroupTrainer,
  { log, network, onRound }: GroupModules,
): void {
  if (event.type === "update-received" && event.author !== network.self) trainer.heard(event.round);
  if (event.type === "round-applied") onRound(event.round, event.updates, event.root);
  logEvent(log, event, `group ${group}`);
}
