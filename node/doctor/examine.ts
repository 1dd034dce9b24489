// Everything `glossa doctor` finds: the machine, and each device with what it has and lacks.
import { statfs } from "node:fs/promises";
import { createRequire } from "node:module";
import { availableParallelism, cpus, endianness } from "node:os";
import { dirname } from "node:path";
import type { Device } from "#model/types.ts";
import { machineMemoryBytes } from "../planning/machine-memory.ts";
import { glossaHome } from "../storage/state-directory.ts";
import { type Need, needsOf, thisMachine } from "./needs.ts";
import { type Probe, probeDevice } from "./probe.ts";

export interface DeviceFinding {
  readonly device: Device;
  readonly probe: Probe;
  readonly needs: readonly Need[];
}

export interface Findings {
  readonly node: string;
  readonly onnxruntime: string;
  readonly platform: string;
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  /** "LE" or "BE". Checkpoints and payloads are read as they lie in memory, little-endian. */
  readonly byteOrder: "LE" | "BE";
  /** Where peers keep their state unless told otherwise, and what is free there. */
  readonly stateRoot: string;
  readonly freeDiskBytes: number;
  readonly devices: readonly DeviceFinding[];
}

const DEVICES: readonly Device[] = ["cpu", "webgpu", "cuda"];

/** Rejects with an AbortError alone: whatever is missing is a finding. */
export async function examine(
  environment: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<Findings> {
  const manifest: { version: string } = createRequire(import.meta.url)("onnxruntime-node/package.json");
  const stateRoot = glossaHome(environment);
  const devices: DeviceFinding[] = [];
  // One after the other: two runtimes that start at once compete for what they probe.
  for (const device of DEVICES) {
    devices.push({
      device,
      probe: await probeDevice(device, signal),
      needs: needsOf(device, thisMachine()),
    });
  }
  return {
    node: process.versions.node,
    onnxruntime: manifest.version,
    platform: `${process.platform} ${process.arch}`,
    processor: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryBytes: machineMemoryBytes(),
    byteOrder: endianness(),
    stateRoot,
    freeDiskBytes: await freeBytes(stateRoot),
    devices,
  };
}

/** Free for this user at `path`, or at its nearest ancestor that exists. */
export async function freeBytes(path: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  } catch (error) {
    const parent = dirname(path);
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || parent === path) throw error;
    return freeBytes(parent);
  }
}
