import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { sha256Hex } from "#protocol/net/hash.ts";
import { runCli } from "./main.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-tokenizer-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function glossa(...argv: string[]) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const { signal } = new AbortController();
  const exitCode = await runCli(["tokenizer", ...argv], { signal, stdout, stderr, environment: {} });
  return { exitCode, stdout: String(stdout.read() ?? ""), stderr: String(stderr.read() ?? "") };
}

/** Many documents of the same words. */
async function textFile(name: string, words: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, `${words}\n\n`.repeat(500));
  return path;
}

test("a common tokenizer knows each of its texts, however much longer one of them is", async () => {
  const long = await textFile("long.txt", "the mountains and rivers without end ".repeat(20));
  const short = await textFile("short.txt", "the zyzzyva");
  const output = join(directory, "common.json");
  const flags = ["--vocabulary-size", "285", "--sample-bytes", "9000", "--output", output];
  const { exitCode, stdout } = await glossa("--json", ...flags, long, short);
  expect(exitCode).toBe(0);
  const json = await readFile(output, "utf8");
  expect(JSON.parse(stdout)).toEqual({
    ...{ event: "tokenizer-created", file: output, vocabularySize: 285 },
    sha256: sha256Hex(Buffer.from(json)),
  });
  const tokenizer = Tokenizer.fromJson(json);
  // Eight bytes each.
  for (const word of [" zyzzyva", " without"]) expect(tokenizer.encode(word).length).toBeLessThan(5);
});

test("another tokenizer is never written over, the same one may be made again", async () => {
  const text = await textFile("text.txt", "to be or not to be");
  const output = join(directory, "tokenizer.json");
  expect(await glossa("--vocabulary-size", "260", "--output", output, text)).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining(`glossa init --variant trim --tokenizer ${output}`),
  });
  expect(await glossa("--vocabulary-size", "260", "--output", output, text)).toMatchObject({ exitCode: 0 });
  expect(await glossa("--vocabulary-size", "261", "--output", output, text)).toMatchObject({ exitCode: 2 });
});

test("a vocabulary that the text is too small for is refused", async () => {
  const text = await textFile("text.txt", "to be or not to be");
  const output = join(directory, "tokenizer.json");
  expect(await glossa("--vocabulary-size", "5000", "--output", output, text)).toMatchObject({ exitCode: 13 });
  expect(await glossa("--output", output, text)).toMatchObject({ exitCode: 2 });
});
