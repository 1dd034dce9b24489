// The other side of bench/hand-over.ts: sends back whatever it is given, the way that its first argument names.
import { readFile, writeFile } from "node:fs/promises";
import { Socket } from "node:net";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { PipePort, TRAINER_PIPE } from "#node/trainer/pipe.ts";
import type { Packet, Way } from "./hand-over.ts";

const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

if (!isMainThread) {
  const transfers: boolean = workerData;
  parentPort!.on("message", ({ values }: Packet) => {
    parentPort!.postMessage(
      { values },
      transfers && values !== undefined ? [values.buffer as ArrayBuffer] : [],
    );
  });
} else if ((process.argv[2] as Way) === "pipe") {
  // As the trainer does it: one thread passes on, another one computes.
  const stream = new Socket({ fd: TRAINER_PIPE, readable: true, writable: true });
  const port = new PipePort(stream);
  const worker = new Worker(new URL(import.meta.url), { workerData: true });
  port.on("message", (packet, buffers) => worker.postMessage(packet, buffers));
  worker.on("message", (packet) => port.postMessage(packet));
  stream.on("close", () => process.exit());
} else {
  process.on("disconnect", () => process.exit());
  process.on("message", async ({ values, file }: Packet) => {
    if (file === undefined) return process.send!({ values });
    const bytes = await readFile(file);
    const back = `${file}.back`;
    await writeFile(back, bytesOf(new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)));
    return process.send!({ file: back });
  });
}
