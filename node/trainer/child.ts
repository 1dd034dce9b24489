// Entry of the trainer's process, which a fault of the runtime may take down and nothing else with it. This thread only
// passes messages between the peer's process and the thread that computes, so that it hears at once when the peer is gone.
import { writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { PipePort, TRAINER_PIPE } from "./pipe.ts";

/** A terminal's Ctrl-C and a service manager's SIGTERM reach every process of a peer; it is the peer that leaves, in order. */
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);

/** As if this process had a quarter of the machine's memory more: where that runs out, the trainer goes, which comes back. */
const OOM_SCORE_ADJUSTMENT = "250";
try {
  if (process.platform === "linux") writeFileSync("/proc/self/oom_score_adj", OOM_SCORE_ADJUSTMENT);
} catch {
  // A wish: some containers do not allow it.
}

process.title = "glossa trainer";
const stream = new Socket({ fd: TRAINER_PIPE, readable: true, writable: true });
// At once, also out of a step: checkpoints are replaced whole or not at all, and nobody is left to tell.
stream.on("close", () => process.kill(process.pid, "SIGKILL"));

const peer = new PipePort(stream);
const worker = new Worker(new URL("./worker.ts", import.meta.url), { name: "glossa-trainer" });
peer.on("message", (message, buffers) => worker.postMessage(message, buffers));
worker.on("message", (message) => peer.postMessage(message));
worker.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
worker.on("exit", (code) => process.exit(code === 0 ? 1 : code));
