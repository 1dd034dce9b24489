import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readIfPresent, requireFreeSpace, writeAtomic } from "./atomic-file.ts";
import { DiskFullError, StateNotWritableError, storageError } from "./errors.ts";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "glossa-atomic-"));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

test("a written file holds the chunks in order and leaves nothing beside it", async () => {
  const path = join(directory, "file");
  await writeAtomic(path, [Buffer.from("one "), Buffer.from("two")]);
  expect(await readFile(path, "utf8")).toBe("one two");
  expect(await readdir(directory)).toEqual(["file"]);
});

test("a secret is readable by its owner alone", async () => {
  const path = join(directory, "secret");
  await writeAtomic(path, "key", { mode: 0o600 });
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test("a write that fails midway leaves the old content and nothing beside it", async () => {
  const path = join(directory, "file");
  await writeAtomic(path, "old");
  function* failing() {
    yield Buffer.from("new, but only ha");
    throw new Error("the generator broke");
  }
  await expect(writeAtomic(path, failing())).rejects.toThrow("the generator broke");
  expect(await readFile(path, "utf8")).toBe("old");
  expect(await readdir(directory)).toEqual(["file"]);
});

test("an absent file reads as undefined", async () => {
  expect(await readIfPresent(join(directory, "absent"))).toBeUndefined();
});

test("a write without room is a full disk, before anything is lost", async () => {
  await expect(requireFreeSpace(directory, 2 ** 60)).rejects.toMatchObject({
    code: "DISK_FULL",
    bytesNeeded: 2 ** 60,
  });
  await expect(requireFreeSpace(directory, 1)).resolves.toBeUndefined();
});

test.runIf(process.platform === "linux")(
  "what a full device answers becomes the disk-full error",
  async () => {
    const refusal = await writeFile("/dev/full", "x").catch((error: unknown) => error);
    expect(storageError(refusal, "/dev/full")).toBeInstanceOf(DiskFullError);
  },
);

test.runIf(process.getuid?.() !== 0)("a directory without permission becomes a typed error", async () => {
  const locked = join(directory, "locked");
  await mkdir(locked, { mode: 0o500 });
  await expect(writeAtomic(join(locked, "file"), "x")).rejects.toBeInstanceOf(StateNotWritableError);
});

test.skipIf(process.platform === "win32")(
  "a save that outgrows the room for files keeps the old state",
  async () => {
    const script = join(import.meta.dirname, "testing", "outgrow-limit.ts");
    const command = `ulimit -f 128 && exec "$0" "$1" "$2"`;
    const { stdout } = await promisify(execFile)("bash", [
      "-c",
      command,
      process.execPath,
      script,
      directory,
    ]);
    expect(stdout.trim()).toBe("DISK_FULL old");
  },
);

test("says what is in the way of a file", async () => {
  await writeFile(join(directory, "file"), "");
  const ways = {
    [join(directory, "nowhere", "file")]: /its folder is not there/,
    [directory]: /it is a folder/,
    [join(directory, "file", "file")]: /a file is in the place of its folder/,
  };
  for (const [path, message] of Object.entries(ways))
    await expect(writeAtomic(path, "x")).rejects.toThrow(message);
});
