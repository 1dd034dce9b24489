// Swarms in the paper's variants: what of the model is shared, and who holds which rows of it.
import { describe, expect, it } from "vitest";
import { bodyRoot } from "./core/merkle.ts";
import { VARIANTS, type Variant } from "./core/run-config.ts";
import { sha256 } from "./net/hash.ts";
import {
  expectAgreement,
  expectMeansOverHolders,
  expectNothingLost,
  finish,
} from "./testing/expectations.ts";
import { Liar } from "./testing/liar.ts";
import { SWARM_ROWS, Swarm, type SwarmOptions, type SwarmPeer } from "./testing/swarm.ts";

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => from + at);

/** Rows that all hold, that two hold, that one holds, and row 28, which nobody does. */
const ROWS: Readonly<Record<string, readonly number[]>> = {
  ada: range(0, 15),
  bea: [...range(0, 5), ...range(10, 20), 27],
  cleo: [0, 1, 2, 3, 4, 12, 20, 22, 24, 26, 29],
  dora: [3, 13, 21, 23, 25],
};
const NOBODYS_ROW = 28;

async function swarmOf(
  names: readonly string[],
  rounds: number,
  { averaging, ...options }: SwarmOptions,
): Promise<Swarm> {
  const swarm = new Swarm({ ...options, averaging: { minimumPeers: names.length, ...averaging } });
  for (const [at, name] of names.entries()) {
    await swarm.add(name, { rounds, rows: ROWS[name]!, stepMs: 400 + 60 * at });
  }
  return swarm;
}

const NAMES = ["ada", "bea", "cleo"];

const rowOf = (swarm: Swarm, body: Float32Array, row: number) => {
  const { offset, shape } = swarm.layout.tensors.at(-1)!;
  const width = shape[1]!;
  return body.slice(offset + row * width, offset + (row + 1) * width);
};

/** Identical roots at the end, bodies that are the means of those who hold, and nothing of anyone's work lost. */
function expectOneBody(swarm: Swarm, witness: SwarmPeer = swarm.list[0]!): void {
  expect(swarm.list.map(({ outcome }) => outcome?.reason)).toEqual(swarm.list.map(() => "completed"));
  expect(new Set(swarm.list.map(({ outcome }) => outcome!.root)).size).toBe(1);
  expectMeansOverHolders(swarm, witness);
  for (const peer of swarm.list) expectNothingLost(swarm, peer, witness);
}

describe.each(VARIANTS)("a swarm in variant %s", (variant) => {
  it("agrees on every round, loses nothing, and averages over those that hold", async () => {
    const swarm = await swarmOf(NAMES, 6, { variant });
    await finish(swarm);
    expectAgreement(swarm, 5);
    expectOneBody(swarm);
  });

  it("warms up newcomers where embeddings are private, and nobody where they come with the body", async () => {
    const swarm = await swarmOf(["ada", "bea"], 14, { variant });
    await swarm.reach(4);
    const cleo = await swarm.add("cleo", { rounds: 14, rows: ROWS.cleo! });
    await finish(swarm);
    expect(cleo.count("synced")).toBe(1);
    expect(cleo.count("warm-up-step")).toBe(variant === "trim" || variant === "glob" ? 0 : 2);
    expect(cleo.count("published")).toBeGreaterThan(4);
    expectAgreement(swarm, 12);
    expectOneBody(swarm, swarm.peer("ada"));
  });
});

