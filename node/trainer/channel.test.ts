import { MessageChannel } from "node:worker_threads";
import { afterEach, expect, it } from "vitest";
import { Caller, serve } from "./channel.ts";

type TestMethods = {
  count: { args: { to: number }; progress: number; result: number };
  fail: { args: null; progress: never; result: never };
  abortedOnEntry: { args: null; progress: never; result: boolean };
  hang: { args: null; progress: "started"; result: never };
};

class DiskFullError extends Error {
  readonly code = "DISK_FULL";
  readonly freeBytes = 12;
}

const open: MessageChannel[] = [];
afterEach(() => {
  for (const channel of open.splice(0)) channel.port1.close();
});

function connect(): Caller<TestMethods> {
  const channel = new MessageChannel();
  open.push(channel);
  serve<TestMethods>(channel.port2, {
    async count({ to }, report) {
      for (let value = 1; value <= to; value++) report(value);
      return to;
    },
    async fail() {
      throw new DiskFullError("no space left");
    },
    async abortedOnEntry(_, _report, signal) {
      return signal.aborted;
    },
    async hang(_, report, signal) {
      report("started");
      return new Promise<never>((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
      });
    },
  });
  return new Caller<TestMethods>(channel.port1);
}

it("reports progress in order and then answers", async () => {
  const seen: number[] = [];
  expect(await connect().call("count", { to: 3 }, { onProgress: (value) => seen.push(value) })).toBe(3);
  expect(seen).toEqual([1, 2, 3]);
});

it("carries an error's code and fields to the caller", async () => {
  await expect(connect().call("fail", null)).rejects.toMatchObject({
    message: "no space left",
    code: "DISK_FULL",
    freeBytes: 12,
  });
});

it("cancels a running call and goes on with the next", async () => {
  const caller = connect();
  const controller = new AbortController();
  const hanging = caller.call("hang", null, {
    signal: controller.signal,
    onProgress: () => controller.abort(),
  });
  await expect(hanging).rejects.toMatchObject({ name: "AbortError" });
  expect(await caller.call("count", { to: 1 })).toBe(1);
});

it("asks the handler of a call that was cancelled before its turn, with a signal that has fired", async () => {
  const caller = connect();
  const running = new AbortController();
  const hanging = caller.call("hang", null, { signal: running.signal });
  const waiting = new AbortController();
  const cancelledInQueue = caller.call("abortedOnEntry", null, { signal: waiting.signal });
  const cancelledBefore = caller.call("abortedOnEntry", null, { signal: AbortSignal.abort() });
  const untouched = caller.call("abortedOnEntry", null);
  waiting.abort();
  running.abort();
  await expect(hanging).rejects.toMatchObject({ name: "AbortError" });
  expect(await Promise.all([cancelledInQueue, cancelledBefore, untouched])).toEqual([true, true, false]);
});

it("fails what is open and what comes later when the other side is gone", async () => {
  const caller = connect();
  const open = caller.call("hang", null);
  caller.failAll(new Error("worker exited"));
  await expect(open).rejects.toThrow("worker exited");
  await expect(caller.call("count", { to: 1 })).rejects.toThrow("worker exited");
});
