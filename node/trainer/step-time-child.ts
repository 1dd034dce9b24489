// Times training steps of a model on one device, in a process that whoever asked can end at any time: another thread computes,
// and this one hears at once when nobody listens any more. Prints milliseconds a token, or nothing where the device cannot.
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { bodyLength, embeddingLength } from "#model/architecture.ts";
import { createTrainingModel } from "#model/training-model.ts";
import type { Batch } from "#model/types.ts";
import type { TimedStep } from "./step-time.ts";

async function timeSteps({ config, batchSize, ...options }: TimedStep): Promise<number> {
  // Their values do not matter, but for such as slow arithmetic down: numbers too small for a float's exponent.
  const ones = (length: number) => new Float32Array(length).fill(0.02);
  const [body, embedding] = [ones(bodyLength(config)), ones(embeddingLength(config))];
  const model = await createTrainingModel({ ...options, config, batchSize, body, embedding });
  const { sequenceLength, vocabularySize } = config;
  const ids = Int32Array.from({ length: batchSize * sequenceLength }, (_, at) => at % vocabularySize);
  const batch: Batch = { inputs: ids, targets: ids, batchSize, sequenceLength };
  await model.trainStep(batch, 0); // compiles and allocates
  const batches = Array.from({ length: model.stepsPerRun("whole") }, () => batch);
  const startedMs = performance.now();
  const { length } = await model.trainSteps(batches, 1);
  const tokenMs = (performance.now() - startedMs) / (length * ids.length);
  await model.dispose();
  return tokenMs;
}

if (isMainThread) {
  process.stdin.resume().on("close", () => process.kill(process.pid, "SIGKILL"));
  const worker = new Worker(new URL(import.meta.url), { workerData: JSON.parse(process.argv[2]!) });
  worker.on("message", (tokenMs: number) => console.log(tokenMs));
  worker.on("error", (error) => console.error(error.message));
  worker.on("exit", () => process.exit());
} else {
  const { parentPort } = await import("node:worker_threads");
  parentPort!.postMessage(await timeSteps(workerData as TimedStep));
  process.exit();
}
