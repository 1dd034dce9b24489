// A share computes the gradients of its part of a micro-batch: of all of it, or of one half beside another share on a thread of
// its own. Two shares wait for each other once a step, where the threads of one session do at every operation.
import { type DeviceTensor, hostTensor, type Session } from "../runtime/session.ts";
import type { NamedValues } from "../runtime/state.ts";
import { type ParameterGroup, stepInputs, stepOutputs } from "../train-step.ts";
import type { Precision } from "../types.ts";

/** All that a share reads and writes. Can be sent to another thread, which then shares it. */
export interface ShareMemory {
  /** Token ids of the share. */
  readonly inputs: Int32Array;
  readonly targets: Int32Array;
  readonly weights: readonly NamedValues[];
  /** Written over, or added onto where there is more than one micro-batch. */
  readonly gradients: Readonly<Record<ParameterGroup, readonly NamedValues[]>>;
  /** What the graph gives of single rows of the embedding, [tokens, width]; see GraphOptions.rowsApart. */
  readonly inputRows: Float32Array;
  readonly hidden: Float32Array;
  readonly rowScale: number;
  readonly precision: Precision;
  /** One number: what the gradients are multiplied by. The graph takes it as an input in float16 alone. */
  readonly lossScale: Float32Array;
  /** One number: the share's cross-entropy, summed. */
  readonly nats: Float32Array;
}

type Tensors = Readonly<Record<string, DeviceTensor>>;

export class Share {
  readonly memory: ShareMemory;
  readonly #inputs: Tensors;
  readonly #rows: Tensors;
  readonly #nats: DeviceTensor;

  constructor(memory: ShareMemory) {
    this.memory = memory;
    const tokens = memory.inputs.length;
    const rows = (values: Float32Array) => hostTensor(values, [tokens, values.length / tokens]);
    this.#inputs = {
      [stepInputs.inputs]: hostTensor(memory.inputs, [tokens]),
      [stepInputs.targets]: hostTensor(memory.targets, [tokens]),
      ...tensorsOf(memory.weights, "input"),
      ...(memory.precision === "float16" && { [stepInputs.lossScale]: hostTensor(memory.lossScale, []) }),
    };
    this.#rows = {
      [stepOutputs.inputRows]: rows(memory.inputRows),
      [stepOutputs.hidden]: rows(memory.hidden),
    };
    this.#nats = hostTensor(memory.nats, []);
  }

  /** Runs a gradient step's session on the ids that are there. `addsUp`: onto the gradients that are there. */
  async run(session: Session, trained: readonly ParameterGroup[], addsUp: boolean): Promise<void> {
    const gradients = trained.flatMap((group) => this.memory.gradients[group]);
    const trainsEmbedding = trained.includes("embedding");
    await session.run(
      { ...this.#inputs, ...(addsUp && tensorsOf(gradients, "input")) },
      {
        ...tensorsOf(gradients, "output"),
        ...(trainsEmbedding && this.#rows),
        [stepOutputs.nats]: this.#nats,
      },
    );
    if (trainsEmbedding) this.#addRows();
  }

  /** Sets the gradients to zero, to be added onto. */
  clear(trained: readonly ParameterGroup[]): void {
    for (const group of trained) for (const { values } of this.memory.gradients[group]) values.fill(0);
  }

  /** Always in the order of the tokens: where an id repeats, sums depend on it. */
  #addRows(): void {
    const { inputs, targets, inputRows, hidden, rowScale, lossScale, gradients } = this.memory;
    const [{ values }] = gradients.embedding as readonly [NamedValues];
    addRows(values, inputs, inputRows, 1);
    addRows(values, targets, hidden, -rowScale * lossScale[0]!);
  }
}

function tensorsOf(named: readonly NamedValues[], side: "input" | "output"): Tensors {
  return Object.fromEntries(named.map((one) => [one[side], hostTensor(one.values, one.shape)]));
}

/** table[ids[i]] += scale * rows[i] */
function addRows(table: Float32Array, ids: Int32Array, rows: Float32Array, scale: number): void {
  const width = rows.length / ids.length;
  for (let at = 0; at < ids.length; at++) {
    const [from, to] = [at * width, ids[at]! * width];
    for (let column = 0; column < width; column++) table[to + column]! += scale * rows[from + column]!;
  }
}
