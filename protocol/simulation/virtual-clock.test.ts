import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { VirtualClock } from "./virtual-clock.ts";

describe("the virtual clock", () => {
  it("fires what is due in order, ties in the order they were set, and nothing that was cancelled", async () => {
    const timers = fc.array(
      fc.record({ delayMs: fc.nat(20), quiet: fc.boolean(), cancelled: fc.boolean() }),
      { maxLength: 40 },
    );
    await fc.assert(
      fc.asyncProperty(timers, async (plan) => {
        const clock = new VirtualClock(0);
        const fired: number[] = [];
        for (const [index, { delayMs, quiet, cancelled }] of plan.entries()) {
          const fire = () => {
            expect(clock.nowMs()).toBe(delayMs);
            fired.push(index);
          };
          if (quiet && !cancelled) clock.afterQuietly(delayMs, fire);
          else if (cancelled) clock.after(delayMs, fire)();
          else clock.after(delayMs, fire);
        }
        expect(await clock.run(50)).toBe(false);
        const expected = [...plan.keys()]
          .filter((index) => !plan[index]!.cancelled)
          .sort((a, b) => plan[a]!.delayMs - plan[b]!.delayMs || a - b);
        expect(fired).toEqual(expected);
        expect(clock.nowMs()).toBe(50);
      }),
    );
  });

  it("forgets cancelled timers, also those of timers that have fired", async () => {
    const clock = new VirtualClock(0);
    let fired = 0;
    const cancels = Array.from({ length: 5_000 }, (_, at) => clock.after(at % 7, () => fired++));
    await clock.run(3);
    for (const cancel of cancels) cancel();
    clock.after(1, () => fired++);
    await clock.run(10);
    expect(fired).toBe(cancels.filter((_, at) => at % 7 <= 3).length + 1);
  });

  it("lets promises that a timer sets off settle before the next one", async () => {
    const clock = new VirtualClock(0);
    const order: string[] = [];
    clock.after(1, () => {
      void (async () => {
        for (let hop = 0; hop < 100; hop++) await undefined;
        order.push("settled");
      })();
    });
    clock.after(1, () => order.push("next"));
    await clock.run(5);
    expect(order).toEqual(["settled", "next"]);
  });
});