describe("a swarm in variant trim", () => {
  it.each(["float32", "int8", "int4", "sign", "topk"] as const)(
    "holds the same bodies with codec %s, each update with its author's rows",
    async (codec) => {
      const swarm = await swarmOf(NAMES, 5, { variant: "trim", averaging: { codec } });
      await finish(swarm);
      expectOneBody(swarm);
      const updates = swarm.history(swarm.peer("ada"));
      expect(updates.length).toBe(15);
      for (const update of updates) expect([...swarm.decoded(update).heldRows!]).toEqual(ROWS[update.author]);
    },
  );

  it("leaves the rows that nobody holds as they were, and moves all others", async () => {
    const swarm = await swarmOf(NAMES, 4, { variant: "trim" });
    await finish(swarm);
    const body = swarm.peer("bea").driver.body();
    for (const row of range(0, SWARM_ROWS)) {
      const held = Object.entries(ROWS).some(([name, rows]) => NAMES.includes(name) && rows.includes(row));
      const same = rowOf(swarm, body, row).every((value, at) =>
        Object.is(value, rowOf(swarm, swarm.genesis, row)[at]),
      );
      expect([row, same]).toEqual([row, !held]);
    }
    expect(rowOf(swarm, body, NOBODYS_ROW)).toEqual(rowOf(swarm, swarm.genesis, NOBODYS_ROW));
  });

  it("moves a row that only one peer holds by that peer's work alone", async () => {
    const swarm = await swarmOf(NAMES, 4, { variant: "trim", averaging: { codec: "float32" } });
    await finish(swarm);
    const cleo = swarm.peer("cleo");
    const before = rowOf(swarm, swarm.genesis, 29);
    const moved = rowOf(swarm, Float32Array.from(cleo.trainerDisk.moved), 29);
    rowOf(swarm, swarm.peer("ada").driver.body(), 29).forEach((value, at) => {
      expect(value).toBeCloseTo(before[at]! - moved[at]!, 5);
    });
  });

  it("sends fewer bytes the fewer rows it holds, and never more than was announced as possible", async () => {
    const swarm = await swarmOf(["ada", "dora"], 4, { variant: "trim" });
    await finish(swarm);
    const bytesOf = (author: string) =>
      swarm
        .history(swarm.peer("ada"))
        .filter((update) => update.author === author)
        .map(({ payloadBytes }) => payloadBytes);
    // Ten rows of 16 values as int8; fifteen neighbours of thirty take two bytes, five strewn ones three.
    expect(bytesOf("ada")[0]! - bytesOf("dora")[0]!).toBe(10 * 16 + 2 - 3);
    expect(Math.max(...bytesOf("ada"))).toBeLessThan(swarm.codec.maxPayloadBytes);
  });

  it("has every root of variant glob where all hold all rows", async () => {
    const rootsOf = async (variant: Variant) => {
      const swarm = new Swarm({ variant, averaging: { minimumPeers: 3 }, seed: 5 });
      for (const name of NAMES) await swarm.add(name, { rounds: 6 });
      await finish(swarm);
      return swarm.peer("ada").driver.status().rounds;
    };
    const [trim, glob] = [await rootsOf("trim"), await rootsOf("glob")];
    expect(trim).toEqual(glob);
    expect(trim.length).toBe(6);
  });

  it("charges whoever breaks the rows of an update, and counts it nowhere", async () => {
    const swarm = await swarmOf(NAMES, 6, { variant: "trim" });
    new Liar(swarm, "mallory", "broken-rows", swarm.peer("ada"));
    await finish(swarm);
    expectOneBody(swarm);
    const offences = swarm.network.penalties.map(({ peer, offence }) => `${peer} ${offence}`);
    expect(new Set(offences)).toEqual(new Set(["mallory undecodable-payload"]));
    expect(new Set(swarm.history(swarm.peer("ada")).map(({ author }) => author))).toEqual(new Set(NAMES));
  });

  it("counts whole updates beside partial ones", async () => {
    const swarm = new Swarm({ variant: "trim", averaging: { minimumPeers: 2 } });
    await swarm.add("ada", { rounds: 5 });
    await swarm.add("bea", { rounds: 5, rows: ROWS.bea! });
    await finish(swarm);
    expectOneBody(swarm);
  });
});

