// Steps in host memory (cpu, cuda): the graph gives gradients, and AdamW moves the parameters in place on the host. Holds the
// parameters, the moments and one gradient of each, and no second copy of anything.

import { bodyLength, embeddingLength } from "./architecture.ts";
import { elementCount } from "./graph/ops.ts";
import type { Tokens } from "./micro-batches.ts";
import { isDecaying } from "./optim/adamw.ts";
import { stepFactors } from "./optim/adamw-kernel.ts";
import { HostOptimizer, MIN_PARAMETERS_OF_TWO_THREADS } from "./optim/host-optimizer.ts";
import { OptimizerPart, type Range } from "./optim/optimizer-part.ts";
import { SecondThread } from "./optim/second-thread.ts";
import { hostData, hostIds, hostTensor, type Session } from "./runtime/session.ts";
import { HostState } from "./runtime/state.ts";
import {
  type EngineSetting,
  type EngineStep,
  type GroupState,
  isSound,
  merged,
  type StepEngine,
  type StepOutcome,
  type Tensors,
} from "./step-engine.ts";
import {
  buildGradientStep,
  gradientTensors,
  groupTensors,
  type ParameterGroup,
  rowScale,
  stepInputs,
  stepOutputs,
} from "./train-step.ts";
import type { ModelConfig, OptimizerConfig, TensorSpec } from "./types.ts";

export class HostEngine implements StepEngine {
  readonly #setting: EngineSetting;
  readonly groups: Readonly<Record<ParameterGroup, HostGroup>>;
  readonly #optimizer: HostOptimizer;
  /** Of each group, the places of its parts in the optimizer. */
  readonly #partsOf: Readonly<Record<ParameterGroup, readonly number[]>>;
  /** What the graph gives of single rows of the embedding, see GraphOptions.rowsApart. */
  readonly #rows: Tensors;

  /** `onTwoThreads`: whether the optimizer may use a second thread; needs tensors in shared memory. */
  constructor(setting: EngineSetting, onTwoThreads: boolean) {
    this.#setting = setting;
    const { config, optimizer } = setting;
    const isLarge = bodyLength(config) + embeddingLength(config) >= MIN_PARAMETERS_OF_TWO_THREADS;
    const shared = onTwoThreads && isLarge;
    const body = new HostGroup(config, optimizer, "body", shared);
    const embedding = new HostGroup(config, optimizer, "embedding", shared);
    this.groups = { body, embedding };
    const parts = [...body.parts, ...embedding.parts];
    this.#optimizer = new HostOptimizer(parts, shared ? new SecondThread(optimizer, parts) : undefined);
    const placesOf = (group: HostGroup) => group.parts.map((part) => parts.indexOf(part));
    this.#partsOf = { body: placesOf(body), embedding: placesOf(embedding) };
    const shape = [setting.microBatchSize * config.sequenceLength, config.width] as const;
    const rows = () => hostTensor(new Float32Array(shape[0] * shape[1]), shape);
    this.#rows = { [stepOutputs.inputRows]: rows(), [stepOutputs.hidden]: rows() };
  }

  async prepare(trained: readonly ParameterGroup[]): Promise<void> {
    await this.#gradientSession(trained);
  }

