// The composition root of a peer: the one place that knows every part. Starts them in order, connects them, waits for the
// end and stops them in reverse. What the parts do is in the parts.
import { randomUUID } from "node:crypto";
import { bodyLength } from "#model/architecture.ts";
import { listDataFiles } from "#model/data/list-data-files.ts";
import { parseInvite } from "#protocol/core/invite.ts";
import { totalSteps } from "#protocol/core/run-config.ts";
import { updateCodec } from "#protocol/core/update-codec.ts";
import { createDriver, type Driver } from "#protocol/driver.ts";
import { requireAddress } from "#protocol/net/addresses.ts";
import { systemClock } from "#protocol/net/clock.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { loadOrCreateIdentity } from "#protocol/net/identity.ts";
import { createNetwork, type Network } from "#protocol/net/network.ts";
import { fetchRunAsset } from "#protocol/net/run-assets.ts";
import { ArithmeticThread } from "./arithmetic/arithmetic-thread.ts";
import type { NodeConfig } from "./config.ts";
import { Lifecycle } from "./lifecycle.ts";
import { openControlEndpoint } from "./observability/control-endpoint.ts";
import type { PeerEvent, PeerSummary } from "./observability/events.ts";
import { createLog, type Logger } from "./observability/log.ts";
import { openMetricsEndpoint } from "./observability/metrics.ts";
import { composeStatus, type PeerStatus } from "./observability/status.ts";
import { EvaluatingTrainer } from "./peer/evaluating-trainer.ts";
import { Group, groupTerms, requireGroupPossible } from "./peer/group.ts";
import { givenParameters } from "./peer/initial-parameters.ts";
import { Measurements } from "./peer/measurements.ts";
import { tellingOfPreparation } from "./peer/preparation.ts";
import { obtainRunTerms, type RunTerms } from "./peer/run-terms.ts";
import { logEvent, publicEventOf } from "./peer/translate-event.ts";
import { vocabularySource } from "./peer/vocabulary-source.ts";
import { watchTrainer } from "./peer/watch-trainer.ts";
import { requireFreeSpace } from "./storage/atomic-file.ts";
import { ProtocolStore } from "./storage/protocol-store.ts";
import { defaultStateDirectory, glossaHome, StateDirectory } from "./storage/state-directory.ts";
import { UpdateLog } from "./storage/update-log.ts";
import { Trainer } from "./trainer/trainer.ts";
import { sharedVocabularySize } from "./variants.ts";

export interface PeerModules {
  /** Fires on Ctrl-C: leave cleanly. */
  readonly signal: AbortSignal;
  readonly emit: (event: PeerEvent) => void;
}

const TRAFFIC_INTERVAL_MS = 1_000;

/**
 * Runs a peer until it is stopped or its rounds are done. Resolves after everything is saved and closed.
 * @throws typed errors of every part, each with a sentence for the user (see cli/exit-codes.ts)
 */
export async function runPeer(config: NodeConfig, { signal, emit }: PeerModules): Promise<PeerSummary> {
  const log = createLog({ level: config.logLevel, format: config.logFormat, name: config.name });
  const lifecycle = new Lifecycle((part, err) => log.warn({ err, part }, "did not stop cleanly"));
  try {
    return await run(config, { signal, emit, log, lifecycle });
  } finally {
    await lifecycle.stop();
  }
}

interface Running extends PeerModules {
  readonly log: Logger;
  readonly lifecycle: Lifecycle;
}

