// The commands there are, in the order the help lists them. Each one is loaded only when it is asked for.
import type { Command } from "./command.ts";

export interface CommandEntry {
  readonly name: string;
  readonly load: () => Promise<Command>;
}

/** A command's `run` takes its own settings; the table holds them all, so the parameter is erased here and only here. */
// biome-ignore lint/suspicious/noExplicitAny: erased on purpose, see above.
const entry = (name: string, load: () => Promise<Command<any>>): CommandEntry => ({ name, load });

export const COMMANDS: readonly CommandEntry[] = [
  entry("demo", async () => (await import("./demo.ts")).demoCommand),
  entry("bootstrap", async () => (await import("./bootstrap.ts")).bootstrapCommand),
  entry("tokenizer", async () => (await import("./tokenizer.ts")).tokenizerCommand),
  entry("init", async () => (await import("./init.ts")).initCommand),
  entry("import", async () => (await import("./import.ts")).importCommand),
  entry("plan", async () => (await import("./plan.ts")).planCommand),
  entry("sim", async () => (await import("./sim.ts")).simCommand),
  entry("train", async () => (await import("./train.ts")).trainCommand),
  entry("peer", async () => (await import("./peer.ts")).peerCommand),
  entry("eval", async () => (await import("./eval.ts")).evalCommand),
  entry("generate", async () => (await import("./generate.ts")).generateCommand),
  entry("export", async () => (await import("./export.ts")).exportCommand),
  entry("adapt", async () => (await import("./adapt.ts")).adaptCommand),
  entry("stats", async () => (await import("./stats.ts")).statsCommand),
  entry("log", async () => (await import("./log.ts")).logCommand),
  entry("verify", async () => (await import("./verify.ts")).verifyCommand),
  entry("doctor", async () => (await import("./doctor.ts")).doctorCommand),
  entry("version", async () => (await import("./version.ts")).versionCommand),
];
