// How long a training step takes on a device, asked of a process of its own: it ends with whatever the driver does to it, and
// when its time is up, and the model that trains later has never moved.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { TrainingModelOptions } from "#model/training-model.ts";

/** All that a step's time depends on. */
export type TimedStep = Pick<
  TrainingModelOptions,
  "config" | "optimizer" | "batchSize" | "recompute" | "precision" | "threads" | "device"
>;

/** A driver takes seconds to start up, and a step of use not as long: a device that needs more than this is out of the question. */
const LONGEST_MS = 60_000;

const CHILD = fileURLToPath(new URL("./step-time-child.ts", import.meta.url));

/** Milliseconds a token; `undefined` where the device is not there, fails or takes too long. */
export function timeStep(step: TimedStep, longestMs: number = LONGEST_MS): Promise<number | undefined> {
  return new Promise((resolve) => {
    const options = { timeout: longestMs, killSignal: "SIGKILL" as const };
    const child = execFile(process.execPath, [CHILD, JSON.stringify(step)], options, (error, stdout) => {
      const tokenMs = Number.parseFloat(stdout.trimEnd().split("\n").at(-1) ?? "");
      resolve(error === null && tokenMs > 0 ? tokenMs : undefined);
    });
    // Never written to: it closes with this process.
    child.stdin?.on("error", () => undefined);
  });
}
