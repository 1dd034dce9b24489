import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, open, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { StateCorruptError } from "./errors.ts";
import { ProtocolStore } from "./protocol-store.ts";
import { uniformCheckpoint } from "./testing/uniform-checkpoint.ts";

let directory: string;
let newest: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-store-"));
  newest = join(directory, "protocol.checkpoint");
});

afterEach(() => rm(directory, { recursive: true, force: true }));

async function flipByte(path: string, position: number): Promise<void> {
  const file = await open(path, "r+");
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, position);
  byte[0]! ^= 1;
  await file.write(byte, 0, 1, position);
  await file.close();
}

describe("a checkpoint", () => {
  test("is absent before the first save", async () => {
    expect(await (await ProtocolStore.open(directory)).load()).toBeUndefined();
  });

  test("comes back as it was saved, signed bytes included", async () => {
    const checkpoint = uniformCheckpoint(7);
    await (await ProtocolStore.open(directory)).save(checkpoint);
    expect(await (await ProtocolStore.open(directory)).load()).toEqual(checkpoint);
  });

  test("keeps every bit of its floats, also of a view into a larger buffer", async () => {
    const bits = Uint32Array.from([0, 0x80000000, 1, 0x7f7fffff, 0x3f800001]);
    const closedBody = new Float32Array(bits.buffer, 4, 3);
    const store = await ProtocolStore.open(directory);
    await store.save({ ...uniformCheckpoint(1), closedBody, residual: new Float32Array(3) });
    const loaded = (await store.load())!;
    const { buffer, byteOffset, length } = loaded.closedBody;
    expect([...new Uint32Array(buffer, byteOffset, length)]).toEqual([0x80000000, 1, 0x7f7fffff]);
  });

  test("saved many times at once is the one saved last", async () => {
    const store = await ProtocolStore.open(directory);
    await Promise.all([1, 2, 3, 4, 5].map((round) => store.save(uniformCheckpoint(round))));
    expect((await store.load())?.round).toBe(5);
  });

  test.each([
    ["its first byte", () => 0],
    ["its header", () => 40],
    ["its floats", (size: number) => size >> 1],
    ["its checksum", (size: number) => size - 1],
  ])("damaged in %s gives way to the one before it, and says so", async (_where, position) => {
    const reasons: StateCorruptError[] = [];
    const store = await ProtocolStore.open(directory, { onFallback: (reason) => reasons.push(reason) });
    await store.save(uniformCheckpoint(1));
    await store.save(uniformCheckpoint(2));
    await flipByte(newest, position((await readFile(newest)).byteLength));
    expect(await store.load()).toEqual(uniformCheckpoint(1));
    expect(reasons.map(({ path }) => path)).toEqual([newest]);
  });

  test("cut short at any length is never taken for whole", async () => {
    const store = await ProtocolStore.open(directory);
    await store.save(uniformCheckpoint(1));
    const whole = await readFile(newest);
    for (const length of [0, 1, 11, 12, 44, 500, whole.byteLength - 1]) {
      await writeFile(newest, whole);
      await truncate(newest, length);
      await expect(store.load(), `cut to ${length} bytes`).rejects.toBeInstanceOf(StateCorruptError);
    }
  });

  test("damaged in both generations is an error, not a fresh start", async () => {
    const store = await ProtocolStore.open(directory);
    await store.save(uniformCheckpoint(1));
    await store.save(uniformCheckpoint(2));
    await flipByte(newest, 100);
    await flipByte(`${newest}.previous`, 100);
    await expect(store.load()).rejects.toMatchObject({ code: "STATE_CORRUPT", path: newest });
  });

  test("is whole after its writer was killed at any moment", async () => {
    const script = join(import.meta.dirname, "testing", "write-forever.ts");
    let round = 0;
    for (let kill = 0; kill < 15; kill++) {
      const child = spawn(process.execPath, [script, directory], { stdio: ["ignore", "pipe", "inherit"] });
      await once(child.stdout, "data");
      // Kill after a number of saves that differs each time, somewhere inside the next one.
      for (let turn = 0; turn < kill * 3; turn++) await (await ProtocolStore.open(directory)).load();
      child.kill("SIGKILL");
      await once(child, "exit");
      const loaded = await (await ProtocolStore.open(directory)).load();
      if (loaded === undefined) continue;
      expect(loaded).toEqual(uniformCheckpoint(loaded.round));
      expect(loaded.round).toBeGreaterThanOrEqual(round);
      round = loaded.round;
    }
    expect(round).toBeGreaterThan(15);
  });
});

describe("payloads", () => {
  const bytes = Buffer.from("an update");
  const id = createHash("sha256").update(bytes).digest("hex");

  test("come back by content id, also after a restart", async () => {
    await (await ProtocolStore.open(directory)).putPayload(id, 3, bytes);
    const store = await ProtocolStore.open(directory);
    expect(Buffer.from((await store.payload(id))!)).toEqual(bytes);
    expect(await store.payload("00".repeat(32))).toBeUndefined();
  });

  test("are forgotten once their round is pruned, and only then", async () => {
    const store = await ProtocolStore.open(directory);
    await store.putPayload(id, 3, bytes);
    await store.prunePayloads(3);
    expect(await store.payload(id)).toBeDefined();
    await store.prunePayloads(4);
    expect(await store.payload(id)).toBeUndefined();
    expect(await (await ProtocolStore.open(directory)).payload(id)).toBeUndefined();
  });

  test("that were altered on disk count as absent", async () => {
    const store = await ProtocolStore.open(directory);
    await store.putPayload(id, 3, bytes);
    await flipByte(join(directory, "payloads", "3", id), 2);
    expect(await store.payload(id)).toBeUndefined();
    await store.putPayload(id, 3, bytes);
    expect(await store.payload(id)).toBeDefined();
  });

  test("never get a path from a name that is no hash", async () => {
    const store = await ProtocolStore.open(directory);
    await expect(store.putPayload("../../escape", 1, bytes)).rejects.toThrow("no content id");
    expect(await store.payload("../protocol.checkpoint")).toBeUndefined();
  });
});
