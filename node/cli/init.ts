// `glossa init`: makes a run. Its configuration becomes a manifest whose hash is the run's id; the invite names both the
// id and where to begin.
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { bodyLength, bodyTensors } from "#model/architecture.ts";
import { formatInvite } from "#protocol/core/invite.ts";
import { type PresetName, presetNames, presets } from "#protocol/core/presets.ts";
import { parseRunConfig, type RunConfig } from "#protocol/core/run-config.ts";
import { manifestBytes, runId } from "#protocol/core/run-manifest.ts";
import { requireAddress } from "#protocol/net/addresses.ts";
import { sha256 } from "#protocol/net/hash.ts";
import { storeRunManifest } from "#protocol/net/run-manifests.ts";
import { eventWriter } from "../observability/events.ts";
import { choice, setting, text, UsageError } from "../settings.ts";
import { readIfPresent, writeAtomic } from "../storage/atomic-file.ts";
import { count } from "../terminal/format.ts";
import { defineCommand } from "./command.ts";
import { mergeConfigs, nestRunFlags, runFlags } from "./run-flags.ts";

/** A rendezvous answers in milliseconds; a dead address takes this long to say so. */
const UPLOAD_TIMEOUT_MS = 20_000;

export const initCommand = defineCommand({
  name: "init",
  summary: "Make a run: its configuration, its id and the invite to join it.",
  description:
    "Makes a run out of a preset, a file and flags, in this order, later ones winning. Prints the invite, one string " +
    "that names the run and where to begin, and writes the run's manifest. No vocabulary is agreed on: that is " +
    "everyone's own.\n" +
    presetNames.map((name) => `  ${name}: ${presets[name].description}`).join("\n"),
  settings: z.object({
    preset: setting(choice(presetNames as readonly [PresetName, ...PresetName[]]).default("tiny"), {
      description: "Where to begin.",
      value: "PRESET",
      group: "Run",
    }),
    config: setting(text("must be a file").optional(), {
      description: "A JSON file with fields of the configuration, over those of the preset.",
      value: "FILE",
      group: "Run",
    }),
    bootstrap: setting(z.array(text("must be multiaddrs")).default([]), {
      description: "Address of a rendezvous or peer, for the invite; it is given the manifest.",
      value: "MULTIADDR",
      list: true,
      group: "Run",
    }),
    output: setting(text("must be a file").optional(), {
      description: "Where to write the manifest.",
      value: "FILE",
      defaultText: "<name>.run.json",
      group: "Run",
    }),
    ...runFlags,
  }),
  examples: [
    ["glossa init --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…", "The smallest run, for a first try"],
    [
      "glossa init --preset small --name essays --local-steps 200 --bootstrap /dns4/…",
      "Another size, with changes",
    ],
    ["glossa init --config run.json --json | jq -r .invite", "From a file, for programs"],
  ],
  async run({ preset, config: file, bootstrap, output, ...flags }, { signal, stdout, flags: { json } }) {
    bootstrap.forEach(requireAddress);
    const config = parseRunConfig(
      mergeConfigs(
        presets[preset].config,
        file === undefined ? {} : await readConfig(file),
        nestRunFlags(flags),
      ),
    );
    const manifest = manifestBytes(config, bodyTensors(config.model), sha256);
    const id = runId(manifest, sha256);
    const invite = formatInvite({ runId: id, addresses: bootstrap }, sha256);
    const path = output ?? `${config.name.replaceAll(" ", "-")}.run.json`;
    await writeManifest(path, manifest);
    if (bootstrap.length > 0) {
      await storeRunManifest(
        manifest,
        bootstrap,
        AbortSignal.any([signal, AbortSignal.timeout(UPLOAD_TIMEOUT_MS)]),
      );
    }
    const bodyParameters = bodyLength(config.model);
    if (json) {
      const uploaded = bootstrap.length > 0;
      eventWriter(stdout)({ event: "run-created", runId: id, invite, file: path, uploaded, bodyParameters });
    } else stdout.write(`${summary(config, id, path, bodyParameters, bootstrap.length > 0)}\n\n${invite}\n`);
  },
});

async function readConfig(file: string): Promise<unknown> {
  const content = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(`--config ${file} cannot be read (${error.code}): check the path.`);
  });
  try {
    return JSON.parse(content);
  } catch (error) {
    throw new UsageError(`--config ${file} is not JSON (${(error as Error).message}): correct the file.`);
  }
}

/** The manifest's exact bytes: their hash is the run's id. Another run's file is never written over. */
async function writeManifest(path: string, manifest: Uint8Array): Promise<void> {
  const there = await readIfPresent(path);
  if (there !== undefined && Buffer.compare(there, manifest) !== 0) {
    throw new UsageError(`${path} holds another run: give --output, or another --name.`);
  }
  await writeAtomic(path, manifest);
}

function summary(
  config: RunConfig,
  id: string,
  path: string,
  bodyParameters: number,
  uploaded: boolean,
): string {
  const { model, training, averaging } = config;
  const next = uploaded
    ? "Anyone with this invite can join, with `glossa peer --join <invite> --data <texts>`:"
    : "The invite names no address. The first peer needs --manifest, others --bootstrap with a peer's address:";
  return [
    `Run ${config.name}, ${id}`,
    `  body       ${count(bodyParameters)} parameters: ${model.blocks} blocks of width ${model.width}, sequences of ${model.sequenceLength} tokens`,
    `  rounds     ${training.localSteps} steps of ${training.batchSize} sequences; learning rate falls over ${training.rounds} rounds`,
    `  averaging  ${averaging.codec}, ${averaging.weighting} weights`,
    `  manifest   ${path}`,
    "",
    next,
  ].join("\n");
}
