// Real time for the network's own timers. Timers are unref'd: they never keep a process alive by themselves.
import type { ClockPort } from "../ports.ts";

export const systemClock: ClockPort = {
  nowMs: () => Date.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
