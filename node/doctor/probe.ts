// Asks a child process whether a device works, and turns every way in which that process may end into an answer.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Device } from "#model/types.ts";

/** What a step moved between host and device, beside the size of what it changed. */
export interface ProbedSteps {
  readonly toDeviceBytesPerStep: number;
  readonly fromDeviceBytesPerStep: number;
  /** Parameters and moments. */
  readonly stateBytes: number;
  /** Whether products in float16 work as well. */
  readonly float16: boolean;
}

export type Probe =
  | { readonly works: true; readonly steps?: ProbedSteps }
  | { readonly works: false; readonly reason: string };

/** A driver that starts up takes seconds, one that hangs takes for ever. */
const PROBE_TIMEOUT_MS = 60_000;

const CHILD = fileURLToPath(new URL("./probe-child.ts", import.meta.url));

/** Resolves with what was found, also where the child crashed; rejects with an AbortError alone. */
export function probeDevice(device: Device, signal: AbortSignal, child = CHILD): Promise<Probe> {
  return new Promise((resolve, reject) => {
    const options = { signal, timeout: PROBE_TIMEOUT_MS, killSignal: "SIGKILL" as const };
    execFile(process.execPath, [child, device], options, (error, stdout) => {
      if (signal.aborted) reject(signal.reason);
      else resolve(answerOf(stdout) ?? { works: false, reason: endingOf(error) });
    });
  });
}

function answerOf(stdout: string): Probe | undefined {
  const line = stdout.trimEnd().split("\n").at(-1) ?? "";
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function endingOf(
  error: (Error & { killed?: boolean; signal?: NodeJS.Signals | null; code?: unknown }) | null,
) {
  if (error?.killed) return `no answer within ${PROBE_TIMEOUT_MS / 1000} s`;
  if (error?.signal) return `the runtime crashed with ${error.signal}`;
  return `the probe ended with exit code ${error?.code ?? 0} and no answer`;
}
