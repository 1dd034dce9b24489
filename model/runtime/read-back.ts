// Brings tensors that live on a webgpu device back to the host. onnxruntime-node 1.30 aborts the process when such a
// tensor is asked for its data, so a graph that only passes its input through carries it home.
import { GraphBuilder } from "../graph/builder.ts";
import { emitOnnx } from "../onnx/emit.ts";
import { createSession, type DeviceTensor, hostData, isOnHost, type Session } from "./session.ts";
import type { TransferMeter } from "./transfer-meter.ts";

/** Reads tensors by shape; each shape's session is compiled once. */
export class ReadBack {
  readonly #sessions = new Map<string, Promise<Session>>();
  readonly #meter: TransferMeter | undefined;

  constructor(meter?: TransferMeter) {
    this.#meter = meter;
  }

  /** Copies of the tensors' data, one after the other. */
  async read(tensors: readonly DeviceTensor[]): Promise<Float32Array> {
    const flat = new Float32Array(tensors.reduce((sum, tensor) => sum + tensor.size, 0));
    let start = 0;
    for (const tensor of tensors) {
      flat.set(hostData(isOnHost(tensor) ? tensor : await this.#carry(tensor)), start);
      start += tensor.size;
    }
    return flat;
  }

  async dispose(): Promise<void> {
    for (const session of this.#sessions.values()) await (await session).dispose();
    this.#sessions.clear();
  }

  async #carry(tensor: DeviceTensor): Promise<DeviceTensor> {
    const key = tensor.dims.join(",");
    let session = this.#sessions.get(key);
    if (session === undefined) {
      const b = new GraphBuilder();
      const graph = b.build({ host: b.input("device", tensor.dims) });
      session = createSession(emitOnnx(graph), { device: "webgpu" }, this.#meter);
      this.#sessions.set(key, session);
    }
    const { host } = await (await session).run({ device: tensor }, { host: null });
    return host!;
  }
}
