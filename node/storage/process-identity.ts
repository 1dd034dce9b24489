// Tells whether a process that once wrote its identity down still runs, in spite of pids being reused.
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";

export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, as an opaque text; "" where the platform does not say. */
  readonly startedAt: string;
}

const run = promisify(execFile);

/** Identity of a running process; `undefined` where no process has this pid. */
export async function identityOf(pid: number): Promise<ProcessIdentity | undefined> {
  if (!exists(pid)) return undefined;
  return { pid, startedAt: await startOf(pid) };
}

/** False once the process is gone, also when its pid belongs to another one by now. */
export async function isRunning({ pid, startedAt }: ProcessIdentity): Promise<boolean> {
  const now = await identityOf(pid);
  if (now === undefined) return false;
  return startedAt === "" || now.startedAt === "" || now.startedAt === startedAt;
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it is there and belongs to someone else.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

async function startOf(pid: number): Promise<string> {
  try {
    if (process.platform === "linux") {
      const [stat, bootId] = await Promise.all([
        readFile(`/proc/${pid}/stat`, "utf8"),
        readFile("/proc/sys/kernel/random/boot_id", "utf8"),
      ]);
      // Field 22 is the start in ticks since boot. The command (field 2) may hold blanks and brackets: count behind it.
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return `${bootId.trim()}:${fields[19]}`;
    }
    if (process.platform === "win32") return "";
    const { stdout } = await run("ps", ["-o", "lstart=", "-p", String(pid)]);
    return stdout.trim();
  } catch {
    return "";
  }
}
