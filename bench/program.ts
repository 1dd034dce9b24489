// A program that is compared with ours: started with a command line, asked by lines, answering with lines of JSON.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { plainEnvironment } from "#model/runtime/process-environment.ts";

export class Program {
  /** Its first line, which says its name. Rejects with what it said last where it could not start. */
  readonly ready: Promise<{ name: string }>;
  /** Asks one line and gives the answer. */
  readonly ask: (line: string) => Promise<unknown>;
  readonly end: () => void;

  constructor(command: string, flags: readonly string[]) {
    const [file, ...first] = command.split(" ").filter((word) => word !== "");
    const child = spawn(file ?? "", [...first, ...flags], {
      env: plainEnvironment(process.env),
      stdio: ["pipe", "pipe", "pipe"],
    });
    let complaint = "";
    child.stderr.on("data", (chunk: Buffer) => {
      complaint = `${complaint}${chunk}`.slice(-2000);
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const failed = new Promise<never>((_, reject) => {
      child.on("error", reject);
      // What it said last is what it died of.
      child.on("close", () => reject(new Error(complaint.trim().split("\n").at(-1) || "it ended")));
    });
    failed.catch(() => {});
    const next = async () => {
      const line = await Promise.race([lines.next(), failed]);
      return line.done ? failed : JSON.parse(line.value);
    };
    this.ready = next();
    this.ask = (line) => {
      child.stdin.write(`${line}\n`);
      return next();
    };
    this.end = () => {
      child.kill();
    };
    child.stdin.on("error", () => {});
  }
}
