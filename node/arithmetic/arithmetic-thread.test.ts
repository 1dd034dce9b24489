// The thread that averages: it answers to the bit what this thread would, keeps the classes of errors, leaves this thread to
// the network meanwhile, and dies neither unheard nor too late.
import { execFile } from "node:child_process";
import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:net";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parameterLayout } from "#protocol/core/layout.ts";
import { tileCount } from "#protocol/core/merkle.ts";
import { parseRunConfig, type RunConfigInput } from "#protocol/core/run-config.ts";
import type { SignedUpdate } from "#protocol/core/types.ts";
import type { ArithmeticOptions, BodyArithmetic } from "#protocol/driver/arithmetic.ts";
import { Ledger } from "#protocol/driver/ledger.ts";
import { LocalArithmetic } from "#protocol/driver/local-arithmetic.ts";
import { NonFiniteUpdateError, RoundNotHeldError } from "#protocol/errors.ts";
import { sha256, sha256Hex } from "#protocol/net/hash.ts";
import { MemoryDisk, memoryStore } from "#protocol/simulation/memory-store.ts";
import { Power } from "#protocol/simulation/power.ts";
import { ArithmeticLostError, ArithmeticThread } from "./arithmetic-thread.ts";

const RUN_ID = "ab".repeat(32);

let thread: ArithmeticThread;
beforeAll(() => {
  thread = new ArithmeticThread();
});
afterAll(() => thread.close());

function optionsOf(rows: number, averaging: RunConfigInput["averaging"] = {}): ArithmeticOptions {
  const tensors = [
    { name: "first.weight", shape: [rows, 64] },
    { name: "norm.weight", shape: [64] },
  ];
  const config = parseRunConfig({ model: { width: 64 }, averaging });
  return { config, layout: parameterLayout(tensors, sha256), hash: sha256 };
}

const waves = (length: number, phase: number) =>
  Float32Array.from({ length }, (_, at) => Math.sin(at * 0.37 + phase) / 50);

describe("what the thread answers", () => {
  /** Two updates counted, one taken back, a round closed, and an update moved between body and residual. */
  async function play(books: BodyArithmetic, { layout }: ArithmeticOptions): Promise<unknown[]> {
    const { total } = layout;
    const start = await books.describe(waves(total, 0));
    await books.begin(3, start);
    const own = await books.compress(waves(total, 1), waves(total, 2));
    const other = await books.compress(waves(total, 3), new Float32Array(total));
    const decoded = await books.decode(own.payload);
    if (!decoded.ok) throw new TypeError(decoded.rejection.detail);
    const outcomes = [
      await books.add(3, "own", decoded.update, 2),
      await books.add(3, "other", other.decoded, 1),
      await books.add(2, "late", own.decoded, 1),
    ];
    const both = await books.bodyAt(4);
    const removed = await books.remove(3, "other", other.decoded);
    const closed = await books.closeThrough(3);
    const returned = await books.moveResidual(own.residual, other.decoded, "return");
    const withdrawn = await books.moveResidual(returned, other.decoded, "withdraw");
    const refused = await books.decode(own.payload.subarray(1));
    await books.release(decoded.update);
    const facts = [own.payloadId, own.residualNorm, own.updateNorm, outcomes, removed, refused];
    return [...facts, start, both, closed, own.payload, own.residual, returned, withdrawn];
  }

  it.each(["int8", "topk"] as const)("is to the bit what this thread would (%s)", async (codec) => {
    const options = optionsOf(2_000, { codec });
    const here = await play(new LocalArithmetic(options), options);
    expect(await play(thread.open(options), options)).toEqual(here);
  });

  it("lies in memory that both threads see", async () => {
    const options = optionsOf(100);
    const books = thread.open(options);
    const described = await books.describe(waves(options.layout.total, 0));
    expect(described.body.buffer).toBeInstanceOf(SharedArrayBuffer);
    const again = await books.describe(described.body);
    described.body[0] = 7;
    expect(again.body[0]).toBe(7);
  });

  it("is of one run alone, however many it works for", async () => {
    const [small, large] = [optionsOf(10), optionsOf(20)];
    const [one, two] = [thread.open(small), thread.open(large)];
    await one.begin(0, await one.describe(waves(small.layout.total, 1)));
    await two.begin(5, await two.describe(waves(large.layout.total, 2)));
    expect((await one.bodyAt(0)).body).toEqual(waves(small.layout.total, 1));
    expect((await two.bodyAt(5)).body).toEqual(waves(large.layout.total, 2));
  });

  it("is an error of the same class, code and fields", async () => {
    const options = optionsOf(100);
    const books = thread.open(options);
    await books.begin(0, await books.describe(waves(options.layout.total, 0)));
    const bad = waves(options.layout.total, 1);
    bad[64 * 100 + 5] = Number.NaN;
    const failed = books.compress(bad, new Float32Array(options.layout.total));
    await expect(failed).rejects.toBeInstanceOf(NonFiniteUpdateError);
    await expect(failed).rejects.toMatchObject({
      code: "UPDATE_NOT_FINITE",
      tensor: "norm.weight",
      index: 5,
    });
    await expect(books.bodyAt(99)).rejects.toBeInstanceOf(RoundNotHeldError);
    // It goes on.
    expect((await books.bodyAt(0)).body[0]).toBe(0);
  });
});

