// `glossa init`: makes a run. Its configuration becomes a manifest whose hash is the run's id; the invite names both the
// id and where to begin.
import { readFile, rm } from "node:fs/promises";
import { z } from "zod";
import { bodyLength } from "#model/architecture.ts";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { formatInvite } from "#protocol/core/invite.ts";
import { bodyRoot } from "#protocol/core/merkle.ts";
import { type PresetName, presetNames, presets } from "#protocol/core/presets.ts";
import {
  parseRunConfig,
  type RunConfig,
  type RunConfigInput,
  sharesEmbedding,
  VARIANTS,
} from "#protocol/core/run-config.ts";
import { manifestBytes, runId } from "#protocol/core/run-manifest.ts";
import { requireAddress } from "#protocol/net/addresses.ts";
import { sha256, sha256Hex } from "#protocol/net/hash.ts";
import { storeRunAsset } from "#protocol/net/run-assets.ts";
import { storeRunManifest } from "#protocol/net/run-manifests.ts";
import { type LoadedModel, loadModel } from "../models/load-model.ts";
import { eventWriter } from "../observability/events.ts";
import { InitialModelUnfitError, sharedParametersOf } from "../peer/initial-parameters.ts";
import { withChosenCodec } from "../planning/automatic-codec.ts";
import { choice, setting, text, UsageError } from "../settings.ts";
import { readIfPresent, writeAtomic } from "../storage/atomic-file.ts";
import { bytes as byteText, count } from "../terminal/format.ts";
import type { Output } from "../terminal/output.ts";
import { ProgressLine } from "../terminal/progress-line.ts";
import { sharedTensorsOf, sharedVocabularySize } from "../variants.ts";
import { type CommandContext, defineCommand } from "./command.ts";
import { mergeConfigs, nestRunFlags, runFlags } from "./run-flags.ts";

/** A rendezvous answers in milliseconds; a dead address takes this long to say so. */
const UPLOAD_TIMEOUT_MS = 20_000;

