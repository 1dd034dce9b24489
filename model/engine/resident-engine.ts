// Steps on a device that keeps what it computes (webgpu): one graph does it all, or, for a batch in parts, two. The next
// parameters and moments are outputs, taken or dropped as a whole.
import { ReadBack } from "../runtime/read-back.ts";
import { type DeviceTensor, hostData, type Session, scalarTensor } from "../runtime/session.ts";
import { ResidentState } from "../runtime/state.ts";
import {
  buildGradientStep,
  buildTrainStep,
  buildUpdateStep,
  buildZeroGradients,
  groupTensors,
  type ParameterGroup,
  stepInputs,
  stepOutputs,
  ZERO,
} from "../train-step.ts";
import {
  type EngineSetting,
  type EngineStep,
  type GroupState,
  isSound,
  merged,
  oneByOne,
  type StepEngine,
  type StepOutcome,
  type Tensors,
} from "./step-engine.ts";

interface ResidentGroup extends GroupState {
  readonly weights: ResidentState;
  readonly moment1: ResidentState;
  readonly moment2: ResidentState;
  /** Sums of gradients over micro-batches; absent where a batch is computed at once. */
  readonly gradient: ResidentState | undefined;
}

/** What a step computes before it is decided whether it happens. */
interface Computed extends StepOutcome {
  readonly outputs: Tensors;
}

export class ResidentEngine implements StepEngine {
  readonly #setting: EngineSetting;
  readonly #readBack: ReadBack;
  readonly groups: Readonly<Record<ParameterGroup, ResidentGroup>>;

  constructor(setting: EngineSetting) {
    this.#setting = setting;
    this.#readBack = new ReadBack(setting.meter);
    this.groups = { body: this.#makeGroup("body"), embedding: this.#makeGroup("embedding") };
  }

  stepsPerRun(): number {
    return 1;
  }

  async prepare(trained: readonly ParameterGroup[]): Promise<void> {
    await (this.#inOnePass ? this.#trainSession(trained) : this.#gradientSession(trained));
  }

  steps(steps: readonly EngineStep[]): Promise<StepOutcome[]> {
    return oneByOne(steps, (step) => this.#step(step));
  }

  async #step(step: EngineStep): Promise<StepOutcome> {
    const computed = await (this.#inOnePass ? this.#computeAtOnce(step) : this.#computeInParts(step));
    const { loss, gradientNorm, outputs } = computed;
    for (const name of step.trained) {
      const group = this.groups[name];
      for (const state of [group.weights, group.moment1, group.moment2]) {
        if (isSound(computed)) state.commit(outputs);
        else state.discard(outputs);
      }
      if (isSound(computed)) group.momentSteps++;
    }
    return { loss, gradientNorm };
  }

  async dispose(): Promise<void> {
    for (const { weights, moment1, moment2, gradient } of Object.values(this.groups)) {
      for (const state of [weights, moment1, moment2, gradient]) state?.dispose();
    }
    await this.#readBack.dispose();
  }

  get #inOnePass(): boolean {
    return this.#setting.microBatchSize === this.#setting.batchSize;
  }

  async #computeAtOnce(step: EngineStep): Promise<Computed> {
    const { microBatches, trained } = step;
    const { feeds, fetches } = this.#updateOf(step);
    const session = await this.#trainSession(trained);
    const outputs = await session.run(
      { ...microBatches[0]!, ...this.#weightFeeds(), ...feeds },
      { ...fetches, [stepOutputs.loss]: null },
    );
    const loss = scalarOf(outputs, stepOutputs.loss);
    return { loss, gradientNorm: scalarOf(outputs, stepOutputs.gradientNorm), outputs };
  }

  /** Sums the gradients of all micro-batches, then clips and applies the sum. */
  async #computeInParts(step: EngineStep): Promise<Computed> {
    const { microBatches, trained, signal } = step;
    const { config, optimizer, batchSize, precision, session } = this.#setting;
    const sums = trained.map((name) => this.groups[name].gradient!);
    const zeros = await session(`zeros for ${trained.join(" and ")}`, () =>
      buildZeroGradients(config, trained),
    );
    const cleared = await zeros.run(
      { [ZERO]: scalarTensor(0) },
      merged(sums, (sum) => sum.fetches()),
    );
    for (const sum of sums) sum.commit(cleared);
    const addition = await this.#gradientSession(trained);
    let nats = 0;
    for (const tokens of microBatches) {
      signal?.throwIfAborted();
      const outputs = await addition.run(
        {
          ...tokens,
          ...this.#weightFeeds(),
          ...merged(sums, (sum) => sum.feeds()),
          ...this.#lossScaleOf(step),
        },
        { ...merged(sums, (sum) => sum.fetches()), [stepOutputs.nats]: null },
      );
      for (const sum of sums) sum.commit(outputs);
      nats += scalarOf(outputs, stepOutputs.nats);
    }
    const { feeds, fetches } = this.#updateOf(step);
    const update = await session(`update ${trained.join(" and ")}`, () =>
      buildUpdateStep(config, optimizer, trained, { precision }),
    );
    const weights = merged(trained, (name) => this.groups[name].weights.feeds());
    const outputs = await update.run(
      { ...weights, ...merged(sums, (sum) => sum.feeds()), ...feeds },
      fetches,
    );
    const loss = nats / (batchSize * config.sequenceLength);
    return { loss, gradientNorm: scalarOf(outputs, stepOutputs.gradientNorm), outputs };
  }

  /** What a step needs besides tokens and weights, and what it gives besides its loss. */
  #updateOf(step: EngineStep) {
    const { trained, rates } = step;
    const { beta1, beta2 } = this.#setting.optimizer;
    const feeds: Record<string, DeviceTensor> = { ...this.#lossScaleOf(step) };
    const fetches: Record<string, DeviceTensor | null> = { [stepOutputs.gradientNorm]: null };
    for (const name of trained) {
      const { weights, moment1, moment2, momentSteps } = this.groups[name];
      feeds[stepInputs.learningRate(name)] = scalarTensor(rates[name]);
      feeds[stepInputs.biasCorrection1(name)] = scalarTensor(1 - beta1 ** (momentSteps + 1));
      feeds[stepInputs.biasCorrection2(name)] = scalarTensor(1 - beta2 ** (momentSteps + 1));
      Object.assign(feeds, moment1.feeds(), moment2.feeds());
      Object.assign(fetches, weights.fetches(), moment1.fetches(), moment2.fetches());
    }
    return { feeds, fetches };
  }

  #lossScaleOf({ lossScale }: EngineStep): Tensors {
    return this.#setting.precision === "float16" ? { [stepInputs.lossScale]: scalarTensor(lossScale) } : {};
  }

