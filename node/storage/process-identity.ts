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

/** Identity of a running process; `undefined` where no process has this pid, or one that is dead and only not collected yet. */
export async function identityOf(pid: number): Promise<ProcessIdentity | undefined> {
  if (!exists(pid)) return undefined;
  const { state, startedAt } = await describe(pid);
  // A zombie has a pid and takes signals for as long as its parent does not ask for it.
  return /^[ZXx]/.test(state) ? undefined : { pid, startedAt };
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

/** Both are "" where the platform does not say. */
async function describe(pid: number): Promise<{ state: string; startedAt: string }> {
  try {
    if (process.platform === "linux") {
      const [stat, bootId] = await Promise.all([
        readFile(`/proc/${pid}/stat`, "utf8"),
        readFile("/proc/sys/kernel/random/boot_id", "utf8"),
      ]);
      // Field 3 is the state, field 22 the start in ticks since boot. The command (field 2) may hold blanks and brackets:
      // count behind it.
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return { state: fields[0]!, startedAt: `${bootId.trim()}:${fields[19]}` };
    }
    if (process.platform === "win32") return { state: "", startedAt: "" };
    const { stdout } = await run("ps", ["-o", "state=", "-o", "lstart=", "-p", String(pid)]);
    const [, state = "", startedAt = ""] = /^\s*(\S+)\s+(.*?)\s*$/s.exec(stdout) ?? [];
    return { state, startedAt };
  } catch {
    return { state: "", startedAt: "" };
  }
}
