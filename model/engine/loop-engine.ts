// Steps on a device whose runtime takes all inputs from host memory and returns all outputs there (cuda): a loop within one run
// takes many steps, so that parameters and moments cross once for all of them. The state lies in host memory twice: a run reads
// one and writes the other, and which of them counts is decided when its losses are seen.
import { elementCount } from "../graph/ops.ts";
import { type DeviceTensor, hostIds, hostTensor, type Session, scalarTensor } from "../runtime/session.ts";
import { PairedState } from "../runtime/state.ts";
import {
  buildStepLoop,
  groupTensors,
  type ParameterGroup,
  STEPS,
  stepInputs,
  stepOutputs,
  ZERO,
} from "../train-step.ts";
import { RunLength } from "./run-length.ts";
import {
  type EngineSetting,
  type EngineStep,
  type GroupState,
  isSound,
  merged,
  type StepEngine,
  type StepOutcome,
} from "./step-engine.ts";

interface LoopGroup extends GroupState {
  readonly weights: PairedState;
  readonly moment1: PairedState;
  readonly moment2: PairedState;
}

export class LoopEngine implements StepEngine {
  readonly #setting: EngineSetting;
  readonly #given: number | undefined;
  /** By what is trained: steps of the embedding alone move less, and are shorter. */
  readonly #lengths = new Map<string, RunLength>();
  readonly groups: Readonly<Record<ParameterGroup, LoopGroup>>;

  constructor(setting: EngineSetting, stepsPerRun?: number) {
    this.#setting = setting;
    this.#given = stepsPerRun;
    this.groups = { body: this.#makeGroup("body"), embedding: this.#makeGroup("embedding") };
  }

  stepsPerRun(trained: readonly ParameterGroup[]): number {
    return this.#lengthOf(trained).steps;
  }

  async prepare(trained: readonly ParameterGroup[]): Promise<void> {
    await this.#session(trained);
  }

  /** Where a step is not sound, those before it are taken once more, and it is the last of the outcomes. */
  async steps(steps: readonly EngineStep[]): Promise<StepOutcome[]> {
    const startedMs = performance.now();
    const outcomes = await this.#run(steps);
    this.#lengthOf(steps[0]!.trained).add(steps.length, performance.now() - startedMs);
    const sound = outcomes.findIndex((outcome) => !isSound(outcome));
    if (sound > 0) await this.#run(steps.slice(0, sound));
    const taken = sound === -1 ? steps.length : sound;
    const { trained } = steps[0]!;
    for (const name of taken === 0 ? [] : trained) {
      const group = this.groups[name];
      for (const state of [group.weights, group.moment1, group.moment2]) state.swap();
      group.momentSteps += taken;
    }
    return outcomes.slice(0, taken + 1);
  }

  async dispose(): Promise<void> {}

  /** Writes the state after these steps beside the one that counts. */
  async #run(steps: readonly EngineStep[]): Promise<StepOutcome[]> {
    const { batchSize, microBatchSize, config, precision } = this.#setting;
    const { trained, lossScale } = steps[0]!;
    const parts = batchSize / microBatchSize;
    const states = trained.flatMap((name) => {
      const { weights, moment1, moment2 } = this.groups[name];
      return [weights, moment1, moment2];
    });
    const weights = merged(Object.values(this.groups), (group) => group.weights.feeds());
    const numbers = (count: number) => new Float32Array(count).fill(Number.NaN);
    const [losses, norms] = [numbers(steps.length * parts), numbers(steps.length)];
    const shape = parts > 1 ? [steps.length, parts] : [steps.length];
    const session = await this.#session(trained);
    await session.run(
      {
        ...weights,
        ...merged(states, (state) => state.feeds()),
        ...this.#feedsOf(steps),
        ...(parts > 1 && { [ZERO]: scalarTensor(0) }),
        ...(precision === "float16" && { [stepInputs.lossScale]: scalarTensor(lossScale) }),
      },
      {
        [parts > 1 ? stepOutputs.nats : stepOutputs.loss]: hostTensor(losses, shape),
        [stepOutputs.gradientNorm]: hostTensor(norms, [steps.length]),
        ...merged(states, (state) => state.fetches()),
      },
    );
    const tokens = batchSize * config.sequenceLength;
    return steps.map((_, at) => {
      const nats = losses.subarray(at * parts, (at + 1) * parts).reduce((sum, value) => sum + value, 0);
      return { loss: parts > 1 ? nats / tokens : losses[at]!, gradientNorm: norms[at]! };
    });
  }

  /** Of each step a row: its tokens, micro-batch by micro-batch, and its scalars. */
  #feedsOf(steps: readonly EngineStep[]): Record<string, DeviceTensor> {
    const { microBatches, trained } = steps[0]!;
    const { beta1, beta2 } = this.#setting.optimizer;
    const feeds: Record<string, DeviceTensor> = {
      [STEPS]: hostTensor(BigInt64Array.of(BigInt(steps.length)), []),
    };
    for (const name of [stepInputs.inputs, stepInputs.targets]) {
      const ids = steps.flatMap((step) => step.microBatches.map((tokens) => hostIds(tokens[name]!)));
      const [{ length }] = ids as [Int32Array];
      const shape = [steps.length, ...(microBatches.length > 1 ? [microBatches.length] : []), length];
      const rows = new Int32Array(elementCount(shape));
      for (const [at, row] of ids.entries()) rows.set(row, at * length);
      feeds[name] = hostTensor(rows, shape);
    }
    const perStep = (value: (step: EngineStep, at: number) => number) =>
      hostTensor(Float32Array.from(steps, value), [steps.length]);
    for (const name of trained) {
      const { momentSteps } = this.groups[name];
      feeds[stepInputs.learningRate(name)] = perStep(({ rates }) => rates[name]);
      feeds[stepInputs.biasCorrection1(name)] = perStep((_, at) => 1 - beta1 ** (momentSteps + at + 1));
      feeds[stepInputs.biasCorrection2(name)] = perStep((_, at) => 1 - beta2 ** (momentSteps + at + 1));
    }
    return feeds;
  }

  #lengthOf(trained: readonly ParameterGroup[]): RunLength {
    const length = this.#lengths.get(`${trained}`) ?? new RunLength(this.#given);
    this.#lengths.set(`${trained}`, length);
    return length;
  }

  #session(trained: readonly ParameterGroup[]): Promise<Session> {
    const { config, optimizer, recompute, precision, session } = this.#setting;
    return session(`steps of ${trained.join(" and ")}`, () =>
      buildStepLoop(config, optimizer, this.#setting, trained, { recompute, precision }),
    );
  }

  #makeGroup(group: ParameterGroup): LoopGroup {
    const specs = groupTensors(this.#setting.config, group);
    const make = (label: string, input: (tensor: string) => string) =>
      new PairedState(specs, { label, input, output: (tensor) => stepOutputs.next(input(tensor)) });
    return {
      weights: make(group, (tensor) => tensor),
      moment1: make(`${group} moment 1`, stepInputs.moment1),
      moment2: make(`${group} moment 2`, stepInputs.moment2),
      momentSteps: 0,
    };
  }
}
