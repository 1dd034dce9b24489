// Several trainings of one model on the same batches, each by other code: ours, and programs that speak the protocol at the
// head of bench/curves-pytorch.py. All train at once, from one evaluation to the next. Owns no arithmetic and no files.
import { setImmediate as nextTurn } from "node:timers/promises";
import { evaluateBitsPerByte, bitsPerByte as toBitsPerByte } from "#model/eval/bits-per-byte.ts";
import { createTrainingModel, type TrainingModelOptions } from "#model/training-model.ts";
import type { StepResult } from "#model/types.ts";
import type { CurvesData } from "./curves-data.ts";
import { Program } from "./program.ts";

export interface Curve {
  /** Short, and another one for each training. */
  readonly label: string;
  /** What computed it, in full. */
  readonly name: string;
  /** Of each step: mean nats per token, and the global norm before clipping. */
  readonly losses: number[];
  readonly gradientNorms: number[];
  readonly learningRates: number[];
  readonly evaluations: Evaluation[];
}

export interface Evaluation {
  /** Steps taken before. */
  readonly step: number;
  /** Held-out, by corpus. */
  readonly bitsPerByte: Readonly<Record<string, number>>;
}

/** One that trains. */
export interface Contestant {
  readonly label: string;
  readonly name: string;
  /** Takes the next steps. */
  train(steps: number): Promise<StepResult[]>;
  /** Bits per byte by corpus; moves nothing. */
  evaluate(): Promise<Record<string, number>>;
  end(): Promise<void>;
}

export interface ContestOptions {
  readonly steps: number;
  readonly evaluateEvery: number;
  /** When everyone has come there. */
  readonly onEvaluation: (curves: readonly Curve[]) => Promise<void>;
}

/** Ends nobody: that is the caller's. */
export async function trainBesideEachOther(
  contestants: readonly Contestant[],
  { steps, evaluateEvery, onEvaluation }: ContestOptions,
): Promise<Curve[]> {
  const curves = contestants.map(
    ({ label, name }): Curve => ({
      ...{ label, name },
      ...{ losses: [], gradientNorms: [], learningRates: [], evaluations: [] },
    }),
  );
  const takeTurn = async (contestant: Contestant, curve: Curve, count: number, step: number) => {
    for (const result of count > 0 ? await contestant.train(count) : []) {
      curve.losses.push(result.loss);
      curve.gradientNorms.push(result.gradientNorm);
      curve.learningRates.push(result.learningRate);
    }
    curve.evaluations.push({ step, bitsPerByte: await contestant.evaluate() });
  };
  for (let done = 0, next = 0; ; next = Math.min(steps, done + evaluateEvery)) {
    await Promise.all(contestants.map((each, at) => takeTurn(each, curves[at]!, next - done, next)));
    done = next;
    await onEvaluation(curves);
    if (done === steps) return curves;
  }
}

export async function startOurs(
  label: string,
  options: TrainingModelOptions,
  { training, heldOut, byteLengths }: CurvesData,
): Promise<Contestant> {
  const model = await createTrainingModel(options);
  const { threads } = options;
  let done = 0;
  return {
    label,
    name: `glossa, ${threads} thread${threads === 1 ? "" : "s"}`,
    async train(steps) {
      const results: StepResult[] = [];
      for (const end = done + steps; done < end; done++) {
        results.push(await model.trainStep(training[done]!, done));
        // A step blocks this thread, and programs wait for their next task.
        await nextTurn();
      }
      return results;
    },
    async evaluate() {
      const values: Record<string, number> = {};
      for (const { name, batches } of heldOut) {
        values[name] = (await evaluateBitsPerByte(model, batches, byteLengths)).bitsPerByte;
      }
      return values;
    },
    end: () => model.dispose(),
  };
}

/** Rejects with what the program said last where it does not start. */
export async function startProgram(
  command: string,
  settingFile: string,
  { heldOut }: CurvesData,
): Promise<Contestant> {
  const program = new Program(command, ["--setting", settingFile]);
  try {
    const { name } = await program.ready;
    return {
      // "PyTorch 2.15.0+cu132, fused attention …"
      label: name.split(",")[0]!.replace(/\+\S+/, ""),
      name,
      async train(steps) {
        return ((await program.ask(`train ${steps}`)) as { steps: StepResult[] }).steps;
      },
      async evaluate() {
        const { nats } = (await program.ask("evaluate")) as { nats: number[] };
        return Object.fromEntries(
          heldOut.map((corpus, at) => [corpus.name, toBitsPerByte(nats[at]!, corpus.bytes)]),
        );
      },
      end: async () => program.end(),
    };
  } catch (error) {
    program.end();
    throw error;
  }
}
