// `npm run bench -- hand-over`: what it costs to give a body to who trains and to take one back, and how long the peer's
// own thread stands still meanwhile, in four ways: a thread, Node's channel to a child, a file, and the trainer's pipe.
import { type ChildProcess, fork, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { PipePort, TRAINER_PIPE } from "#node/trainer/pipe.ts";
import { describeMachine } from "./machine.ts";
import { median } from "./median.ts";

const USAGE = `npm run bench -- hand-over [--json] [options]
  --values 85000000   float32 values of the body
  --repeats 5         times it goes there and back
  --ways thread,ipc,file,pipe`;

export type Way = "thread" | "ipc" | "file" | "pipe";

export interface Packet {
  readonly values?: Float32Array | undefined;
  readonly file?: string | undefined;
}

interface Row {
  readonly way: Way;
  /** There and back. */
  readonly medianMs: number;
  readonly bestMs: number;
  /** The longest that this thread did nothing else. */
  readonly blockedMs: number;
  /** There and back of a message as small as a step's. */
  readonly smallMs: number;
}

interface Other {
  post(packet: Packet): void;
  onPacket(listener: (packet: Packet) => void): void;
  end(): unknown;
}

const CHILD = fileURLToPath(new URL("./hand-over-child.ts", import.meta.url));
const SMALL_MESSAGES = 300;

export async function benchHandOver(args: string[]): Promise<void> {
  const { values: flags } = parseArgs({
    args,
    options: {
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
      values: { type: "string", default: "85000000" },
      repeats: { type: "string", default: "5" },
      ways: { type: "string", default: "thread,ipc,file,pipe" },
    },
  });
  if (flags.help) return console.log(USAGE);
  const rows: Row[] = [];
  for (const way of flags.ways.split(",") as Way[]) {
    const row = await measureHandOver(way, Number(flags.values), Number(flags.repeats));
    rows.push(row);
    if (!flags.json) console.log(describe(row));
  }
  if (flags.json) console.log(JSON.stringify({ benchmark: "hand-over", machine: describeMachine(), rows }));
}

export async function measureHandOver(way: Way, length: number, repeats: number): Promise<Row> {
  const directory = await mkdtemp(join(tmpdir(), "glossa-hand-over-"));
  const other = start(way);
  try {
    let answer: (packet: Packet) => void = () => undefined;
    other.onPacket((packet) => answer(packet));
    const ask = (packet: Packet) =>
      new Promise<Packet>((resolve) => {
        answer = resolve;
        other.post(packet);
      });
    await ask({});
    const smallMs: number[] = [];
    for (let at = 0; at < SMALL_MESSAGES; at++) smallMs.push(await timed(() => ask({})));

    const body = new Float32Array(length).fill(1.5);
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    const largeMs: number[] = [];
    for (let at = 0; at < repeats; at++) {
      largeMs.push(
        await timed(async () => {
          const back =
            way === "file" ? await throughFile(directory, body, ask) : (await ask({ values: body })).values!;
          if (back.length !== length || back.at(-1) !== 1.5)
            throw new Error(`${way} lost something on the way`);
        }),
      );
    }
    delay.disable();
    return {
      way,
      medianMs: median(largeMs),
      bestMs: Math.min(...largeMs),
      blockedMs: delay.max / 1e6,
      smallMs: median(smallMs),
    };
  } finally {
    other.end();
    await rm(directory, { recursive: true, force: true });
  }
}

async function throughFile(
  directory: string,
  body: Float32Array,
  ask: (packet: Packet) => Promise<Packet>,
): Promise<Float32Array> {
  const file = join(directory, "body");
  await writeFile(file, new Uint8Array(body.buffer));
  const back = (await ask({ file })).file!;
  const bytes = await readFile(back);
  await Promise.all([rm(file), rm(back)]);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

function start(way: Way): Other {
  if (way === "thread") {
    const worker = new Worker(CHILD, { workerData: false });
    return {
      post: (packet) => worker.postMessage(packet),
      onPacket: (listener) => worker.on("message", listener),
      end: () => worker.terminate(),
    };
  }
  if (way === "pipe") {
    const child: ChildProcess = spawn(process.execPath, [CHILD, way], {
      stdio: ["ignore", "inherit", "inherit", "overlapped"],
    });
    const port = new PipePort(child.stdio[TRAINER_PIPE] as Duplex);
    return {
      post: (packet) => port.postMessage(packet),
      onPacket: (listener) => port.on("message", listener),
      end: () => child.kill("SIGKILL"),
    };
  }
  const child = fork(CHILD, [way], { serialization: "advanced" });
  return {
    post: (packet) => child.send(packet),
    onPacket: (listener) => child.on("message", (packet) => listener(packet as Packet)),
    end: () => child.kill("SIGKILL"),
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

function describe({ way, medianMs, bestMs, blockedMs, smallMs }: Row): string {
  const whole = (ms: number) => `${Math.round(ms)} ms`;
  return `${way}: there and back ${whole(medianMs)} (best ${whole(bestMs)}), blocked for up to ${whole(blockedMs)}, a small message ${smallMs.toFixed(2)} ms`;
}