async function run(config: NodeConfig, { signal, emit, log, lifecycle }: Running): Promise<PeerSummary> {
  // What the user can get wrong is checked before anything is made or anyone is met.
  const invite = parseInvite(config.join, sha256);
  [...config.listen, ...config.announce, ...config.bootstrap].forEach(requireAddress);
  await listDataFiles(config.data);

  const startedAtMs = Date.now();
  const state = await lifecycle.start(
    "state directory",
    () =>
      StateDirectory.open(config.stateDir ?? defaultStateDirectory(glossaHome(), invite.runId, config.name)),
    (directory) => directory.close(),
  );
  const identity = await loadOrCreateIdentity(state.identityKeyPath);
  emit({ event: "started", name: config.name, peerId: identity.peer, stateDirectory: state.path });
  const bootstrap = [...invite.addresses, ...config.bootstrap];
  const sources = { manifestFile: config.manifest, addresses: bootstrap };
  const terms = await obtainRunTerms(invite.runId, sources, state, signal);
  const { runId, layout } = terms;
  const runConfig = terms.config;
  if (config.group !== undefined) requireGroupPossible(runConfig);
  const given = await givenParameters(config.body, runConfig, signal);
  const vocabulary = await vocabularySource(config, runConfig, {
    state,
    fetch: (contentId) =>
      fetchRunAsset(contentId, runId, bootstrap, signal, (bytes, totalBytes) =>
        emit({ event: "fetching-tokenizer", bytes, totalBytes }),
      ),
  });
  const updateLog = await lifecycle.start(
    "update log",
    () =>
      UpdateLog.open(state.path, {
        runId,
        manifest: terms.manifest,
        keep: config.keepLog,
        onTrouble: (err, what) => log.warn({ err }, what),
      }),
    (opened) => opened.close(),
  );
  updateLog.named(identity.peer, config.name);
  const store = await ProtocolStore.open(state.path, {
    retention: updateLog,
    onFallback: (err) => log.warn({ err }, "the newest checkpoint is damaged; the one before it is used"),
  });

  const measurements = new Measurements(runConfig);
  const trainer = await lifecycle.start(
    "trainer",
    async () => new Trainer(watchTrainer({ log, emit, measurements })),
    (running) => running.close(),
  );
  const sharedRows = sharedVocabularySize(runConfig);
  const genesis =
    given ?? (await trainer.genesis(runConfig.model, sharedRows, String(runConfig.seed), signal));

  const onEvaluated = (round: number, bitsPerByte: number) => {
    measurements.evaluated(bitsPerByte);
    log.info({ round, bitsPerByte }, "evaluated on held-out text");
    emit({ event: "evaluated", round, bitsPerByte });
  };

  const network = await createNetwork(
    {
      identity,
      runId,
      runManifest: terms.manifest,
      listen: config.listen,
      announce: config.announce,
      bootstrap,
      bodyValues: layout.total,
      maxPayloadBytes: updateCodec(runConfig, layout).maxPayloadBytes,
      assets:
        runConfig.vocabulary === undefined
          ? []
          : [{ contentId: runConfig.vocabulary.tokenizer, file: state.commonTokenizerPath }],
    },
    { logger: log, peerCache: state.peerCache },
  );
  const arithmetic = await lifecycle.start(
    "arithmetic",
    async () => new ArithmeticThread(),
    (thread) => thread.close(),
  );
  let channelsAtRoundStart = network.traffic().channels;
  const driver = createDriver(
    {
      name: config.name,
      runId,
      config: runConfig,
      layout,
      hash: sha256,
      // What a seed gives is not what a run that starts from a model starts from.
      genesisBody: runConfig.initialBody === undefined ? genesis : given,
      ...(config.rounds !== undefined && { rounds: config.rounds }),
    },
    {
      network,
      store,
      updateLog,
      clock: systemClock,
      arithmetic: (options) => arithmetic.open(options),
      trainer: new EvaluatingTrainer(trainer, { everyRounds: config.evaluateEveryRounds, onEvaluated }),
      observer: {
        onEvent(event) {
          if (event.type === "round-started") channelsAtRoundStart = network.traffic().channels;
          if (event.type === "peer-joined") updateLog.named(event.peer, event.name);
          measurements.record(event);
          logEvent(log, event);
          const translated = publicEventOf(event);
          if (translated !== undefined) emit(translated);
        },
      },
    },
  );
  network.attach(driver);
  lifecycle.defer("network", () => network.stop());
  await network.start();
  log.info({ peer: network.self, addresses: network.addresses() }, "listening");
  emit({ event: "listening", peerId: network.self, addresses: network.addresses() });

  const prepared = await trainer.prepare(
    {
      paths: config.data,
      textField: config.textField,
      vocabulary,
      tokenizerFile: state.tokenizerPath,
      rowsFile: state.vocabularyRowsPath,
      cacheDirectory: state.tokenCacheDirectory,
      minimumValidationTokens: runConfig.training.batchSize * runConfig.model.sequenceLength + 1,
    },
    tellingOfPreparation(log, emit),
    signal,
  );
  emit({ event: "tokens-ready", tokens: prepared.trainTokens, bytes: prepared.trainBytes });
  const groupOf = config.group === undefined ? undefined : groupTerms(config.group, terms, prepared);
  const localParameters = bodyLength(runConfig.model) + prepared.vocabularySize * runConfig.model.width;
  const sharedParameters = layout.total + (groupOf?.layout.total ?? 0);
  const needed = checkpointBytes(sharedParameters, localParameters);
  await requireFreeSpace(state.path, needed).catch(async (error: unknown) => {
    if (!(await updateLog.yieldSpace())) throw error;
    await requireFreeSpace(state.path, needed);
  });
  const groupGenesis = groupOf && (await trainer.groupGenesis(groupOf.shape, groupOf.seed, signal));
  const created = await trainer.create(
    {
      body: runConfig.model,
      genesis,
      sharedVocabularySize: sharedRows,
      group: groupOf && {
        runId: groupOf.runId,
        embedding: groupOf.parameters.gather(groupGenesis!),
      },
      optimizer: { ...runConfig.training, totalSteps: totalSteps(runConfig) },
      batchSize: runConfig.training.batchSize,
      microBatchSize: config.microBatch,
      recompute: config.recompute,
      precision: config.precision,
      plan: {
        localSteps: runConfig.training.localSteps,
        momentsAcrossRounds: runConfig.training.momentsAcrossRounds,
        checkpointIntervalMs: config.checkpointIntervalSeconds * 1000,
      },
      device: config.device,
      threads: config.threads,
      privateSeed: randomUUID(),
      checkpointFile: state.trainerCheckpointPath,
      evaluationTokens: config.evaluationTokens,
    },
    signal,
  );
  measurements.trainerCreated(created, prepared);
  const { variant } = runConfig;
  log.info({ ...created, vocabularySize: prepared.vocabularySize, variant }, "ready to train");

  const group =
    groupOf &&
    (await lifecycle.start(
      "group",
      () =>
        Group.join(
          groupOf,
          { peerName: config.name, genesis: groupGenesis!, keepLog: config.keepLog },
          {
            network,
            trainer,
            arithmetic,
            state,
            log,
            onRound: (round, updates, embeddingRoot) =>
              emit({ event: "group-round-applied", group: groupOf.name, round, updates, embeddingRoot }),
          },
          signal,
        ),
      (joined) => joined.leave(),
    ));

  await driver.start(signal, { heldRows: runConfig.variant === "trim" ? prepared.rows : undefined });
  const { round, root } = driver.status();
  emit({ event: "joined", runId, round, bodyRoot: root });

  const status = () =>
    statusOf({ startedAtMs, terms, state, driver, group, network, measurements, channelsAtRoundStart });
  await openEndpoints(config, { state, runId, lifecycle, log, status });
  const reportTraffic = () => {
    const { bytesSent, bytesReceived, links } = network.traffic();
    emit({ event: "traffic", bytesSent, bytesReceived, peers: links.length });
  };
  const trafficTimer = setInterval(reportTraffic, TRAFFIC_INTERVAL_MS);
  lifecycle.defer("traffic report", () => clearInterval(trafficTimer));

  const outcome = await (group === undefined ? driver.done : Promise.race([driver.done, group.failure]));
  if (outcome.reason === "completed") await group?.settle(driver.status(), signal);
  if (outcome.reason === "completed") {
    onEvaluated(outcome.round, await trainer.evaluate(driver.body(), signal));
  }
  reportTraffic();
  const facts = measurements.facts();
  const { bytesSent, bytesReceived } = network.traffic();
  const summary: PeerSummary = {
    name: config.name,
    variant: facts.variant,
    vocabularySize: facts.vocabularySize,
    commonVocabularySize: facts.commonVocabularySize,
    heldRows: facts.heldRows,
    embeddingParameters: facts.embeddingParameters,
    bodyParameters: facts.bodyParameters,
    bitsPerByteStart: facts.bitsPerByteStart,
    bitsPerByteEnd: facts.bitsPerByte,
    bytesSent,
    bytesReceived,
    bodyRoot: outcome.root,
    tokens: facts.tokens,
    steps: facts.steps,
    rounds: outcome.round,
    group: group?.summary(),
  };
  log.info({ ...outcome.agreement, reason: outcome.reason, round: outcome.round }, "left the run");
  emit({ event: "finished", ...summary });
  return summary;
}

