// Steps in host memory (cpu, cuda): graphs give gradients, and AdamW moves the parameters in place on the host. Holds the
// parameters, the moments and one gradient of each for every share, and no second copy of anything.
import { bodyLength, embeddingLength } from "../architecture.ts";
import type { Graph } from "../graph/ops.ts";
import type { Tokens } from "../micro-batches.ts";
import { stepFactors } from "../optim/adamw-kernel.ts";
import { hostIds, type Session } from "../runtime/session.ts";
import { buildGradientStep, type ParameterGroup, rowScale, stepInputs } from "../train-step.ts";
import { HelperThread } from "./helper-thread.ts";
import { HostGroup } from "./host-group.ts";
import { HostOptimizer } from "./host-optimizer.ts";
import { Share } from "./share.ts";
import {
  type EngineSetting,
  type EngineStep,
  isSound,
  oneByOne,
  type StepEngine,
  type StepOutcome,
} from "./step-engine.ts";

/** Below this many parameters a helper saves the optimizer less than a millisecond a step, and costs megabytes. */
const MIN_PARAMETERS_OF_HELPER = 2_000_000;

export interface HostThreads {
  /** Whether a helper thread may be started. Needs tensors in shared memory. */
  readonly mayHelp: boolean;
  /** Shares of a micro-batch that are computed at once: 1, or 2 with a helper. Divides the micro-batch. */
  readonly shares: number;
}

export class HostEngine implements StepEngine {
  readonly #setting: EngineSetting;
  readonly groups: Readonly<Record<ParameterGroup, HostGroup>>;
  readonly #optimizer: HostOptimizer;
  readonly #helper: HelperThread | undefined;
  /** Of each group, the places of its parts in the optimizer. */
  readonly #partsOf: Readonly<Record<ParameterGroup, readonly number[]>>;
  readonly #shares: readonly Share[];

  constructor(setting: EngineSetting, { mayHelp, shares }: HostThreads) {
    this.#setting = setting;
    const { config, optimizer } = setting;
    const isLarge = bodyLength(config) + embeddingLength(config) >= MIN_PARAMETERS_OF_HELPER;
    const shared = mayHelp && (isLarge || shares > 1);
    const make = (name: ParameterGroup) =>
      new HostGroup({ config, optimizer, name, shared, gradients: shares });
    this.groups = { body: make("body"), embedding: make("embedding") };
    const { body, embedding } = this.groups;
    const parts = [...body.parts, ...embedding.parts];
    const placesOf = (group: HostGroup) => group.parts.map((part) => parts.indexOf(part));
    this.#partsOf = { body: placesOf(body), embedding: placesOf(embedding) };
    this.#shares = Array.from({ length: shares }, (_, at) => this.#makeShare(at, shared, shares));
    this.#helper = shared ? new HelperThread(optimizer, parts, this.#shares[1]?.memory) : undefined;
    this.#optimizer = new HostOptimizer(parts, this.#helper);
  }

  stepsPerRun(): number {
    return 1;
  }

  async prepare(trained: readonly ParameterGroup[]): Promise<void> {
    await this.#gradientSession(trained);
  }

  steps(steps: readonly EngineStep[]): Promise<StepOutcome[]> {
    return oneByOne(steps, (step) => this.#step(step));
  }

  async #step({ microBatches, trained, rates, lossScale, signal }: EngineStep): Promise<StepOutcome> {
    const { config, optimizer, batchSize } = this.#setting;
    const session = await this.#gradientSession(trained);
    const addsUp = microBatches.length > 1;
    for (const { memory } of this.#shares) memory.lossScale[0] = lossScale;
    if (addsUp) for (const share of this.#shares) share.clear(trained);
    let nats = 0;
    for (const tokens of microBatches) {
      signal?.throwIfAborted();
      await this.#addGradients(session, tokens, trained, addsUp);
      for (const { memory } of this.#shares) nats += memory.nats[0]!;
    }

    const loss = nats / (batchSize * config.sequenceLength);
    const places = trained.flatMap((name) => this.#partsOf[name]);
    const outcome = { loss, gradientNorm: Math.sqrt(this.#optimizer.squares(places)) / lossScale };
    if (!isSound(outcome)) return outcome;
    const factorsOf = trained.flatMap((name) => {
      const momentSteps = ++this.groups[name].momentSteps;
      const factors = stepFactors(optimizer, rates[name], outcome.gradientNorm, momentSteps, lossScale);
      return this.#partsOf[name].map((part) => [part, factors] as const);
    });
    this.#optimizer.update(new Map(factorsOf));
    return outcome;
  }

  async dispose(): Promise<void> {
    await this.#helper?.dispose();
  }

  async #addGradients(
    session: Session,
    tokens: Tokens,
    trained: readonly ParameterGroup[],
    addsUp: boolean,
  ): Promise<void> {
    for (const [at, { memory }] of this.#shares.entries()) {
      const { length } = memory.inputs;
      for (const name of ["inputs", "targets"] as const) {
        memory[name].set(hostIds(tokens[stepInputs[name]]!).subarray(at * length, (at + 1) * length));
      }
    }
    const [first, second] = this.#shares;
    const isHelped = second !== undefined && this.#helper!.beginGradients(trained, addsUp);
    try {
      await first!.run(session, trained, addsUp);
    } finally {
      // Also where this thread has failed: the helper must be done with what it reads.
      if (isHelped) this.#helper!.finish();
    }
    if (!isHelped) await second?.run(session, trained, addsUp);
  }

  /** Compiled on both threads at once when first asked for. */
  async #gradientSession(trained: readonly ParameterGroup[]): Promise<Session> {
    const { session, emit } = this.#setting;
    const name = `gradients of ${trained.join(" and ")}`;
    const shares = this.#shares.length;
    if (shares > 1 && this.#helper?.knows(trained) === false) {
      const helped = this.#helper.compile({ trained, ...emit(this.#gradientStep(trained), shares) });
      await session(name, () => this.#gradientStep(trained), shares);
      await helped;
    }
    return session(name, () => this.#gradientStep(trained), shares);
  }

  #gradientStep(trained: readonly ParameterGroup[]): Graph {
    const { config, batchSize, microBatchSize, recompute, precision } = this.#setting;
    return buildGradientStep(config, batchSize, microBatchSize / this.#shares.length, trained, {
      recompute,
      precision,
      rowsApart: true,
      addsUp: microBatchSize < batchSize,
    });
  }

  #makeShare(at: number, shared: boolean, shares: number): Share {
    const { config, batchSize, microBatchSize, precision } = this.#setting;
    const tokens = (microBatchSize / shares) * config.sequenceLength;
    const buffer = (length: number) =>
      shared ? new SharedArrayBuffer(4 * length) : new ArrayBuffer(4 * length);
    const { body, embedding } = this.groups;
    return new Share({
      inputs: new Int32Array(buffer(tokens)),
      targets: new Int32Array(buffer(tokens)),
      weights: [...body.weights.tensors, ...embedding.weights.tensors],
      gradients: { body: body.gradients[at]!.tensors, embedding: embedding.gradients[at]!.tensors },
      inputRows: new Float32Array(buffer(tokens * config.width)),
      hidden: new Float32Array(buffer(tokens * config.width)),
      rowScale: rowScale(config, batchSize),
      precision,
      lossScale: new Float32Array(buffer(1)).fill(1),
      nats: new Float32Array(buffer(1)),
    });
  }
}