describe("while a large update is counted", () => {
  const ROWS = 41_000;
  const options = optionsOf(ROWS);

  /** Serves tiles of the ledger over loopback and counts those that arrive until `work` is over. */
  async function tilesServedDuring(ledger: Ledger, work: () => Promise<unknown>): Promise<number> {
    const { root } = ledger.roots();
    const server = createServer((socket) => {
      socket.on("data", (asked) => socket.write(ledger.tile(root, asked[0]! % 10)!));
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    await new Promise((resolve) => socket.once("connect", resolve));
    let bytes = 0;
    socket.on("data", (piece) => {
      bytes += piece.length;
      if (bytes % 2 ** 18 === 0) socket.write(Uint8Array.of((bytes / 2 ** 18) % 10));
    });
    socket.write(Uint8Array.of(0));
    await work();
    const served = Math.floor(bytes / 2 ** 18);
    socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    return served;
  }

  async function countThree(books: BodyArithmetic): Promise<number> {
    const { layout, config } = options;
    const store = memoryStore(new MemoryDisk(), new Power());
    const ledger = await Ledger.open(
      { ...options, runId: RUN_ID, self: "me" },
      { arithmetic: books, store, nowMs: () => 0 },
      {
        closedRound: 0,
        closedBody: waves(layout.total, 0),
        round: 1,
        residual: new Float32Array(layout.total),
        pendingOwn: [],
      },
      [],
    );
    expect(tileCount(layout.total)).toBeGreaterThan(10);
    const maker = new LocalArithmetic({ ...options, config });
    const { payload } = await maker.compress(waves(layout.total, 1), new Float32Array(layout.total));
    return tilesServedDuring(ledger, async () => {
      // Late ones: each changes the body that this peer stands on.
      for (const author of ["a", "b", "c"]) {
        const outcome = await ledger.count(updateOf(author, payload), payload);
        expect(outcome.outcome).toBe("counted");
      }
    });
  }

  const updateOf = (author: string, payload: Uint8Array): SignedUpdate => ({
    announcement: {
      runId: RUN_ID,
      round: 0,
      author,
      payload: sha256Hex(payload),
      payloadBytes: payload.length,
      baseRoot: RUN_ID,
      tokens: 100,
      lossNatsPerToken: 1,
      bitsPerByte: 1,
    },
    envelope: new Uint8Array(1),
  });

  it("this thread goes on to serve tiles", async () => {
    const served = await countThree(thread.open(options));
    // In this thread alone a tile has no chance but between two of the few calls.
    const servedAlone = await countThree(new LocalArithmetic(options));
    expect(served).toBeGreaterThan(2);
    expect(servedAlone).toBe(0);
  });
});

describe("a thread that ends", () => {
  const broken = { ...optionsOf(10), layout: { tensors: null } } as unknown as ArithmeticOptions;

  it("fails what is open, says why, and takes nothing more", async () => {
    const options = optionsOf(10);
    const dying = new ArithmeticThread();
    const books = dying.open(options);
    const other = dying.open(broken);
    const described = other.describe(waves(options.layout.total, 0));
    await expect(described).rejects.toBeInstanceOf(ArithmeticLostError);
    const lost = await books.lost!;
    expect(lost).toMatchObject({ code: "ARITHMETIC_LOST" });
    expect(lost.message).toMatch(/start the peer again/);
    expect(lost.cause).toBeInstanceOf(Error);
    await expect(books.bodyAt(0)).rejects.toBe(lost);
  });

  it("because it was closed is no loss", async () => {
    const options = optionsOf(10);
    const closing = new ArithmeticThread();
    const books = closing.open(options);
    let lost = false;
    void books.lost!.then(() => {
      lost = true;
    });
    await books.describe(waves(options.layout.total, 0));
    await closing.close();
    await expect(books.describe(waves(options.layout.total, 0))).rejects.toThrow(/closed/);
    expect(lost).toBe(false);
  });
});

/** Runs code in a process of its own, which has to end by itself. */
async function runAlone(code: string): Promise<string> {
  const here = JSON.stringify(import.meta.dirname);
  const whole = `(async () => { const here = ${here};\n${code} })()`;
  const { stdout } = await promisify(execFile)(process.execPath, ["-e", whole], { timeout: 50_000 });
  return stdout.trim();
}

it("keeps no process from ending, and is waited for while it is asked", async () => {
  const printed = await runAlone(`
    const { ArithmeticThread } = await import(here + "/arithmetic-thread.ts");
    const { sha256 } = await import(here + "/../../protocol/net/hash.ts");
    const { parameterLayout } = await import(here + "/../../protocol/core/layout.ts");
    const { parseRunConfig } = await import(here + "/../../protocol/core/run-config.ts");
    const layout = parameterLayout([{ name: "a", shape: [4, 4] }], sha256);
    const books = new ArithmeticThread().open({ layout, config: parseRunConfig({}), hash: sha256 });
    console.log((await books.describe(new Float32Array(16))).tiles.length);
  `);
  expect(printed).toBe("1");
});

it("leaves no shared memory lying that nobody holds", async () => {
  const [turns, bytes] = [24, 64 * 2 ** 20];
  const peak = await runAlone(`
    const { sharedMemory } = await import(here + "/shared-memory.ts");
    let peak = 0;
    for (let turn = 0; turn < ${turns}; turn++) {
      const pages = new Uint8Array(sharedMemory(${bytes}));
      for (let at = 0; at < pages.length; at += 4096) pages[at] = 1;
      await new Promise((resolve) => setImmediate(resolve));
      peak = Math.max(peak, process.memoryUsage.rss());
    }
    console.log(peak);
  `);
  expect(Number(peak)).toBeLessThan((turns * bytes) / 2);
});
