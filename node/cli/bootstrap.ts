// `glossa bootstrap`: runs the rendezvous until it is stopped, and prints the address to hand out.
import { join } from "node:path";
import { z } from "zod";
import { createRendezvous } from "#bootstrap/rendezvous.ts";
import { requireAddress } from "#protocol/net/addresses.ts";
import { logSettings, networkSettings, WATCHING } from "../config.ts";
import { Lifecycle } from "../lifecycle.ts";
import { eventWriter } from "../observability/events.ts";
import { createLog } from "../observability/log.ts";
import { choice, setting, text } from "../settings.ts";
import { glossaHome, StateDirectory } from "../storage/state-directory.ts";
import { defineCommand } from "./command.ts";

export const bootstrapCommand = defineCommand({
  name: "bootstrap",
  summary: "Run a rendezvous, where the peers of runs find each other.",
  description:
    "Runs a rendezvous: it tells peers of a run where the others are and keeps the run's manifest. It never sees " +
    "text, embeddings or updates, and a run whose peers know each other goes on without it. Its identity is kept, " +
    "so the address it prints stays good.",
  settings: z.object({
    ...networkSettings,
    stateDir: setting(text("must be a directory").optional(), {
      description: "Directory of its identity and of the manifests it keeps.",
      value: "DIRECTORY",
      defaultText: "~/.glossa/bootstrap",
      group: "Where",
    }),
    ...logSettings,
    events: setting(choice(["none", "json"]).default("none"), {
      description: "json prints one machine-readable event a line on stdout.",
      value: "FORMAT",
      group: WATCHING,
    }),
  }),
  readsEnvironment: true,
  examples: [
    ["glossa bootstrap --listen /ip4/0.0.0.0/tcp/4001", "On a machine that others can reach"],
    [
      "glossa bootstrap --listen /ip4/0.0.0.0/tcp/4001 --announce /dns4/meet.example.org/tcp/4001",
      "Behind a name or a port that is forwarded",
    ],
  ],
  async run(
    { listen, announce, stateDir, logLevel, logFormat, events },
    { signal, stdout, stderr, environment },
  ) {
    // Before anything is made.
    [...listen, ...announce].forEach(requireAddress);
    const log = createLog({ level: logLevel, format: logFormat, name: "bootstrap" }, stderr, environment);
    const lifecycle = new Lifecycle((part, error) => log.warn({ err: error, part }, "Stopping failed"));
    try {
      const directory = stateDir ?? join(glossaHome(environment), "bootstrap");
      const state = await lifecycle.start(
        "state directory",
        () => StateDirectory.open(directory),
        (opened) => opened.close(),
      );
      const rendezvous = await createRendezvous(
        { listen, announce, stateDirectory: state.path, identityFile: state.identityKeyPath },
        { logger: log },
      );
      await lifecycle.start(
        "rendezvous",
        () => rendezvous.start(),
        () => rendezvous.stop(),
      );
      const addresses = rendezvous.addresses();
      if (events === "json") eventWriter(stdout)({ event: "listening", peerId: rendezvous.self, addresses });
      else {
        stderr.write("Listening. Hand out this address, for `glossa init --bootstrap`:\n");
        stdout.write(`${handOut(addresses).join("\n")}\n`);
      }
      await aborted(signal);
      log.info("Leaving");
    } finally {
      await lifecycle.stop();
    }
  },
});

/** Others cannot use what only this machine reaches, unless there is nothing else. */
function handOut(addresses: readonly string[]): readonly string[] {
  const remote = addresses.filter((address) => !/^\/ip4\/127\.|^\/ip6\/::1\//.test(address));
  return remote.length > 0 ? remote : addresses;
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
