import { expect, it, vi } from "vitest";
import { benchSimulator } from "./sim.ts";

it("the simulator's benchmark times swarms and runs the fault matrix", async () => {
  const printed: string[] = [];
  const log = vi.spyOn(console, "log").mockImplementation((line: string) => {
    printed.push(line);
  });
  try {
    await benchSimulator([
      "--json",
      "--peers",
      "2,3",
      "--rounds",
      "1",
      "--round-seconds",
      "5",
      "--seeds",
      "1",
    ]);
  } finally {
    log.mockRestore();
  }
  const report = JSON.parse(printed.join(""));
  expect(
    report.speeds.map(({ peers, differingBits }: { peers: number; differingBits: number }) => [
      peers,
      differingBits,
    ]),
  ).toEqual([
    [2, 0],
    [3, 0],
  ]);
  expect(report.speeds[0].peerRoundsPerMinute).toBeGreaterThan(0);
  // Each case of the fault matrix waiting for updates, and training on meanwhile.
  expect([report.cases, report.failures]).toEqual([128, []]);
});