describe("held rows", () => {
  it("are needed in variant trim and refused in the others", async () => {
    const swarm = new Swarm({ variant: "trim" });
    const ada = await swarm.add("ada");
    const glob = new Swarm({ variant: "glob" });
    const bea = await glob.add("bea");
    const { signal } = new AbortController();
    const invalid = { code: "HELD_ROWS_INVALID" };
    await expect(swarm.driverOf(ada).start(signal)).rejects.toMatchObject(invalid);
    const start = (rows: number[]) => swarm.driverOf(ada).start(signal, { heldRows: Int32Array.from(rows) });
    await expect(start([])).rejects.toMatchObject(invalid);
    await expect(start([4, 3])).rejects.toMatchObject(invalid);
    await expect(start([SWARM_ROWS])).rejects.toMatchObject(invalid);
    const whole = glob.driverOf(bea).start(signal, { heldRows: Int32Array.of(0) });
    await expect(whole).rejects.toMatchObject(invalid);
  });

  it("may be others after a restart: the body stays one, and what is owed to rows given up waits", async () => {
    const swarm = await swarmOf(NAMES, 14, { variant: "trim" });
    await swarm.reach(4);
    const cleo = swarm.peer("cleo");
    // Nothing is unpublished: a trainer cannot keep progress in rows that it has no more.
    expect(await swarm.clock.run(60_000, () => cleo.count("round-started") === 6)).toBe(true);
    swarm.crash(cleo);
    const owed = rowOf(swarm, cleo.disk.checkpoint!.residual, 29);
    expect(owed.some((value) => value !== 0)).toBe(true);
    cleo.heldRows = Int32Array.from(ROWS.dora!);
    await swarm.restart(cleo);
    await finish(swarm);
    expect(new Set(swarm.list.map(({ outcome }) => outcome!.root)).size).toBe(1);
    expectMeansOverHolders(swarm, swarm.peer("ada"));
    for (const peer of swarm.list) expectNothingLost(swarm, peer, swarm.peer("ada"));
    expect(rowOf(swarm, cleo.disk.checkpoint!.residual, 29)).toEqual(owed);
    const rows = swarm
      .history(swarm.peer("ada"))
      .filter(({ author }) => author === "cleo")
      .map((update) => `${swarm.decoded(update).heldRows}`);
    expect([...new Set(rows)]).toEqual([`${ROWS.dora}`, `${ROWS.cleo}`]);
  });
});

describe("variants spec and spec-opt", () => {
  it("send the same bytes: only the body", async () => {
    const updatesOf = async (variant: Variant) => {
      const swarm = await swarmOf(NAMES, 4, { variant });
      await finish(swarm);
      return swarm.history(swarm.peer("ada")).map(({ payload }) => payload);
    };
    const spec = await updatesOf("spec");
    expect(spec.length).toBe(12);
    expect(await updatesOf("spec-opt")).toEqual(spec);
  });
});

/** Loss, duplication, delay, a crash, a partition and a newcomer, drawn by seed. */
describe("a swarm under every fault at once", () => {
  it.each([
    ["trim", 0],
    ["trim", 1],
    ["trim", 2],
    ["trim", 3],
    ["glob", 1],
    ["glob", 2],
  ] as const)("in variant %s ends with one body (seed %i)", async (variant, seed) => {
    const conditions = {
      loss: 0.05 * (seed % 4),
      duplication: 0.1 * (seed % 3),
      latencyMs: [5, 200] as const,
    };
    const averaging = { openRounds: 2 + (seed % 2), codec: (["int8", "topk", "sign"] as const)[seed % 3]! };
    const swarm = await swarmOf(NAMES, 24, { variant, seed, conditions, averaging });
    await swarm.reach(3);
    const victim = swarm.peer(NAMES[seed % 3]!);
    swarm.crash(victim);
    await swarm.clock.run(1_000 * (1 + (seed % 5)));
    const [cut, ...rest] = NAMES.filter((name) => name !== victim.id);
    swarm.network.partition([cut!], [...rest, victim.id]);
    await swarm.restart(victim);
    await swarm.clock.run(1_500 * (1 + (seed % 4)));
    swarm.network.partition();
    await swarm.add("dora", { rounds: 24, rows: ROWS.dora! });
    await finish(swarm, 900_000);
    expectOneBody(swarm, swarm.peer(rest[0]!));
    expect(bodyRoot(victim.driver.body(), sha256)).toBe(victim.outcome!.root);
  });
});
