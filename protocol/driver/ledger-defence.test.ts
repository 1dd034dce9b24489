// What a closed round's defence means for the books: what became of the own update, and who is told of the others'.
import { describe, expect, it } from "vitest";
import { parameterLayout } from "../core/layout.ts";
import { parseRunConfig } from "../core/run-config.ts";
import type { SignedUpdate } from "../core/types.ts";
import { sha256, sha256Hex } from "../net/hash.ts";
import { pageOf } from "../net/inventory-pages.ts";
import { MemoryDisk, memoryStore } from "../simulation/memory-store.ts";
import { Power } from "../simulation/power.ts";
import { Ledger } from "./ledger.ts";
import { LocalArithmetic } from "./local-arithmetic.ts";

const RUN_ID = "ab".repeat(32);
const layout = parameterLayout([{ name: "a.weight", shape: [64, 64] }], sha256);
const config = parseRunConfig({ averaging: { codec: "float32", openRounds: 1 } });
const options = { config, layout, hash: sha256 };

const waves = (phase: number, size = 1) =>
  Float32Array.from({ length: layout.total }, (_, at) => {
    // Common to all, and an update's own.
    return (size * (Math.sin(at * 1.7) + Math.sin(at * (0.3 + phase)))) / 128;
  });

const updateOf = (author: string, payload: Uint8Array): SignedUpdate => ({
  announcement: {
    ...{ runId: RUN_ID, round: 0, author, payload: sha256Hex(payload), payloadBytes: payload.length },
    ...{ baseRoot: RUN_ID, tokens: 100, lossNatsPerToken: 1, bitsPerByte: 1 },
  },
  envelope: new Uint8Array(1),
});

/** A ledger in round 0 with the updates of four others, one of them a hundred times too loud, and a copy of one. */
async function openLedger(own: Float32Array) {
  const maker = new LocalArithmetic(options);
  const modules = {
    arithmetic: new LocalArithmetic(options),
    store: memoryStore(new MemoryDisk(), new Power()),
    nowMs: () => 0,
  };
  const zeros = () => new Float32Array(layout.total);
  const start = { closedRound: 0, closedBody: zeros(), round: 0, residual: zeros(), pendingOwn: [] };
  const ledger = await Ledger.open({ ...options, runId: RUN_ID, self: "me" }, modules, start, []);
  for (const [author, values] of [
    ...[["ada", waves(0.01)] as const, ["bea", waves(0.02)] as const, ["eve", waves(0.03, 100)] as const],
    ...[["fay", waves(0.04)] as const, ["thief", waves(0.01)] as const],
  ]) {
    const { payload } = await maker.compress(values.slice(), zeros());
    expect(await ledger.count(updateOf(author, payload), payload)).toMatchObject({ outcome: "counted" });
  }
  const made = await ledger.compress(own.slice());
  await ledger.adoptOwn(updateOf("me", made.payload), made);
  return { ledger, modules };
}

type Opened = Awaited<ReturnType<typeof openLedger>>;

/** Takes the body over that the ledger holds already, from one whose log has the own update in it, opposed or not. */
async function adoptAgain({ ledger }: Opened, wasOpposed: boolean): Promise<Float32Array> {
  const { closedRound, closedBody, updates } = ledger.checkpoint();
  const opposed = updates.filter(({ announcement }) => wasOpposed && announcement.author === "me");
  await ledger.adopt(ledger.snapshot()!, closedBody, closedRound, { updates, opposed });
  return ledger.checkpoint().residual;
}

describe("a round that is closed", () => {
  it("gives an own update that was left out back to the residual, and keeps all others' books", async () => {
    const own = waves(0.05, -1);
    const { ledger } = await openLedger(own);
    expect(ledger.checkpoint().pendingOwn).toHaveLength(1);
    await ledger.open(1, 1);
    const { residual } = ledger.checkpoint();
    residual.forEach((value, at) => {
      expect(value).toBeCloseTo(own[at]!, 7);
    });
    const said = ledger.takeRestrained().map(({ update, restraint }) => {
      return [update.announcement.author, restraint!.why, Math.round(1_000 * restraint!.kept) / 1_000];
    });
    expect(said).toEqual([
      ["eve", "clipped", 0.015],
      ["me", "opposed", 0],
      ["thief", "copied", 0],
    ]);
    expect(ledger.takeRestrained()).toEqual([]);
    // The log has it, and yet nothing moves when the round is left behind.
    await ledger.open(2, 2);
    expect(ledger.checkpoint().residual).toEqual(residual);
  });

  it("and its books follow the body: another one that was left whole by carries the update, and is believed so", async () => {
    const own = waves(0.05, -1);
    const opened = await openLedger(own);
    await opened.ledger.open(1, 1);
    const sizes = (values: Float32Array) => Math.max(...values.map(Math.abs));
    const [before] = [sizes(opened.ledger.checkpoint().residual)];
    expect(sizes(await adoptAgain(opened, true))).toBeCloseTo(before, 7);
    expect(sizes(await adoptAgain(opened, false))).toBeCloseTo(0, 7);
    expect(sizes(await adoptAgain(opened, true))).toBeCloseTo(before, 7);
  });

  it("is known for what it left out after a restart, and to others", async () => {
    const { ledger, modules } = await openLedger(waves(0.05, -1));
    await ledger.open(1, 1);
    const { updates, ...start } = ledger.checkpoint();
    expect(start.opposed).toHaveLength(1);
    const arithmetic = new LocalArithmetic(options);
    const again = { ...options, runId: RUN_ID, self: "me" };
    const restarted = await Ledger.open(again, { ...modules, arithmetic }, start, updates);
    const { opposed } = pageOf(restarted, { fromRound: 0 });
    expect(opposed?.map(({ announcement }) => announcement.author)).toEqual(["me"]);
    expect(await adoptAgain({ ledger: restarted, modules }, true)).toEqual(start.residual);
  });

  it("keeps of an own update that was scaled down nothing: what is above the bound is gone", async () => {
    const { ledger } = await openLedger(waves(0.05, 50));
    await ledger.open(1, 1);
    const { residual, pendingOwn } = ledger.checkpoint();
    residual.forEach((value) => {
      expect(value).toBeCloseTo(0, 7);
    });
    expect(pendingOwn).toHaveLength(1);
    expect(ledger.takeRestrained().map(({ update }) => update.announcement.author)).toContain("me");
  });
});
