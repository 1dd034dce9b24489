// Peers content with the one that they began with, over real TCP on loopback, on a clock that runs twenty times as fast.
import { afterEach, expect, test, vi } from "vitest";
import type { ClockPort } from "../ports.ts";
import { TestRun } from "./testing/run-fixture.ts";

const SPEED = 20;
const clock: ClockPort = {
  nowMs: () => SPEED * performance.now(),
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, delayMs / SPEED);
    return () => clearTimeout(timer);
  },
};

const run = new TestRun();
afterEach(() => run.end());

test("content peers meet those whom they have no need of, so that no two halves of a run stay apart", async () => {
  const hub = await run.join({ targetPeers: 0 });
  const bootstrap = hub.network.addresses();
  const ada = await run.join({ bootstrap, targetPeers: 0 }, {}, { clock });
  const ben = await run.join({ bootstrap, targetPeers: 0 }, {}, { clock });
  const met = () => expect(ada.network.connectedPeers()).toContain(ben.network.self);
  await vi.waitFor(met, { timeout: 20_000, interval: 20 });
  expect(ada.network.connectedPeers()).toContain(hub.network.self);
});
