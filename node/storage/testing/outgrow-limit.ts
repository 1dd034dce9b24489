// Child of atomic-file.test.ts, run under a limit of 64 to 128 KiB a file: saves a small file, then one that is too
// large, and prints the error's code and what the file holds after it.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeAtomic } from "../atomic-file.ts";

// Without a handler the signal that comes with the limit ends the process; with one the write fails instead.
process.on("SIGXFSZ", () => {});
const path = join(process.argv[2]!, "state");
await writeAtomic(path, "old");
const code = await writeAtomic(path, new Uint8Array(2 ** 20)).then(
  () => "written",
  (error: { code?: string }) => error.code ?? String(error),
);
process.stdout.write(`${code} ${await readFile(path, "utf8")}\n`);
