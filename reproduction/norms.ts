// How large a model's numbers are while it trains: the parameters' norm, and the size of what the last block gives. The
// paper's measure of stability (its figure 2).
import { bodyTensors, EMBEDDING_NAME, embeddingTensors, validateModelConfig } from "#model/architecture.ts";
import { GraphBuilder } from "#model/graph/builder.ts";
import { elementCount } from "#model/graph/ops.ts";
import { mptHidden } from "#model/nn/mpt.ts";
import { emitOnnx } from "#model/onnx/emit.ts";
import { createSession, hostData, hostTensor, type Session } from "#model/runtime/session.ts";
import { stepInputs } from "#model/train-step.ts";
import type { Batch, ModelConfig } from "#model/types.ts";

/** Euclidean norm, summed in float64. */
export function normOf(values: Float32Array): number {
  let squares = 0;
  for (const value of values) squares += value * value;
  return Math.sqrt(squares);
}

const SQUARES = "squares";

/** Root mean square of the residual stream behind the last block, before the last norm. */
export class ActivationProbe {
  readonly batchSize: number;
  readonly #config: ModelConfig;
  readonly #session: Session;

  private constructor(config: ModelConfig, batchSize: number, session: Session) {
    this.batchSize = batchSize;
    this.#config = config;
    this.#session = session;
  }

  static async create(config: ModelConfig, batchSize: number): Promise<ActivationProbe> {
    validateModelConfig(config);
    const b = new GraphBuilder();
    const ids = b.input(stepInputs.inputs, [batchSize * config.sequenceLength], "int32");
    const weights = new Map(
      [...bodyTensors(config), ...embeddingTensors(config)].map(({ name, shape }) => [
        name,
        b.input(name, shape),
      ]),
    );
    const hidden = mptHidden(b, config, batchSize, weights, ids);
    const lastNorm = b.nodes.findLast(({ outputs }) => outputs.includes(hidden))!;
    const graph = b.build({ [SQUARES]: b.sumSquares(lastNorm.inputs[0]!) });
    const session = await createSession(emitOnnx(graph), { device: "cpu", threads: 1 });
    return new ActivationProbe(config, batchSize, session);
  }

  async rootMeanSquare(body: Float32Array, embedding: Float32Array, batch: Batch): Promise<number> {
    const feeds: Record<string, ReturnType<typeof hostTensor>> = {
      [stepInputs.inputs]: hostTensor(batch.inputs, [batch.inputs.length]),
      [EMBEDDING_NAME]: hostTensor(embedding, [this.#config.vocabularySize, this.#config.width]),
    };
    let offset = 0;
    for (const { name, shape } of bodyTensors(this.#config)) {
      const end = offset + elementCount(shape);
      feeds[name] = hostTensor(body.subarray(offset, end), shape);
      offset = end;
    }
    const outputs = await this.#session.run(feeds, { [SQUARES]: null });
    return Math.sqrt(hostData(outputs[SQUARES]!)[0]! / (batch.inputs.length * this.#config.width));
  }

  dispose(): Promise<void> {
    return this.#session.dispose();
  }
}
