// The only file that knows onnxruntime-node: sessions from ONNX bytes, tensors in and out, devices that are not there.
// `run` blocks the calling thread for its whole length, so sessions belong in a worker.
import { env, InferenceSession, Tensor } from "onnxruntime-node";
import { DeviceUnavailableError } from "../errors.ts";
import { GraphBuilder } from "../graph/builder.ts";
import type { Shape } from "../graph/ops.ts";
import { emitOnnx } from "../onnx/emit.ts";
import type { Device } from "../types.ts";
import type { TransferMeter } from "./transfer-meter.ts";

/** A tensor in host memory or on a device. */
export type DeviceTensor = Tensor;

export interface SessionOptions {
  readonly device: Device;
  /** Threads within one operation; the default is one per physical core. */
  readonly threads?: number;
  /**
   * Whether threads wait for their next operation by spinning (default: no). Measured on 2 cores, a step of 2 blocks of
   * width 64: on a quiet machine 12 ms with and 20 ms without, beside other busy processes 50 ms with and 22 ms without;
   * with 4 blocks of width 256 a quiet machine shows no difference.
   */
  readonly spinning?: boolean;
  /**
   * Outputs are only ever written into tensors that are given for them, all in host memory. The bytes then come from
   * emitOnnx with `emptySequence: IN_PLACE_ONLY`. Saves a copy of each output, see `runInPlace`.
   */
  readonly inPlaceOnly?: boolean;
  /** Outputs that stay on the device (webgpu only); they can be fed to a later run, and must be disposed of. */
  readonly residentOutputs?: readonly string[];
  /** Fails where the device lacks an operation, which would else run on the cpu, its values there and back. Default false. */
  readonly deviceOnly?: boolean;
  /** Writes a Chrome trace of every node to `<prefix>_<date>.json` when the session is disposed of. */
  readonly profilePrefix?: string;
}

export interface Session {
  /**
   * Runs the graph. `fetches` names the outputs wanted: a tensor of the right shape is filled in place, `null` asks for a
   * new one.
   */
  run(
    feeds: Readonly<Record<string, DeviceTensor>>,
    fetches: Readonly<Record<string, DeviceTensor | null>>,
  ): Promise<Readonly<Record<string, DeviceTensor>>>;
  dispose(): Promise<void>;
}

/** Views `data` (no copy) as a tensor in host memory. */
export function hostTensor(data: Float32Array | Int32Array | BigInt64Array, shape: Shape): DeviceTensor {
  if (data instanceof BigInt64Array) return new Tensor("int64", data, shape);
  return data instanceof Float32Array ? new Tensor("float32", data, shape) : new Tensor("int32", data, shape);
}

