// The per-user directory of sockets of running peers. It outlives no reboot and belongs to this user alone.
import { lstat, mkdir } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { StateNotWritableError } from "../storage/errors.ts";

/** A socket's path must fit 104 bytes (macOS; 108 on Linux); its name takes 22 of them. */
const MAX_DIRECTORY_BYTES = 80;

/**
 * Creates the directory where needed: GLOSSA_RUNTIME_DIR, or `glossa` in XDG_RUNTIME_DIR, or one in the temporary
 * directory. Anyone can make a directory there first, so its owner is checked.
 * @throws {StateNotWritableError}
 */
export async function runtimeDirectory(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<string> {
  const path = runtimePath(environment);
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    const facts = await lstat(path);
    const mine = process.getuid === undefined || facts.uid === process.getuid();
    if (facts.isDirectory() && mine) return path;
  } catch (error) {
    throw new StateNotWritableError(path, { cause: error });
  }
  throw new StateNotWritableError(path, { cause: new Error("it belongs to someone else") });
}

function runtimePath(environment: Readonly<Record<string, string | undefined>>): string {
  const user = process.getuid?.() ?? userInfo().username;
  const wanted =
    environment.GLOSSA_RUNTIME_DIR ||
    (environment.XDG_RUNTIME_DIR
      ? join(environment.XDG_RUNTIME_DIR, "glossa")
      : join(tmpdir(), `glossa-${user}`));
  return Buffer.byteLength(wanted) <= MAX_DIRECTORY_BYTES ? wanted : join("/tmp", `glossa-${user}`);
}
