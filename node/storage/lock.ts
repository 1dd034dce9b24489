// A lock file that dies with its process. Only one living process holds it; whoever finds the lock of a dead one takes
// it over. Knows nothing of what it protects.
import { randomUUID } from "node:crypto";
import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { storageError } from "./errors.ts";
import { identityOf, isRunning, type ProcessIdentity } from "./process-identity.ts";

export interface LockHolder extends ProcessIdentity {
  readonly host: string;
  /** Tells one taking of the lock from every other. */
  readonly token: string;
}

export interface Lock {
  readonly holder: LockHolder;
  /** Gives the lock back; doing it twice, or after it was taken away by hand, does nothing. */
  release(): Promise<void>;
}

/** Someone else holds the lock. */
export class LockHeldError extends Error {
  readonly code = "LOCK_HELD";
  readonly path: string;
  readonly holder: LockHolder;

  constructor(path: string, holder: LockHolder) {
    super(`${path} is held by process ${holder.pid} on ${holder.host}: stop that one first.`);
    this.name = "LockHeldError";
    this.path = path;
    this.holder = holder;
  }
}

/**
 * Takes the lock at `path`, also from a holder that is dead.
 *
 * Creating is atomic because the file is written aside and linked into place. Replacing a dead holder's file happens
 * under a second lock of the same kind, and only if the file still names the holder that was found dead: of two
 * processes that find it at once, one wins and the other sees the winner. A holder on another machine (a shared
 * volume) cannot be examined and counts as alive.
 * @throws {LockHeldError}
 */
export async function takeLock(path: string): Promise<Lock> {
  const self = await identityOf(process.pid);
  const holder: LockHolder = { ...self!, host: hostname(), token: randomUUID() };
  const aside = `${path}.${holder.token}`;
  try {
    await writeFile(aside, `${JSON.stringify(holder)}\n`, { flag: "wx" });
    await place(aside, path);
  } catch (error) {
    throw storageError(error, path);
  } finally {
    await rm(aside, { force: true }).catch(() => {});
  }
  return { holder, release: () => release(path, holder) };
}

async function place(aside: string, path: string): Promise<void> {
  for (;;) {
    if (await linkIfAbsent(aside, path)) return;
    const found = await readHolder(path);
    // Released between the two calls: try again.
    if (found === undefined) continue;
    if (found !== DAMAGED && (await isAlive(found))) throw new LockHeldError(path, found);
    const takeover = await takeLock(`${path}.takeover`);
    try {
      const now = await readHolder(path);
      if (now !== undefined && tokenOf(now) === tokenOf(found)) {
        await rename(aside, path);
        return;
      }
    } finally {
      await takeover.release();
    }
  }
}

async function linkIfAbsent(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function isAlive(holder: LockHolder): Promise<boolean> {
  return holder.host !== hostname() || (await isRunning(holder));
}

/** A lock file is whole as long as its holder lives (see `takeLock`): a damaged one is what a power cut has left. */
const DAMAGED = "damaged";

function tokenOf(holder: LockHolder | typeof DAMAGED): string {
  return holder === DAMAGED ? DAMAGED : holder.token;
}

async function readHolder(path: string): Promise<LockHolder | typeof DAMAGED | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    const { pid, startedAt, host, token } = JSON.parse(text) as LockHolder;
    const whole =
      Number.isSafeInteger(pid) && [startedAt, host, token].every((part) => typeof part === "string");
    return whole ? { pid, startedAt, host, token } : DAMAGED;
  } catch {
    return DAMAGED;
  }
}

async function release(path: string, { token }: LockHolder): Promise<void> {
  const now = await readHolder(path).catch(() => undefined);
  if (now !== undefined && tokenOf(now) === token) await rm(path, { force: true });
}