/** Gives the memory of a host tensor that owns its data back at once; it must not be used any more. */
export function freeHostTensor(tensor: DeviceTensor): void {
  const { buffer } = hostData(tensor);
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** A scalar in host memory. */
export function scalarTensor(value: number): DeviceTensor {
  return hostTensor(Float32Array.of(value), []);
}

/** Whether a tensor's data can be looked at from here. */
export function isOnHost(tensor: DeviceTensor): boolean {
  return tensor.location === "cpu";
}

/** The float32 data of a tensor in host memory, not copied. */
export function hostData(tensor: DeviceTensor): Float32Array {
  return tensor.data as Float32Array;
}

/** The ids of an int32 tensor in host memory, not copied. */
export function hostIds(tensor: DeviceTensor): Int32Array {
  return tensor.data as Int32Array;
}

/** Whatever goes wrong comes as an exception too; onnxruntime's own lines on stderr would break a terminal's display. */
env.logLevel = "fatal";
const LOG_FATAL_ONLY = 4;

/**
 * Compiles ONNX bytes for a device; throws DeviceUnavailableError where that device is not there. `model` may also be the
 * path of a file, which finds what is kept beside it. `meter` counts the tensors in host memory that runs are given and give.
 */
export async function createSession(
  model: Uint8Array | string,
  options: SessionOptions,
  meter?: TransferMeter,
): Promise<Session> {
  const { device, threads, spinning = false, residentOutputs = [], profilePrefix } = options;
  const { inPlaceOnly = false, deviceOnly = false } = options;
  let session: InferenceSession;
  try {
    const sessionOptions: InferenceSession.SessionOptions = {
      executionProviders: [device],
      graphOptimizationLevel: "all",
      // One block planned for all values is allocated beside the values of the first run: a third more memory in all,
      // and no faster (docs/decisions.md).
      enableMemPattern: false,
      extra: {
        session: {
          intra_op: { allow_spinning: spinning ? "1" : "0" },
          ...(deviceOnly && { disable_cpu_ep_fallback: "1" }),
        },
      },
      logSeverityLevel: LOG_FATAL_ONLY,
      ...(threads !== undefined && { intraOpNumThreads: threads }),
      ...(profilePrefix !== undefined && { enableProfiling: true, profileFilePrefix: profilePrefix }),
      ...(residentOutputs.length > 0 && {
        preferredOutputLocation: Object.fromEntries(
          residentOutputs.map((name) => [name, "gpu-buffer"] as const),
        ),
      }),
    };
    // Two calls, because the overloads know no union.
    session =
      typeof model === "string"
        ? await InferenceSession.create(model, sessionOptions)
        : await InferenceSession.create(model, sessionOptions);
  } catch (error) {
    if (device === "cpu") throw error;
    throw new DeviceUnavailableError(device, error, REMEDIES[device]);
  }
  const skipsCopies = inPlaceOnly && (await bindingTraits()).skipsCopies;
  return {
    async run(feeds, fetches) {
      const outputs = await (skipsCopies ? runInPlace(session, feeds, fetches) : session.run(feeds, fetches));
      meter?.count(hostBytes(feeds), hostBytes(outputs));
      if (skipsCopies) return outputs;
      return Object.fromEntries(
        Object.entries(outputs).map(([name, output]) => [name, takeOutput(output, fetches[name] ?? null)]),
      );
    },
    async dispose() {
      if (profilePrefix !== undefined) session.endProfiling();
      await session.release();
    },
  };
}

const BYTES_PER_ELEMENT: Readonly<Partial<Record<Tensor.Type, number>>> = { float32: 4, int32: 4, int64: 8 };

function hostBytes(tensors: Readonly<Record<string, DeviceTensor>>): number {
  return Object.values(tensors)
    .filter(isOnHost)
    .reduce((sum, { size, type }) => sum + size * BYTES_PER_ELEMENT[type]!, 0);
}

/** Name of the empty sequence that a graph has before its outputs, for sessions that are `inPlaceOnly`. */
export const IN_PLACE_ONLY = "inPlaceOnly";

/** What the binding says of a result that is no tensor. */
const CANNOT_RETURN = "Non tensor type is temporarily not supported.";

/**
 * onnxruntime-node 1.30 writes results into the tensors that it was given, and then copies them all once more into new
 * arrays that nobody asked for: 0.5 ms a megabyte, most of it for fresh pages. It stops at the first result that it has no
 * JavaScript for. An empty sequence is one; fetched before all others, it ends the call with an error when everything is
 * written and nothing copied yet. An error of the computation itself has another message.
 */
async function runInPlace(
  session: InferenceSession,
  feeds: Readonly<Record<string, DeviceTensor>>,
  fetches: Readonly<Record<string, DeviceTensor | null>>,
): Promise<Readonly<Record<string, DeviceTensor>>> {
  try {
    await session.run(feeds, { [IN_PLACE_ONLY]: null, ...fetches });
  } catch (error) {
    if (!(error instanceof Error && error.message === CANNOT_RETURN)) throw error;
  }
  return fetches as Readonly<Record<string, DeviceTensor>>;
}

interface BindingTraits {
  /** `runInPlace` works with this binding: the error comes, and comes after the result. */
  readonly skipsCopies: boolean;
  /** Tensors may lie in a SharedArrayBuffer: with Node 24, not yet with Node 22. */
  readonly sharesMemory: boolean;
}

let traits: Promise<BindingTraits> | undefined;

/** Tried once, on one number. */
function bindingTraits(): Promise<BindingTraits> {
  traits ??= (async () => {
    const b = new GraphBuilder();
    const bytes = emitOnnx(b.build({ y: b.neg(b.input("x", [1])) }), { emptySequence: IN_PLACE_ONLY });
    const session = await InferenceSession.create(bytes, { logSeverityLevel: LOG_FATAL_ONLY });
    const negated = async (x: Float32Array, y: Float32Array, fetches: Record<string, null>) => {
      x[0] = -7;
      const error = await session.run({ x: hostTensor(x, [1]) }, { ...fetches, y: hostTensor(y, [1]) }).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      return { error, isWritten: y[0] === 7 };
    };
    const plain = await negated(new Float32Array(1), new Float32Array(1), { [IN_PLACE_ONLY]: null });
    const shared = () => new Float32Array(new SharedArrayBuffer(4));
    const crossing = await negated(shared(), shared(), {});
    await session.release();
    return {
      skipsCopies: plain.isWritten && plain.error instanceof Error && plain.error.message === CANNOT_RETURN,
      sharesMemory: crossing.isWritten && crossing.error === undefined,
    };
  })();
  return traits;
}

/** Whether host tensors may lie in memory that threads share. */
export async function canShareMemory(): Promise<boolean> {
  return (await bindingTraits()).sharesMemory;
}

/**
 * Where copies are not skipped, the copy of a tensor that was given is freed at once, for the collector would let several
 * pile up.
 */
function takeOutput(output: DeviceTensor, given: DeviceTensor | null): DeviceTensor {
  if (given === null || !isOnHost(given) || !isOnHost(output)) return output;
  const [copy, original] = [hostData(output).buffer as ArrayBuffer, hostData(given).buffer];
  if (copy !== original) copy.transfer(0);
  return given;
}

const REMEDIES: Readonly<Record<Exclude<Device, "cpu">, string>> = {
  webgpu: "install a Vulkan driver for your graphics card, or choose the device cpu",
  cuda:
    "install CUDA 12 with cuDNN 9 and run `npm rebuild onnxruntime-node --onnxruntime-node-install=cuda12`, " +
    "or choose the device cpu",
};