  #weightFeeds(): Tensors {
    return merged(Object.values(this.groups), ({ weights }) => weights.feeds());
  }

  #trainSession(trained: readonly ParameterGroup[]): Promise<Session> {
    const { config, optimizer, batchSize, recompute, precision, session } = this.#setting;
    return session(`train ${trained.join(" and ")}`, () =>
      buildTrainStep(config, optimizer, batchSize, trained, { recompute, precision }),
    );
  }

  #gradientSession(trained: readonly ParameterGroup[]): Promise<Session> {
    const { config, batchSize, microBatchSize, recompute, precision, session } = this.#setting;
    return session(`gradients of ${trained.join(" and ")}`, () =>
      buildGradientStep(config, batchSize, microBatchSize, trained, { recompute, precision }),
    );
  }

  #makeGroup(group: ParameterGroup): ResidentGroup {
    const specs = groupTensors(this.#setting.config, group);
    const make = (label: string, input: (tensor: string) => string) => {
      const names = { label, input, output: (tensor: string) => stepOutputs.next(input(tensor)) };
      return new ResidentState(specs, names, this.#readBack);
    };
    return {
      weights: make(group, (tensor) => tensor),
      moment1: make(`${group} moment 1`, stepInputs.moment1),
      moment2: make(`${group} moment 2`, stepInputs.moment2),
      gradient: this.#inOnePass ? undefined : make(`${group} gradient`, stepInputs.gradient),
      momentSteps: 0,
    };
  }
}

function scalarOf(outputs: Tensors, name: string): number {
  return hostData(outputs[name]!)[0]!;
}
