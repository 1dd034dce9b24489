import { expect, test } from "vitest";
import { ManualClock } from "./testing/manual-clock.ts";
import { UploadGate } from "./upload-gate.ts";

const signal = new AbortController().signal;
const turns = async () => {
  for (let at = 0; at < 5; at++) await Promise.resolve();
};

test("so many newcomers are served at once, each over two streams at most", () => {
  const gate = new UploadGate(new ManualClock());
  const leave = Array.from({ length: 48 }, (_, at) => gate.admit(`peer-${at}`)!);
  expect(gate.admit("one-more")).toBeUndefined();
  const second = gate.admit("peer-0")!;
  expect(gate.admit("peer-0")).toBeUndefined();
  second();
  second();
  expect(gate.admit("one-more")).toBeUndefined();
  leave[0]!();
  expect(gate.admit("one-more")).toBeTypeOf("function");
});

test("a tile waits while a payload is being sent, but not for ever", async () => {
  const clock = new ManualClock();
  const gate = new UploadGate(clock);
  const sent: string[] = [];
  const payload = Promise.withResolvers<void>();
  const sending = gate.payload(() => payload.promise);
  const tile = (name: string) => gate.tile(async () => void sent.push(name), signal);
  const first = tile("after the payload");
  await turns();
  expect(sent).toEqual([]);
  payload.resolve();
  await Promise.all([sending, first]);
  expect(sent).toEqual(["after the payload"]);
  const slowReader = gate.payload(() => new Promise(() => {}));
  const patient = tile("after its patience");
  await turns();
  expect(sent).toHaveLength(1);
  clock.advance(500);
  await patient;
  // Somebody who reads a payload slowly does not hold the newcomers up.
  clock.advance(2_000);
  await tile("at once");
  expect(sent.slice(1)).toEqual(["after its patience", "at once"]);
  void slowReader;
});

test("few tiles are on their way at once, and who reads slowly keeps nobody waiting for long", async () => {
  const clock = new ManualClock();
  const gate = new UploadGate(clock);
  const sent: number[] = [];
  const done = Array.from({ length: 9 }, () => Promise.withResolvers<void>());
  const sending = done.map(({ promise }, at) =>
    gate.tile(() => {
      sent.push(at);
      return promise;
    }, signal),
  );
  await turns();
  expect(sent).toEqual([0, 1, 2, 3]);
  done[2]!.resolve();
  await sending[2];
  await turns();
  expect(sent).toEqual([0, 1, 2, 3, 4]);
  clock.advance(1_000);
  await turns();
  expect(sent).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  for (const { resolve } of done) resolve();
  await Promise.all(sending);
  // All turns are free again, and no more than there were.
  const waiting = Promise.withResolvers<void>();
  for (let at = 0; at < 6; at++) {
    void gate.tile(() => {
      sent.push(100 + at);
      return waiting.promise;
    }, signal);
  }
  await turns();
  expect(sent.slice(9)).toEqual([100, 101, 102, 103]);
  waiting.resolve();
});
