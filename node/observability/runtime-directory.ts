// The per-user directory of sockets of running peers. It outlives no reboot and belongs to this user alone.
import { lstat, mkdir } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { StateNotWritableError } from "../storage/errors.ts";

/** A socket's path must fit 104 bytes (macOS; 108 on Linux); its name takes 22 of them. */
const MAX_DIRECTORY_BYTES = 80;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Creates the directory where needed: GLOSSA_RUNTIME_DIR, or `glossa` in XDG_RUNTIME_DIR, or one in the temporary
 * directory. Anyone can make a directory there first, so its owner is checked.
 * @throws {StateNotWritableError}
 */
export async function makeRuntimeDirectory(environment: Environment = process.env): Promise<string> {
  const path = runtimePath(environment);
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    if (await isMine(path)) return path;
  } catch (error) {
    throw new StateNotWritableError(path, { cause: error });
  }
  throw belongsToOthers(path);
}

/**
 * The same directory for who only looks: undefined where no peer has made it yet.
 * @throws {StateNotWritableError} where it is someone else's
 */
export async function findRuntimeDirectory(
  environment: Environment = process.env,
): Promise<string | undefined> {
  const path = runtimePath(environment);
  try {
    if (await isMine(path)) return path;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new StateNotWritableError(path, { cause: error });
  }
  throw belongsToOthers(path);
}

async function isMine(path: string): Promise<boolean> {
  const facts = await lstat(path);
  return facts.isDirectory() && (process.getuid === undefined || facts.uid === process.getuid());
}

const belongsToOthers = (path: string) =>
  new StateNotWritableError(path, { cause: new Error("it belongs to someone else") });

function runtimePath(environment: Environment): string {
  const user = process.getuid?.() ?? userInfo().username;
  const wanted =
    environment.GLOSSA_RUNTIME_DIR ||
    (environment.XDG_RUNTIME_DIR
      ? join(environment.XDG_RUNTIME_DIR, "glossa")
      : join(tmpdir(), `glossa-${user}`));
  return Buffer.byteLength(wanted) <= MAX_DIRECTORY_BYTES ? wanted : join("/tmp", `glossa-${user}`);
}
