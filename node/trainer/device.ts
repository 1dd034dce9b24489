// Which device computes: the one that was asked for, or the fastest that works. A device that is not there is an answer
// under `auto` and an error otherwise.
import { DeviceUnavailableError, PrecisionUnavailableError } from "#model/errors.ts";
import { createTrainingModel, type TrainingModelOptions } from "#model/training-model.ts";
import type { Batch, Device, ModelConfig, TrainingModel } from "#model/types.ts";
import { fastDevices } from "./graphics-hardware.ts";
import { timeStep } from "./step-time.ts";

/** Tried in this order; a later one has to be faster to win. */
const candidates = (): readonly Device[] => ["cpu", ...fastDevices()];

/** Enough for any device to show what it can, and little enough for the cpu to show it soon. */
const TIMED_TOKENS = 4096;

interface Disposable {
  dispose(): Promise<void>;
}

/** What computes, and where. */
export interface Placed<Model> {
  readonly model: Model;
  readonly device: Device;
}

/**
 * Makes a model where `device` says; under `auto` on each device that is there, and keeps the one whose `pass` is fastest.
 * @throws DeviceUnavailableError where `device` names one that is not there
 */
export async function placeOnDevice<Model extends Disposable>(
  device: Device | "auto",
  create: (device: Device) => Promise<Model>,
  pass: (model: Model) => Promise<unknown>,
  /** What a pass does, in any unit, where models on different devices do not do the same. */
  workOf: (model: Model) => number = () => 1,
): Promise<Placed<Model>> {
  if (device !== "auto") return { model: await create(device), device };
  const devices = candidates();
  if (devices.length === 1) return { model: await create(devices[0]!), device: devices[0]! };
  let fastest: (Placed<Model> & { readonly passMs: number }) | undefined;
  for (const candidate of devices) {
    const model = await unlessUnavailable(create(candidate));
    if (model === undefined) continue;
    await pass(model); // compiles and allocates
    const startedMs = performance.now();
    await pass(model);
    const passMs = (performance.now() - startedMs) / workOf(model);
    if (fastest === undefined || passMs < fastest.passMs) {
      await fastest?.model.dispose();
      fastest = { model, device: candidate, passMs };
    } else {
      await model.dispose();
    }
  }
  return fastest!;
}

/**
 * A model in training where `device` says; under `auto` where a training step takes the least time per token, by trial.
 * @throws DeviceUnavailableError where `device` names one that is not there
 */
export async function createOnDevice(
  device: Device | "auto",
  options: Omit<TrainingModelOptions, "device">,
  devices: readonly Device[] = candidates(),
): Promise<Placed<TrainingModel>> {
  const create = async (place: Device) => ({
    model: await createTrainingModel({ ...options, device: place }),
    device: place,
  });
  if (device !== "auto") return create(device);
  for (const place of await fastestFirst(devices, options)) {
    const placed = await unlessUnavailable(create(place));
    if (placed !== undefined) return placed;
  }
  return create("cpu");
}

/** Those that took a step in good time, the fastest first; one that is alone needs no trial. */
async function fastestFirst(
  devices: readonly Device[],
  options: Omit<TrainingModelOptions, "device">,
): Promise<readonly Device[]> {
  if (devices.length < 2) return devices;
  const { config, batchSize, microBatchSize = batchSize } = options;
  const sequences = Math.max(1, Math.floor(TIMED_TOKENS / config.sequenceLength));
  const { optimizer, recompute, precision, threads } = options;
  const timed: { readonly device: Device; readonly tokenMs: number }[] = [];
  for (const device of devices) {
    const tokenMs = await timeStep({
      ...{ config, optimizer, recompute, precision, device, batchSize: Math.min(microBatchSize, sequences) },
      ...(threads !== undefined && { threads }),
    });
    if (tokenMs !== undefined) timed.push({ device, tokenMs });
  }
  return timed.sort((a, b) => a.tokenMs - b.tokenMs).map(({ device }) => device);
}

/** Some tokens, to time a pass with. */
export function exampleBatch(
  { sequenceLength, vocabularySize }: Pick<ModelConfig, "sequenceLength" | "vocabularySize">,
  batchSize: number,
): Batch {
  const ids = Int32Array.from({ length: batchSize * sequenceLength }, (_, index) => index % vocabularySize);
  return { inputs: ids, targets: ids, batchSize, sequenceLength };
}

async function unlessUnavailable<Model>(creating: Promise<Model>): Promise<Model | undefined> {
  try {
    return await creating;
  } catch (error) {
    if (error instanceof DeviceUnavailableError || error instanceof PrecisionUnavailableError) {
      return undefined;
    }
    throw error;
  }
}