  async step({ microBatches, trained, rates, signal }: EngineStep): Promise<StepOutcome> {
    const { config, optimizer, batchSize } = this.#setting;
    const session = await this.#gradientSession(trained);
    const groups = trained.map((name) => this.groups[name]);
    const gradients = groups.map(({ gradient }) => gradient);
    const weights = merged(Object.values(this.groups), (group) => group.weights.feeds());
    const sums = microBatches.length === 1 ? {} : merged(gradients, (gradient) => gradient.feeds());
    if (microBatches.length > 1) for (const gradient of gradients) gradient.clear();
    const nats = hostTensor(new Float32Array(1), []);
    const results = {
      ...merged(gradients, (gradient) => gradient.results()),
      ...(trained.includes("embedding") && this.#rows),
      [stepOutputs.nats]: nats,
    };
    let total = 0;
    for (const tokens of microBatches) {
      signal?.throwIfAborted();
      await session.run({ ...tokens, ...weights, ...sums }, results);
      total += hostData(nats)[0]!;
      if (trained.includes("embedding")) this.#addRows(tokens);
    }

    const loss = total / (batchSize * config.sequenceLength);
    const gradientNorm = Math.sqrt(this.#optimizer.squares(trained.flatMap((name) => this.#partsOf[name])));
    const outcome = { loss, gradientNorm };
    if (!isSound(outcome)) return outcome;
    const factorsOf = trained.flatMap((name) => {
      const momentSteps = ++this.groups[name].momentSteps;
      const factors = stepFactors(optimizer, rates[name], gradientNorm, momentSteps);
      return this.#partsOf[name].map((part) => [part, factors] as const);
    });
    this.#optimizer.update(new Map(factorsOf));
    return outcome;
  }

  dispose(): Promise<void> {
    return this.#optimizer.dispose();
  }

  /** Always in the order of the tokens: where an id repeats, sums depend on it. */
  #addRows(tokens: Tokens): void {
    const { config, batchSize } = this.#setting;
    const { values } = this.groups.embedding.gradient.pieces[0]!.flat;
    const ids = (name: string) => hostIds(tokens[name]!);
    const rows = (name: string) => hostData(this.#rows[name]!);
    addRows(values, ids(stepInputs.inputs), rows(stepOutputs.inputRows), 1);
    addRows(values, ids(stepInputs.targets), rows(stepOutputs.hidden), -rowScale(config, batchSize));
  }

  #gradientSession(trained: readonly ParameterGroup[]): Promise<Session> {
    const { config, batchSize, microBatchSize, recompute, session } = this.#setting;
    return session(`gradients of ${trained.join(" and ")}`, () =>
      buildGradientStep(config, batchSize, microBatchSize, trained, { recompute, rowsApart: true }),
    );
  }
}

/** table[ids[i]] += scale * rows[i] */
function addRows(table: Float32Array, ids: Int32Array, rows: Float32Array, scale: number): void {
  const width = rows.length / ids.length;
  for (let at = 0; at < ids.length; at++) {
    const [from, to] = [at * width, ids[at]! * width];
    for (let column = 0; column < width; column++) table[to + column]! += scale * rows[from + column]!;
  }
}

class HostGroup implements GroupState {
  readonly weights: HostState;
  readonly moment1: HostState;
  readonly moment2: HostState;
  readonly gradient: HostState;
  /** One for each piece of the states. */
  readonly parts: readonly OptimizerPart[];
  momentSteps = 0;

  constructor(config: ModelConfig, optimizer: OptimizerConfig, name: ParameterGroup, shared: boolean) {
    const specs = groupTensors(config, name);
    const make = (label: string, lane: number, input: (tensor: string) => string, shaped = specs) =>
      new HostState(
        shaped,
        { label, input, output: (tensor: string) => stepOutputs.next(input(tensor)) },
        { lane, shared },
      );
    this.weights = make(name, 0, (tensor) => tensor);
    this.moment1 = make(`${name} moment 1`, 1, stepInputs.moment1);
    this.moment2 = make(`${name} moment 2`, 2, stepInputs.moment2);
    this.gradient = make(`${name} gradient`, 3, stepInputs.gradient, gradientTensors(config, name));
    this.parts = this.weights.pieces.map(({ specs: part }, at) => {
      const arrays = {
        weights: this.weights.pieces[at]!.flat,
        moment1: this.moment1.pieces[at]!.flat,
        moment2: this.moment2.pieces[at]!.flat,
        gradient: this.gradient.pieces[at]!.flat,
      };
      return new OptimizerPart(optimizer, arrays, rangesOf(part));
    });
  }
}

function rangesOf(specs: readonly TensorSpec[]): Range[] {
  const ranges: Range[] = [];
  let start = 0;
  for (const { shape } of specs) {
    const last = ranges.at(-1);
    const end = start + elementCount(shape);
    if (last?.decays === isDecaying(shape)) ranges[ranges.length - 1] = { ...last, end };
    else ranges.push({ start, end, decays: isDecaying(shape) });
    start = end;
  }
  return ranges;
}
