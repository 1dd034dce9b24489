import { describe, expect, it, vi } from "vitest";
import { Lifecycle } from "./lifecycle.ts";

describe("a lifecycle", () => {
  it("stops parts in the reverse of the order they started in, once each", async () => {
    const order: string[] = [];
    const lifecycle = new Lifecycle(() => undefined);
    for (const name of ["disk", "network", "driver"]) {
      await lifecycle.start(
        name,
        async () => name,
        (part) => {
          order.push(part);
        },
      );
    }
    await lifecycle.stop();
    await lifecycle.stop();
    expect(order).toEqual(["driver", "network", "disk"]);
  });

  it("reports a part that fails to stop and still stops the others", async () => {
    const failures: string[] = [];
    const stopped: string[] = [];
    const lifecycle = new Lifecycle((name, error) => failures.push(`${name}: ${(error as Error).message}`));
    lifecycle.defer("disk", () => {
      stopped.push("disk");
    });
    lifecycle.defer("network", () => {
      throw new Error("socket gone");
    });
    await lifecycle.stop();
    expect(failures).toEqual(["network: socket gone"]);
    expect(stopped).toEqual(["disk"]);
  });

  it("gives up on a part that hangs", async () => {
    vi.useFakeTimers();
    try {
      const failures: string[] = [];
      const lifecycle = new Lifecycle((name) => failures.push(name));
      lifecycle.defer("hanging", () => new Promise<void>(() => undefined));
      const stopping = lifecycle.stop();
      await vi.advanceTimersByTimeAsync(10_000);
      await stopping;
      expect(failures).toEqual(["hanging"]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("registers nothing when a start fails, so that the caller unwinds what was there before", async () => {
    const stopped: string[] = [];
    const lifecycle = new Lifecycle(() => undefined);
    lifecycle.defer("disk", () => {
      stopped.push("disk");
    });
    await expect(
      lifecycle.start(
        "network",
        async () => {
          throw new Error("port in use");
        },
        () => {
          stopped.push("network");
        },
      ),
    ).rejects.toThrow("port in use");
    await lifecycle.stop();
    expect(stopped).toEqual(["disk"]);
  });
});
