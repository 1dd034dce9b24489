// What a group's driver gets from training that goes on by itself: progress at the ends of local rounds, and after the last
// one what is left, then only what others wait for.
import { expect, it } from "vitest";
import type { GroupResult } from "../trainer/group-embedding.ts";
import { SharedParameters } from "../trainer/shared-parameters.ts";
import { GroupTrainer } from "./group-trainer.ts";

const STEPS = 4;
const never = new AbortController().signal;

/** Training whose local rounds end when told to; `calls` says what was asked of it. */
function training() {
  const calls: string[] = [];
  let tokens = 0;
  let endRound: (() => void) | undefined;
  const collected = (): GroupResult => {
    const result = {
      delta: Float32Array.of(tokens, tokens),
      tokens,
      bytes: 1,
      lossNatsPerToken: 1,
      bitsPerByte: 1,
      computeMs: 1,
    };
    tokens = 0;
    return result;
  };
  return {
    calls,
    learn: (count: number) => {
      tokens += count;
      endRound?.();
    },
    trainer: {
      enterGroup: async (round: number, embedding: Float32Array, carry: boolean) => {
        calls.push(`enter ${round} ${embedding.join()} ${carry}`);
      },
      collectGroup: (when: "round-end" | "now", signal: AbortSignal) =>
        new Promise<GroupResult>((resolve, reject) => {
          calls.push(when);
          if (when === "now") return resolve(collected());
          endRound = () => resolve(collected());
          signal.addEventListener("abort", () => reject(signal.reason));
        }),
    },
  };
}

/** Rows 1 and 3 of four, one value each. */
const parameters = new SharedParameters(0, { width: 1, vocabularySize: 4, rows: Int32Array.of(1, 3) });
const base = Float32Array.of(10, 11, 12, 13);

function start() {
  const work = training();
  const group = new GroupTrainer(work.trainer, { parameters, localSteps: STEPS });
  const steps: number[] = [];
  const train = (round: number, signal = never) =>
    group.trainRound(round, base, false, (step) => steps.push(step), signal);
  return { ...work, group, steps, train };
}

it("takes the held rows of the base, and gives the change of these rows when a local round ends", async () => {
  const { train, calls, learn, steps, group } = start();
  const result = train(5);
  await Promise.resolve();
  learn(7);
  expect(await result).toMatchObject({ delta: Float32Array.of(0, 7, 0, 7), tokens: 7 });
  expect(calls).toEqual(["enter 5 11,13 false", "round-end"]);
  expect(steps).toEqual([]);
  expect(group.idleRound).toBeUndefined();
});

it("when the run ends hands out what is left, and then nothing until somebody else makes an update", async () => {
  const { train, learn, group, steps } = start();
  const waiting = train(5);
  await Promise.resolve();
  learn(0);
  await waiting;
  const last = train(6);
  await Promise.resolve();
  learn(3);
  group.end();
  expect((await last).tokens).toBe(3);

  let given = false;
  const idle = train(7).then((result) => {
    given = true;
    return result;
  });
  await expect.poll(() => group.idleRound).toBe(7);
  expect(steps).toEqual([STEPS]);
  group.heard(6);
  await Promise.resolve();
  expect(given).toBe(false);
  group.heard(7);
  expect(await idle).toMatchObject({ tokens: 0, delta: new Float32Array(4) });
  expect(group.idleRound).toBeUndefined();
  // Those who are ahead are followed at once.
  group.heard(9);
  expect((await train(8)).tokens).toBe(0);
});

it("stands where it was left when told to stop, before or while it waits", async () => {
  const { train, calls, group } = start();
  await expect(train(3, AbortSignal.abort())).rejects.toMatchObject({ name: "AbortError" });
  expect(calls).toEqual(["enter 3 11,13 false"]);
  const stopping = new AbortController();
  const waiting = train(3, stopping.signal);
  await Promise.resolve();
  stopping.abort();
  await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
  group.end();
  const leaving = new AbortController();
  const idle = train(4, leaving.signal);
  await expect.poll(() => group.idleRound).toBe(4);
  leaving.abort();
  await expect(idle).rejects.toMatchObject({ name: "AbortError" });
});
