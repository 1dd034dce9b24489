// A peer whose owner adds to its text, or takes of it away, between two starts.
import { readFile, writeFile } from "node:fs/promises";
import { afterEach, expect, it } from "vitest";
import { type SmallRun, startRun } from "./small-run.ts";

let run: SmallRun | undefined;
afterEach(async () => {
  await run?.bed.close();
  run = undefined;
});

it("goes on with more text and with less, with the tokenizer and embeddings that it has", async () => {
  run = await startRun(["--minimum-peers", "1"]);
  const path = await run.bed.corpus("es-scripture", 200_000);
  const text = await readFile(path, "utf8");
  const lives = [text.slice(0, 120_000), text, text.slice(0, 60_000)];
  const tokens: number[] = [];
  for (const [life, content] of lives.entries()) {
    await writeFile(path, content);
    const size = life === 0 ? ["--vocabulary-size", "400"] : [];
    const peer = run.peer("es", path, ...size, "--rounds", `${2 * (life + 1)}`);
    tokens.push((await peer.event("tokens-ready")).tokens);
    const { rounds, vocabularySize, steps } = await peer.event("finished");
    expect({ rounds, vocabularySize }).toEqual({ rounds: 2 * (life + 1), vocabularySize: 400 });
    expect(steps).toBeGreaterThanOrEqual(rounds * 10);
    expect(await peer.finished()).toBe(0);
    const changes = peer.events.filter(({ event }) => event === "text-changed");
    expect(changes).toEqual(
      life === 0 ? [] : [{ event: "text-changed", tokensBefore: tokens[life - 1], tokens: tokens[life] }],
    );
  }
  expect(tokens[1]).toBeGreaterThan(tokens[0]!);
  expect(tokens[2]).toBeLessThan(tokens[0]!);
});
