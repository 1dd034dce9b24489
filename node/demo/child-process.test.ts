import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { GlossaEvent } from "../observability/events.ts";
import { startGlossa } from "./child-process.ts";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-child-"));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

const start = (name: string, ...args: string[]) => startGlossa(name, args, join(directory, `${name}.log`));

async function collect(events: AsyncIterable<GlossaEvent>): Promise<GlossaEvent[]> {
  const all: GlossaEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

async function firstAddress(events: AsyncIterable<GlossaEvent>): Promise<string> {
  for await (const event of events) if (event.event === "listening") return event.addresses[0]!;
  throw new Error("it never listened");
}

const bootstrap = (state: string) =>
  start(
    "bootstrap",
    ...["bootstrap", "--listen", "/ip4/127.0.0.1/tcp/0", "--state-dir", state, "--events", "json"],
  );

test("a child that fails is known by its exit code and its last words", async () => {
  const child = start("wrong", "peer", "--data");
  expect(await collect(child.events)).toEqual([]);
  expect(await child.exited).toMatchObject({
    code: 2,
    tail: [expect.stringContaining("--data needs a value")],
  });
  expect(await readFile(join(directory, "wrong.log"), "utf8")).toContain("glossa: --data needs a value");
});

test("a rendezvous takes a run, keeps its identity and its state to itself, and leaves with exit code 0", async () => {
  const state = join(directory, "state");
  const first = bootstrap(state);
  try {
    const address = await firstAddress(first.events);
    const init = start(
      "init",
      "init",
      "--bootstrap",
      address,
      "--output",
      join(directory, "run.json"),
      "--json",
    );
    const created = (await collect(init.events)).find((event) => event.event === "run-created");
    expect((await init.exited).code).toBe(0);
    expect(created).toMatchObject({ uploaded: true, bodyParameters: expect.any(Number) });
    expect(created?.invite).toMatch(/^glossa1/);

    const second = bootstrap(state);
    expect(await second.exited).toMatchObject({
      code: 30,
      tail: [expect.stringContaining(`process ${first.pid}`)],
    });

    await first.stop();
    expect(await first.exited).toMatchObject({ code: 0, signal: null });
    const again = bootstrap(state);
    const peerId = (text: string) => text.split("/p2p/")[1];
    expect(peerId(await firstAddress(again.events))).toBe(peerId(address));
    await again.stop();
  } finally {
    await first.stop();
  }
});

test("a run for a rendezvous that is not there is refused with the reason", async () => {
  const nobody = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWGjMCwKZGWRkPhPVPQ2Gb1mpEGYzbzWJHhyt1Qp8vWJ5N";
  const init = start(
    "init",
    "init",
    "--bootstrap",
    nobody,
    "--output",
    join(directory, "run.json"),
    "--json",
  );
  await collect(init.events);
  const { code, tail } = await init.exited;
  expect(code === 21 || code === 25, tail.join("\n")).toBe(true);
  expect(JSON.parse(tail.at(-1)!)).toHaveProperty("error.remedy");
});
