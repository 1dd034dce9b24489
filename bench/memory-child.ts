// One measurement of bench/memory.ts, in a process of its own: trains a few steps and prints the peak of its memory.

import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { ANY_OPTIMIZER } from "#model/optim/any-optimizer.ts";
import { RandomStream } from "#model/random.ts";
import { createTrainingModel } from "#model/training-model.ts";
import type { Batch } from "#model/types.ts";
import type { MemorySetting } from "./memory.ts";

const setting: MemorySetting = JSON.parse(process.argv[2]!);
const { config, plan, threads, steps } = setting;
const { batchSize } = plan;
const model = await createTrainingModel({
  config,
  optimizer: ANY_OPTIMIZER,
  device: "cpu",
  ...plan,
  ...(threads !== undefined && { threads }),
  body: genesisBody(config, "memory"),
  embedding: initialEmbedding(config, "memory"),
});
const stream = RandomStream.fromSeed("memory/tokens");
const ids = () =>
  Int32Array.from(
    { length: batchSize * config.sequenceLength },
    () => stream.nextUint32() % config.vocabularySize,
  );
const batch: Batch = { inputs: ids(), targets: ids(), batchSize, sequenceLength: config.sequenceLength };
let bestMs = Number.POSITIVE_INFINITY;
for (let step = 0; step < steps; step++) {
  const startedMs = performance.now();
  await model.trainStep(batch, step);
  bestMs = Math.min(bestMs, performance.now() - startedMs);
}
await model.evaluate(batch);
// Node gives the peak in kibibytes.
const peakBytes = process.resourceUsage().maxRSS * 1024;
await model.dispose();
console.log(JSON.stringify({ peakBytes, bestMs }));
