// Whether a device multiplies in float16: not every graphics card or driver does, and onnxruntime says so only when it runs.
import { DeviceUnavailableError, PrecisionUnavailableError } from "../errors.ts";
import { GraphBuilder } from "../graph/builder.ts";
import { emissionFor, emitOnnx } from "../onnx/emit.ts";
import type { Device } from "../types.ts";
import { createSession, hostData, hostTensor } from "./session.ts";

const SIZE = 8;

/** @throws PrecisionUnavailableError, DeviceUnavailableError */
export async function requireHalf(device: Device): Promise<void> {
  const b = new GraphBuilder();
  const x = b.cast(b.input("x", [SIZE, SIZE]), "half");
  const bytes = emitOnnx(b.build({ y: b.cast(b.matMul(x, x), "float") }), emissionFor(device));
  let product: number | undefined;
  try {
    const session = await createSession(bytes, { device });
    try {
      const ones = hostTensor(new Float32Array(SIZE * SIZE).fill(1), [SIZE, SIZE]);
      product = hostData((await session.run({ x: ones }, { y: null })).y!)[0];
    } finally {
      await session.dispose();
    }
  } catch (error) {
    throw error instanceof DeviceUnavailableError
      ? error
      : new PrecisionUnavailableError(device, "float16", error);
  }
  if (product !== SIZE) throw new PrecisionUnavailableError(device, "float16", "it multiplies wrongly");
}