/** Two generations of the protocol's state, one of the trainer's and one being written, with room for a round's payloads. */
function checkpointBytes(sharedParameters: number, localParameters: number): number {
  const protocol = 4 * 2 * sharedParameters;
  const trainer = 4 * 5 * localParameters;
  return 3 * protocol + 2 * trainer + 8 * sharedParameters;
}

interface StatusParts {
  readonly startedAtMs: number;
  readonly terms: RunTerms;
  readonly state: StateDirectory;
  readonly driver: Driver;
  readonly group: Group | undefined;
  readonly network: Network;
  readonly measurements: Measurements;
  readonly channelsAtRoundStart: ReturnType<Network["traffic"]>["channels"];
}

function statusOf({ startedAtMs, terms, state, driver, group, network, ...parts }: StatusParts): PeerStatus {
  const nowMs = Date.now();
  return composeStatus({
    nowMs,
    startedAtMs,
    pid: process.pid,
    runId: terms.runId,
    runName: terms.config.name,
    stateDirectory: state.path,
    protocol: driver.status(),
    group: group && { name: group.terms.name, runId: group.terms.runId, protocol: group.status() },
    network: {
      addresses: network.addresses(),
      traffic: network.traffic(),
      atRoundStart: parts.channelsAtRoundStart,
      offences: network.offences(),
    },
    training: parts.measurements.facts(),
  });
}

interface EndpointParts {
  readonly state: StateDirectory;
  readonly runId: string;
  readonly lifecycle: Lifecycle;
  readonly log: Logger;
  readonly status: () => PeerStatus;
}

/** Where `glossa stats` and Prometheus ask. */
async function openEndpoints(config: NodeConfig, { state, runId, lifecycle, log, status }: EndpointParts) {
  await lifecycle.start(
    "control endpoint",
    () =>
      openControlEndpoint({
        name: config.name,
        runId,
        stateDirectory: state.path,
        recordPath: state.controlPath,
        status,
      }),
    (endpoint) => endpoint.close(),
  );
  const { metricsPort } = config;
  if (metricsPort === undefined) return;
  const metrics = await lifecycle.start(
    "metrics endpoint",
    () => openMetricsEndpoint(metricsPort, status),
    (endpoint) => endpoint.close(),
  );
  log.info({ url: metrics.url }, "serving metrics");
}
