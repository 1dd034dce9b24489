// One probe of a device, in a process of its own: runs one matrix product, then trains a small model for a few steps, and prints
// how it went as JSON. What a driver does to this process it does to nobody else.
import { bodyLength, embeddingLength } from "#model/architecture.ts";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { GraphBuilder } from "#model/graph/builder.ts";
import { emitOnnx } from "#model/onnx/emit.ts";
import { ANY_OPTIMIZER } from "#model/optim/any-optimizer.ts";
import { requireHalf } from "#model/runtime/require-half.ts";
import { createSession, hostData, hostTensor } from "#model/runtime/session.ts";
import { createTrainingModel } from "#model/training-model.ts";
import type { Device } from "#model/types.ts";
import { exampleBatch } from "../trainer/device.ts";
import type { ProbedSteps } from "./probe.ts";

const CONFIG = { blocks: 1, width: 32, heads: 2, sequenceLength: 16, vocabularySize: 64 };
const BATCH_SIZE = 2;
/** The first brings the state to the device. */
const STEPS = 8;

/** Throws where the device cannot train. */
async function probeSteps(device: Device): Promise<ProbedSteps> {
  const model = await createTrainingModel({
    ...{ config: CONFIG, optimizer: ANY_OPTIMIZER, batchSize: BATCH_SIZE, device },
    // Given, because timing steps as short as these says nothing.
    ...(device === "cuda" && { stepsPerRun: STEPS }),
    body: genesisBody(CONFIG, "doctor"),
    embedding: initialEmbedding(CONFIG, "doctor"),
  });
  try {
    const batches = Array.from({ length: STEPS }, () => exampleBatch(CONFIG, BATCH_SIZE));
    await model.trainStep(batches[0]!, 0);
    const before = model.transfers();
    await model.trainSteps(batches, 1);
    const after = model.transfers();
    return {
      toDeviceBytesPerStep: (after.toDeviceBytes - before.toDeviceBytes) / STEPS,
      fromDeviceBytesPerStep: (after.fromDeviceBytes - before.fromDeviceBytes) / STEPS,
      stateBytes: 3 * 4 * (bodyLength(CONFIG) + embeddingLength(CONFIG)),
      float16: await requireHalf(device).then(
        () => true,
        () => false,
      ),
    };
  } finally {
    await model.dispose();
  }
}

const device = process.argv[2] as Device;
const b = new GraphBuilder();
const x = b.input("x", [2, 2]);
const bytes = emitOnnx(b.build({ y: b.matMul(x, x) }));
try {
  const session = await createSession(bytes, { device });
  const { y } = await session.run({ x: hostTensor(Float32Array.of(1, 2, 3, 4), [2, 2]) }, { y: null });
  const right = hostData(y!).join() === "7,10,15,22";
  await session.dispose();
  console.log(
    JSON.stringify(
      right
        ? { works: true, steps: await probeSteps(device) }
        : { works: false, reason: "it multiplies wrongly" },
    ),
  );
} catch (error) {
  // The reason alone: which remedy applies is for the doctor to say, who looks at the machine.
  const { message } = error as Error;
  const reason = /is not available \((.*)\); /.exec(message)?.[1] ?? message;
  console.log(JSON.stringify({ works: false, reason }));
}
