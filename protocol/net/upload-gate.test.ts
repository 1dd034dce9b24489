import { expect, test } from "vitest";
import { ManualClock } from "./testing/manual-clock.ts";
import { UploadGate } from "./upload-gate.ts";

const signal = new AbortController().signal;
const turns = async () => {
  for (let at = 0; at < 5; at++) await Promise.resolve();
};

test("so many newcomers are served at once, each over two streams at most", () => {
  const gate = new UploadGate(new ManualClock());
  const leave = Array.from({ length: 8 }, (_, at) => gate.admit(`peer-${at}`)!);
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
