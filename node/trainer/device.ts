// Which device trains: the one that was asked for, or the fastest that works. A device that is not there is an answer
// under `auto` and an error otherwise.
import { DeviceUnavailableError } from "#model/errors.ts";
import { createTrainingModel, type TrainingModelOptions } from "#model/training-model.ts";
import type { Batch, Device, TrainingModel } from "#model/types.ts";
import { mayHaveGraphics } from "./graphics-hardware.ts";

/** Tried in this order; a later one has to be faster to win. */
const candidates = (): readonly Device[] => (mayHaveGraphics() ? ["cpu", "cuda", "webgpu"] : ["cpu"]);

interface Placed {
  readonly model: TrainingModel;
  readonly device: Device;
}

/** @throws DeviceUnavailableError where `device` names one that is not there */
export async function createOnDevice(
  device: Device | "auto",
  options: Omit<TrainingModelOptions, "device">,
): Promise<Placed> {
  if (device !== "auto") return { model: await createTrainingModel({ ...options, device }), device };
  let fastest: (Placed & { readonly passMs: number }) | undefined;
  for (const candidate of candidates()) {
    const model = await createIfThere(candidate, options);
    if (model === undefined) continue;
    const passMs = await timePass(model, options.microBatchSize ?? options.batchSize);
    if (fastest === undefined || passMs < fastest.passMs) {
      await fastest?.model.dispose();
      fastest = { model, device: candidate, passMs };
    } else {
      await model.dispose();
    }
  }
  return fastest!;
}

async function createIfThere(
  device: Device,
  options: Omit<TrainingModelOptions, "device">,
): Promise<TrainingModel | undefined> {
  try {
    return await createTrainingModel({ ...options, device });
  } catch (error) {
    if (error instanceof DeviceUnavailableError) return undefined;
    throw error;
  }
}

/** Milliseconds of a forward pass, the compiling first one left out. Nothing of the model moves. */
async function timePass(model: TrainingModel, batchSize: number): Promise<number> {
  const { sequenceLength, vocabularySize } = model.config;
  const ids = Int32Array.from({ length: batchSize * sequenceLength }, (_, index) => index % vocabularySize);
  const batch: Batch = { inputs: ids, targets: ids, batchSize, sequenceLength };
  await model.evaluate(batch);
  const startedMs = performance.now();
  await model.evaluate(batch);
  return performance.now() - startedMs;
}