const initSettings = z.object({
  preset: setting(choice(presetNames as readonly [PresetName, ...PresetName[]]).default("tiny"), {
    description: "Where to begin; the defaults of the flags below are those of tiny.",
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
  tokenizer: setting(text("must be a tokenizer.json").optional(), {
    description:
      "The byte-level BPE tokenizer.json that all peers share, in variants spec, trim and glob; the rendezvous keeps it too.",
    value: "FILE",
    group: "Run",
  }),
  body: setting(text("must be a model").optional(), {
    description:
      "Start from this model instead of a seed: a model folder, or a peer's name or state directory. Gives the run its size.",
    value: "MODEL",
    group: "Run",
  }),
  ...runFlags,
});

export const initCommand = defineCommand({
  name: "init",
  summary: "Make a run: its configuration, its id and the invite to join it.",
  description:
    "Makes a run out of a preset, a file and flags, in this order, later ones winning. Prints the invite, one string " +
    "that names the run and where to begin, and writes the run's manifest. In variant spec-opt no vocabulary is agreed " +
    "on: that is everyone's own. The other variants take a tokenizer that all peers share.\n" +
    presetNames.map((name) => `  ${name}: ${presets[name].description}`).join("\n"),
  settings: initSettings,
  examples: [
    ["glossa init --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…", "The smallest run, for a first try"],
    [
      "glossa init --preset small --name essays --local-steps 200 --bootstrap /dns4/…",
      "Another size, with changes",
    ],
    [
      "glossa init --variant trim --tokenizer tokenizer.json --bootstrap /ip4/…",
      "One tokenizer, and embedding rows shared by those who use them",
    ],
    ["glossa init --config run.json --json | jq -r .invite", "From a file, for programs"],
  ],
  async run(settings, context) {
    printRun(await makeRun(settings, context), context);
  },
});

export type InitSettings = z.output<typeof initSettings>;

/** A run as it was made: written to its files, and uploaded where an address was given. */
export interface MadeRun {
  readonly config: RunConfig;
  /** Why this codec, where none was asked for. */
  readonly codecReason: string | undefined;
  readonly id: string;
  readonly invite: string;
  readonly files: { readonly manifest: string; readonly tokenizer: string | undefined };
  readonly uploaded: boolean;
}

/** A model folder that a run takes everything from. */
export interface ImportedModel {
  readonly reference: string;
  readonly model: LoadedModel;
  /** Becomes the common tokenizer of a run that needs one. */
  readonly tokenizerPath: string;
}

/** @throws UsageError, RunConfigError, InitialModelUnfitError, errors of loading, writing and uploading */
export async function makeRun(
  settings: InitSettings,
  { signal, stderr }: Pick<CommandContext, "signal" | "stderr">,
  imported?: ImportedModel,
): Promise<MadeRun> {
  const { preset, config: file, bootstrap, output, body = imported?.reference, ...flags } = settings;
  bootstrap.forEach(requireAddress);
  const model = imported?.model ?? (body === undefined ? undefined : await loadModel(body, { signal }));
  const asked = mergeConfigs(
    presets[preset].config,
    model === undefined ? {} : sizeOf(model),
    imported === undefined ? {} : { model: { sequenceLength: imported.model.config.sequenceLength } },
    file === undefined ? {} : await readConfig(file),
    nestRunFlags(flags),
  ) as RunConfigInput;
  const needsOne = (asked.variant ?? "spec-opt") !== "spec-opt";
  const tokenizerPath = settings.tokenizer ?? (needsOne ? imported?.tokenizerPath : undefined);
  const tokenizer = tokenizerPath === undefined ? undefined : await readTokenizer(tokenizerPath);
  const { config: merged, reason: codecReason } = withChosenCodec(withVocabulary(asked, tokenizer));
  requireTokenizer(merged);
  const seeded = parseRunConfig(merged);
  const config = model === undefined ? seeded : startingFrom(body!, model, seeded, tokenizer);
  const manifest = manifestBytes(config, sharedTensorsOf(config), sha256);
  const id = runId(manifest, sha256);
  const invite = formatInvite({ runId: id, addresses: bootstrap }, sha256);
  const path = output ?? `${config.name.replaceAll(" ", "-")}.run.json`;
  const tokenizerFile = tokenizer && path.replace(/(\.run)?\.json$|$/, ".tokenizer.json");
  const uploaded = bootstrap.length > 0;
  const written: string[] = [];
  try {
    if (await writeNew(path, manifest, "another run")) written.push(path);
    if (tokenizer !== undefined && (await writeNew(tokenizerFile!, tokenizer.bytes, "another tokenizer"))) {
      written.push(tokenizerFile!);
    }
    if (uploaded) {
      const timeout = AbortSignal.timeout(UPLOAD_TIMEOUT_MS);
      await storeRunManifest(manifest, bootstrap, AbortSignal.any([signal, timeout]));
      if (tokenizer !== undefined) await upload(tokenizer.bytes, id, bootstrap, stderr, signal);
    }
  } catch (error) {
    // A run that nobody has been told of: its file would only be in the way of the next attempt.
    for (const file of written) await rm(file, { force: true });
    throw error;
  }
  return { config, codecReason, id, invite, files: { manifest: path, tokenizer: tokenizerFile }, uploaded };
}

/** One event for programs; for people a summary and what comes next, on stderr, so that stdout is the invite alone. */
export function printRun(
  run: MadeRun,
  { stdout, stderr, flags: { json } }: Pick<CommandContext, "stdout" | "stderr" | "flags">,
  next = nextOf(run),
): void {
  const { config, id, invite, files, uploaded } = run;
  if (!json) {
    stderr.write(`${summary(run)}\n\n${next}\n\n`);
    stdout.write(`${invite}\n`);
    return;
  }
  const { variant } = config;
  const bodyParameters = bodyLength(config.model);
  const sharedParameters = bodyParameters + sharedRows(config) * config.model.width;
  eventWriter(stdout)({
    ...{
      event: "run-created",
      runId: id,
      invite,
      file: files.manifest,
      tokenizerFile: files.tokenizer,
      uploaded,
    },
    ...{
      variant,
      bodyParameters,
      sharedParameters,
      codec: config.averaging.codec,
      codecReason: run.codecReason,
    },
  });
}

interface CommonTokenizer {
  readonly bytes: Uint8Array;
  readonly size: number;
  /** Equal where the ids are. */
  readonly fingerprint: string;
}

/** @throws UsageError, TokenizerError */
async function readTokenizer(path: string): Promise<CommonTokenizer> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(`--tokenizer ${path} cannot be read (${error.code}): check the path.`);
  });
  const { vocabularySize: size, fingerprint } = Tokenizer.fromJson(bytes.toString("utf8"));
  return { bytes, size, fingerprint };
}

function withVocabulary(config: RunConfigInput, tokenizer: CommonTokenizer | undefined): RunConfigInput {
  if (tokenizer === undefined) return config;
  return { ...config, vocabulary: { tokenizer: sha256Hex(tokenizer.bytes), size: tokenizer.size } };
}

