// The mains of a simulated peer: once cut, none of its timers fires, none of its calls ever returns and nothing it
// writes reaches the disk. What kill -9 does, without a process.
import type { ClockPort } from "../ports.ts";

export class Power {
  #on = true;

  get on(): boolean {
    return this.#on;
  }

  cut(): void {
    this.#on = false;
  }

  /** The value while there is power; after a cut the promise stays open for ever. */
  async through<Value>(work: Promise<Value>): Promise<Value> {
    try {
      const value = await work;
      return this.#on ? value : await new Promise<never>(() => {});
    } catch (error) {
      if (this.#on) throw error;
      return await new Promise<never>(() => {});
    }
  }

  clock(clock: ClockPort): ClockPort {
    return {
      nowMs: () => clock.nowMs(),
      after: (delayMs, callback) =>
        clock.after(delayMs, () => {
          if (this.#on) callback();
        }),
    };
  }
}
