// Entry of the trainer worker: puts tokenizer, data, model and rounds together behind the methods of messages.ts.
// The only thread that computes, in a process of its own (child.ts); it never sees the network.
import { parentPort } from "node:worker_threads";
import { bodyLength } from "#model/architecture.ts";
import { type BatchPosition, BatchStream, isTakenOver, validationBatches } from "#model/data/batches.ts";
import { readDocuments } from "#model/data/read-documents.ts";
import { prepareTokens, type TokenDataset } from "#model/data/token-cache.ts";
import { idsOf, translateTokens } from "#model/data/translate-tokens.ts";
import { genesisShared, initialEmbedding } from "#model/genesis.ts";
import { RandomStream } from "#model/random.ts";
import type { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { type Handlers, serve } from "./channel.ts";
import { clearInterruptedSaves, loadTrainerCheckpoint, saveTrainerCheckpoint } from "./checkpoint-file.ts";
import { createOnDevice } from "./device.ts";
import { GroupEmbedding } from "./group-embedding.ts";
import {
  CONCURRENT_METHODS,
  type CreateOptions,
  type CreateResult,
  type PrepareOptions,
  type PrepareProgress,
  type StepProgress,
  type TrainerMethods,
} from "./messages.ts";
import { RoundTrainer } from "./round-trainer.ts";
import { SharedParameters } from "./shared-parameters.ts";
import { obtainVocabulary } from "./vocabulary.ts";

interface Prepared {
  readonly tokenizer: Tokenizer;
  readonly tokens: TokenDataset;
}

interface Training {
  readonly rounds: RoundTrainer;
  readonly dispose: () => Promise<void>;
}

let prepared: Prepared | undefined;
let training: Training | undefined;

async function prepare(
  options: PrepareOptions,
  report: (progress: PrepareProgress) => void,
  signal: AbortSignal,
): Promise<TrainerMethods["prepare"]["result"]> {
  const { paths, textField, cacheDirectory, minimumValidationTokens, dataset } = options;
  const text = { paths, cacheDirectory, textField, minimumValidationTokens, follows: true, signal };
  /** In the ids of the whole common tokenizer, where it has just been cut down to this text. */
  let whole: TokenDataset | undefined;
  const { tokenizer, rows, trained } = await obtainVocabulary({
    ...options,
    documents: () => readDocuments(paths, { textField, signal }),
    collectIds: async (common) => {
      whole = await prepareTokens({
        ...text,
        tokenizer: common,
        onProgress: ({ bytesRead, bytesTotal }) =>
          report({ stage: "tokenizer", fraction: bytesRead / bytesTotal }),
      });
      return idsOf(whole, signal);
    },
    onProgress: (fraction) => report({ stage: "tokenizer", fraction }),
    signal,
  });
  report({ stage: "tokenizer-ready", vocabularySize: tokenizer.vocabularySize, trained });
  const tokens =
    whole !== undefined && rows !== undefined
      ? await translateTokens(whole, rows, { ...text, tokenizer })
      : await prepareTokens({
          ...text,
          tokenizer,
          prepared: dataset,
          onProgress: ({ bytesRead, bytesTotal, tokens }) =>
            report({ stage: "tokens", fraction: bytesRead / bytesTotal, tokens }),
        });
  prepared = { tokenizer, tokens };
  const { train, validation } = tokens;
  return {
    vocabularySize: tokenizer.vocabularySize,
    tokenizerFingerprint: tokenizer.fingerprint,
    rows,
    dataset: tokens.key,
    trainTokens: train.tokens,
    trainBytes: train.bytes,
    validationTokens: validation.tokens,
  };
}

async function create(options: CreateOptions): Promise<CreateResult> {
  if (prepared === undefined) throw new Error("the trainer is created before its data is prepared");
  const { tokenizer, tokens } = prepared;
  const { body, batchSize, optimizer, genesis, privateSeed, checkpointFile, plan } = options;
  const { vocabularySize } = tokenizer;
  const config = { ...body, vocabularySize };
  const bodyParameters = bodyLength(body);
  const sharesEmbedding = options.sharedVocabularySize !== undefined;
  const parameters = new SharedParameters(
    bodyParameters,
    // Of the shared rows only the held ones come to this thread, in the order of this peer's own ids.
    sharesEmbedding ? { width: body.width, vocabularySize, rows: undefined } : undefined,
  );
  const shape = { batchSize, sequenceLength: body.sequenceLength };
  await clearInterruptedSaves(checkpointFile);
  const checkpoint = await loadTrainerCheckpoint(checkpointFile);

  const batches =
    checkpoint === undefined
      ? new BatchStream(tokens.train, { ...shape, seed: RandomStream.fromSeed(privateSeed).nextUint32() })
      : BatchStream.follow(tokens.train, shape, checkpoint.batchPosition as BatchPosition);
  const embedding = sharesEmbedding
    ? genesis.subarray(bodyParameters)
    : (options.group?.embedding ?? initialEmbedding(config, privateSeed));
  const { model, device } = await createOnDevice(options.device, {
    config,
    optimizer,
    batchSize,
    microBatchSize: options.microBatchSize,
    recompute: options.recompute,
    precision: options.precision,
    threads: options.threads,
    body: genesis.subarray(0, bodyParameters),
    embedding,
  });
  const rounds = await RoundTrainer.create(
    plan,
    {
      model,
      parameters,
      group: options.group && new GroupEmbedding(options.group.runId, checkpoint?.group),
      batches,
      byteLengths: tokenizer.byteLengths,
      heldOut: () =>
        validationBatches(tokens.validation, { ...shape, maximumTokens: options.evaluationTokens }),
      save: (state) => saveTrainerCheckpoint(checkpointFile, state),
      nowMs: () => performance.now(),
    },
    checkpoint,
  );
  training = {
    rounds,
    dispose: async () => {
      await rounds.rest();
      await model.dispose();
      batches.close();
    },
  };
  const before = checkpoint?.batchPosition as BatchPosition | undefined;
  return {
    device,
    trainTokens: tokens.train.tokens,
    trainTokensBefore: before === undefined || isTakenOver(tokens.train, before) ? undefined : before.tokens,
    bodyParameters,
    embeddingParameters: embedding.length,
    resumed: checkpoint?.progress,
    progressRound: (checkpoint?.handed ?? checkpoint)?.progress.round ?? -1,
  };
}

function rounds(): RoundTrainer {
  if (training === undefined) throw new Error("the trainer is used before it is created");
  return training.rounds;
}

const reporting = (report: (progress: StepProgress) => void) => (step: number, bitsPerByte: number) =>
  report({ step, bitsPerByte, skippedSteps: rounds().progress.skippedSteps });

const handlers: Handlers<TrainerMethods> = {
  genesis: async ({ body, sharedVocabularySize, seed }) => genesisShared(body, sharedVocabularySize, seed),
  prepare,
  create: (options) => create(options),
  warmUp: async ({ held, steps }, report, signal) => {
    await rounds().warmUp(held, steps, report, signal);
    return null;
  },
  trainRound: ({ round, held, carry, goOn }, report, signal) => {
    return rounds().trainRound(round, held, carry, reporting(report), signal, goOn);
  },
  trainAhead: async ({ round }, report, signal) => {
    await rounds().trainAhead(round, reporting(report), signal);
    return null;
  },
  endRound: async ({ round }) => {
    rounds().endRound(round);
    return null;
  },
  evaluate: ({ held }, _, signal) => rounds().evaluate(held, signal),
  groupGenesis: async ({ seed, ...shape }) => initialEmbedding(shape, seed),
  enterGroup: async ({ round, embedding, carry }) => {
    await rounds().enterGroup(round, embedding, carry);
    return null;
  },
  collectGroup: async ({ when }, _, signal) => rounds().collectGroup(when, signal),
  close: async () => {
    await training?.dispose();
    training = undefined;
    return null;
  },
};

/** What was made to be handed out, and is nobody's any more. */
function transferOf(result: unknown): ArrayBuffer[] {
  const array = result instanceof Float32Array ? result : (result as { delta?: unknown } | null)?.delta;
  return array instanceof Float32Array ? [array.buffer as ArrayBuffer] : [];
}

/**
 * What onnxruntime and V8 throw where memory is short or a driver has failed. The next call would fare no better: another
 * process begins from the checkpoint, and where that does not help the peer says what does.
 */
const FAULT_WORDS =
  /allocation failed|bad_alloc|bad allocation|Failed to allocate memory|Available memory of \d+ is smaller|out of memory|CUDA failure|CUDNN failure|device (is|was) lost/i;

function isFault(error: unknown): boolean {
  return error instanceof Error && !("code" in error) && FAULT_WORDS.test(error.message);
}

serve(parentPort!, handlers, { concurrent: CONCURRENT_METHODS, transferOf, isFault });
