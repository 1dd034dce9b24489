import { expect, it, vi } from "vitest";
import { benchByzantine } from "./byzantine.ts";

async function run(...args: string[]) {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  try {
    const small = ["--rounds", "1", "--steps", "1", "--batch", "1", "--vocabulary", "0.3"];
    await benchByzantine(["--json", ...small, ...args]);
    return JSON.parse(log.mock.calls[0]![0] as string);
  } finally {
    log.mockRestore();
  }
}

it("the benchmark of liars trains beside them, and says whom a defence restrained", async () => {
  const { rows } = await run("--peers", "5", "--attacks", "none,x100,copy", "--defences", "none,majority");
  expect(rows).toMatchObject([
    { attack: "none", defence: "none", relativeLoss: 0, honestUpdates: 5, liarsUpdates: 0 },
    { attack: "none", defence: "majority", relativeLoss: 0, honestRestrained: 0 },
    { attack: "x100", defence: "none", liarsRestrained: 0, honestUpdates: 4, liarsUpdates: 1 },
    { attack: "x100", defence: "majority", liarsRestrained: 1, honestRestrained: 0 },
    { attack: "copy", defence: "none", liarsRestrained: 0 },
    { attack: "copy", defence: "majority", liarsRestrained: 1, honestRestrained: 0 },
  ]);
  expect(rows[2].bitsPerByte).toBeGreaterThan(rows[3].bitsPerByte);
  await expect(run("--attacks", "flattery")).rejects.toThrow(/flattery is none of/);
}, 120_000);
