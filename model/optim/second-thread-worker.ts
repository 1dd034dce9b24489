// The thread of second-thread.ts: waits for orders, does the second halves of the parts that take part, says that it is done.
import { workerData } from "node:worker_threads";
import { viewFlat } from "../wasm/flat-array.ts";
import { MEMORIES, type OptimizedArrays } from "./adamw-kernel.ts";
import { OptimizerPart } from "./optimizer-part.ts";
import { ORDER, PASSES, type SecondThreadData, TURNS } from "./second-thread.ts";

const { betas, parts: given, turns, orders }: SecondThreadData = workerData;
const parts = given.map(({ length, ranges, memories }) => {
  const flats = memories.map(({ memory, byteOffset }) => viewFlat(memory, byteOffset, length));
  const arrays = Object.fromEntries(
    MEMORIES.map((name, at) => [name, flats[at]]),
  ) as unknown as OptimizedArrays;
  return new OptimizerPart(betas, arrays, ranges);
});

let turn = Atomics.load(turns, TURNS.ordered);
Atomics.store(turns, TURNS.isReady, 1);
for (;;) {
  Atomics.wait(turns, TURNS.ordered, turn);
  const ordered = Atomics.load(turns, TURNS.ordered);
  if (ordered === turn) continue;
  turn = ordered;
  const pass = Atomics.load(turns, TURNS.pass);
  if (pass === PASSES.leave) break;
  for (const [at, part] of parts.entries()) {
    const order = orders.subarray(at * ORDER.length, (at + 1) * ORDER.length);
    if (order[ORDER.isActive] === 0) continue;
    if (pass === PASSES.squares) order[ORDER.squares] = part.squares(1);
    else {
      part.update(1, {
        gradientFactor: order[ORDER.gradientFactor]!,
        squareFactor: order[ORDER.squareFactor]!,
        epsilon: order[ORDER.epsilon]!,
        stepSize: order[ORDER.stepSize]!,
        keep: order[ORDER.keep]!,
      });
    }
  }
  Atomics.store(turns, TURNS.finished, turn);
  Atomics.notify(turns, TURNS.finished);
}