/** A run that starts from a model has the model's size; how long its sequences are is the run's own choice. */
function sizeOf({ config: { blocks, width, heads } }: LoadedModel): RunConfigInput {
  return { model: { blocks, width, heads } };
}

/** Shared rows mean what the run's tokenizer says. */
function startingFrom(
  reference: string,
  model: LoadedModel,
  config: RunConfig,
  tokenizer: CommonTokenizer | undefined,
): RunConfig {
  if (sharesEmbedding(config) && tokenizer?.fingerprint !== model.tokenizer.fingerprint) {
    throw new InitialModelUnfitError(
      reference,
      "its embedding belongs to another tokenizer than the run's",
      "give the model's own tokenizer.json, or a variant that shares no embedding",
    );
  }
  return { ...config, initialBody: bodyRoot(sharedParametersOf(reference, model, config), sha256) };
}

/** The flags' own words for what the configuration's schema would say of its fields. */
function requireTokenizer({ variant = "spec-opt", vocabulary }: RunConfigInput): void {
  if (variant === "spec-opt" && vocabulary !== undefined) {
    throw new UsageError(
      "In variant spec-opt every peer has a tokenizer of its own: leave --tokenizer out, or give --variant spec, trim or glob.",
    );
  }
  if (
    (VARIANTS as readonly string[]).includes(variant) &&
    variant !== "spec-opt" &&
    vocabulary === undefined
  ) {
    throw new UsageError(
      `In variant ${variant} all peers share one tokenizer: give it with --tokenizer; glossa tokenizer makes one.`,
    );
  }
}

async function upload(
  bytes: Uint8Array,
  id: string,
  bootstrap: readonly string[],
  stderr: Output,
  signal: AbortSignal,
): Promise<void> {
  const progress = new ProgressLine(stderr);
  try {
    await storeRunAsset(bytes, id, bootstrap, signal, (sent, total) =>
      progress.show(() => `giving the tokenizer to the rendezvous: ${byteText(sent)} of ${byteText(total)}`),
    );
  } finally {
    progress.end();
  }
}

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

/** The exact bytes, because they are hashed. What belongs to another run is never written over. False where they are there. */
async function writeNew(path: string, bytes: Uint8Array, otherwise: string): Promise<boolean> {
  const there = await readIfPresent(path);
  if (there !== undefined && Buffer.compare(there, bytes) !== 0) {
    throw new UsageError(`${path} holds ${otherwise}: give --output, or another --name.`);
  }
  if (there === undefined) await writeAtomic(path, bytes);
  return there === undefined;
}

const sharedRows = (config: RunConfig): number => sharedVocabularySize(config) ?? 0;

/** What of the run everyone shares, in words. */
function variantText(config: RunConfig): string {
  const rows = config.vocabulary?.size ?? 0;
  switch (config.variant) {
    case "spec-opt":
      return "the body; tokenizer and embedding are everyone's own";
    case "spec":
      return `the body, and one tokenizer of ${count(rows)} tokens; embeddings are everyone's own`;
    case "trim":
      return `the body, and of ${count(rows)} embedding rows those that a peer's text uses`;
    case "glob":
      return `the body and all ${count(rows)} embedding rows`;
  }
}

function summary({ config, codecReason, id, files }: MadeRun): string {
  const { model, training, averaging } = config;
  return [
    `Run ${config.name}, ${id}`,
    `  shared     ${variantText(config)} (variant ${config.variant})`,
    `  body       ${count(bodyLength(model))} parameters: ${model.blocks} blocks of width ${model.width}, sequences of ${model.sequenceLength} tokens`,
    `  rounds     ${training.localSteps} steps of ${training.batchSize} sequences; learning rate falls over ${training.rounds} rounds`,
    `  averaging  ${codecReason ?? averaging.codec}`,
    ...(config.initialBody === undefined ? [] : ["  starts     from a model: the first peer needs --body"]),
    `  manifest   ${files.manifest}`,
    ...(files.tokenizer === undefined ? [] : [`  tokenizer  ${files.tokenizer}`]),
  ].join("\n");
}

function nextOf({ files, uploaded }: MadeRun): string {
  const lacking = files.tokenizer === undefined ? "--manifest" : "--manifest and --tokenizer";
  return uploaded
    ? "Anyone with this invite can join, with `glossa peer --join <invite> --data <texts>`:"
    : `The invite names no address. The first peer needs ${lacking}, others --bootstrap with a peer's address:`;
}
