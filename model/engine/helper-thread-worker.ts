// The thread of helper-thread.ts: waits for a task, does it, says that it is done.
import { receiveMessageOnPort, workerData } from "node:worker_threads";
import { MEMORIES, type OptimizedArrays } from "../optim/adamw-kernel.ts";
import { OptimizerPart } from "../optim/optimizer-part.ts";
import { createSession, type Session } from "../runtime/session.ts";
import type { ParameterGroup } from "../train-step.ts";
import { viewFlat } from "../wasm/flat-array.ts";
import { type HelperData, type HelperSession, ORDER, TASKS, TURNS } from "./helper-thread.ts";
import { Share } from "./share.ts";

const { betas, parts: given, share: shareMemory, turns, orders, port }: HelperData = workerData;
const parts = given.map(({ length, ranges, memories }) => {
  const names = [...MEMORIES, "addend"].filter((name) => name in memories);
  const flats = names.map((name) => [
    name,
    viewFlat(memories[name]!.memory, memories[name]!.byteOffset, length),
  ]);
  return new OptimizerPart(betas, Object.fromEntries(flats) as OptimizedArrays, ranges);
});
const share = shareMemory && new Share(shareMemory);
const sessions: { session: Session; trained: readonly ParameterGroup[] }[] = [];

async function work(task: number): Promise<void> {
  switch (task) {
    case TASKS.compile: {
      const { bytes, options, trained }: HelperSession = receiveMessageOnPort(port)!.message;
      sessions.push({ session: await createSession(bytes, options), trained });
      port.postMessage({});
      return;
    }
    case TASKS.gradients: {
      const { session, trained } = sessions[Atomics.load(turns, TURNS.session)]!;
      return share!.run(session, trained, Atomics.load(turns, TURNS.addsUp) === 1);
    }
    default:
      for (const [at, part] of parts.entries()) {
        const order = orders.subarray(at * ORDER.length, (at + 1) * ORDER.length);
        if (order[ORDER.isActive] === 0) continue;
        if (task === TASKS.squares) order[ORDER.squares] = part.squares(1);
        else part.update(1, factorsOf(order));
      }
  }
}

function factorsOf(order: Float64Array) {
  return {
    gradientFactor: order[ORDER.gradientFactor]!,
    squareFactor: order[ORDER.squareFactor]!,
    epsilon: order[ORDER.epsilon]!,
    stepSize: order[ORDER.stepSize]!,
    keep: order[ORDER.keep]!,
  };
}

// Whoever waits for this thread waits without looking up: it must not end, of lost memory for instance, and say nothing.
process.once("exit", () => {
  Atomics.store(turns, TURNS.isReady, 0);
  Atomics.store(turns, TURNS.finished, Atomics.load(turns, TURNS.ordered));
  Atomics.notify(turns, TURNS.finished);
});

let turn = 0;
Atomics.store(turns, TURNS.isReady, 1);
for (;;) {
  Atomics.wait(turns, TURNS.ordered, turn);
  const ordered = Atomics.load(turns, TURNS.ordered);
  if (ordered === turn) continue;
  turn = ordered;
  const task = Atomics.load(turns, TURNS.task);
  if (task === TASKS.leave) break;
  try {
    await work(task);
  } catch (error) {
    port.postMessage({ error: error instanceof Error ? error.message : String(error) });
  }
  Atomics.store(turns, TURNS.finished, turn);
  Atomics.notify(turns, TURNS.finished);
}
for (const { session } of sessions) await session.dispose();
