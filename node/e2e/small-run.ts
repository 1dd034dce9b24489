// A run small enough to test with: seconds of training, real in every other respect.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type GlossaProcess, TestBed } from "./processes.ts";

export const LOOPBACK = "/ip4/127.0.0.1/tcp/0";

export interface SmallRun {
  readonly bed: TestBed;
  readonly bootstrap: GlossaProcess;
  readonly invite: string;
  /** A peer of the run on a text of its own, followed through its events. */
  peer(name: string, text: string, ...flags: string[]): GlossaProcess;
}

/** Values of the run's body: 1 block of width 24. */
export const MODEL_FLAGS = ["--blocks", "1", "--width", "24", "--heads", "2", "--sequence-length", "32"];

export async function startRun(flags: readonly string[] = []): Promise<SmallRun> {
  const bed = await TestBed.create();
  const bootstrap = bed.run("bootstrap", "--listen", LOOPBACK, "--events", "json");
  const { addresses } = await bootstrap.event("listening");
  const init = bed.run(
    ...["init", "--json", "--bootstrap", addresses[0]!, "--output", join(bed.directory, "run.json")],
    ...[...MODEL_FLAGS, "--batch-size", "8", "--local-steps", "10", "--rounds", "30"],
    ...["--warmup-steps", "10", "--learning-rate", "0.01", ...flags],
  );
  const { invite } = await init.event("run-created");
  return {
    bed,
    bootstrap,
    invite,
    peer: (name, text, ...more) =>
      bed.run(
        ...["peer", "--join", invite, "--name", name, "--data", text, "--listen", LOOPBACK],
        ...["--device", "cpu", "--threads", "1", "--events", "json", "--log-format", "json", ...more],
      ),
  };
}

/** The root each peer had after each round that it applied, by round. */
export function rootsOf(peer: GlossaProcess): Map<number, string> {
  return new Map(
    peer.events.flatMap((event) =>
      event.event === "round-applied" ? [[event.round, event.bodyRoot] as const] : [],
    ),
  );
}

export async function scratchFile(bed: TestBed, name: string, content: string | Uint8Array): Promise<string> {
  const path = join(bed.directory, name);
  await writeFile(path, content);
  return path;
}
