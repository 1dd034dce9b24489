// A model that goes on with a text: tokens in, logits of the next one out, and a cache so that no token is read twice.
// Owns the session and the shapes that it is fed; what is made of the logits is sampling.ts'. Calls block their thread.
import {
  bodyLength,
  bodyTensors,
  embeddingLength,
  embeddingTensors,
  validateModelConfig,
} from "../architecture.ts";
import { TensorSizeError, TokenOutOfRangeError } from "../errors.ts";
import { elementCount } from "../graph/ops.ts";
import {
  createSession,
  type DeviceTensor,
  freeHostTensor,
  hostData,
  hostTensor,
  type Session,
} from "../runtime/session.ts";
import type { ModelConfig, TensorSpec } from "../types.ts";
import { buildDecoder, CACHE_PARTS, decoderNames } from "./decoder-graph.ts";

export interface DecoderOptions {
  readonly config: ModelConfig;
  /** Flat, in `bodyTensors(config)` order. Not copied: leave it alone. */
  readonly body: Float32Array;
  /** Flat [vocabularySize, width]. Not copied: leave it alone. */
  readonly embedding: Float32Array;
  /** Threads within one operation; the default is one per physical core. */
  readonly threads?: number | undefined;
}

/** Keys and values of the tokens that were read so far. Never changed: several texts can go on from one. */
export interface DecoderCache {
  readonly length: number;
  readonly tensors: Readonly<Record<string, DeviceTensor>>;
}

export interface DecoderStep {
  /** Of the token that follows, [vocabularySize]. */
  readonly logits: Float32Array;
  readonly cache: DecoderCache;
}

/** Tokens read at once: attention's [heads, tokens, all tokens so far] stays small however long a text is. */
const TOKENS_AT_ONCE = 256;

export class Decoder {
  readonly config: ModelConfig;
  readonly #session: Session;
  readonly #weights: Readonly<Record<string, DeviceTensor>>;
  readonly #fetches: Readonly<Record<string, null>>;

  private constructor(config: ModelConfig, session: Session, weights: Record<string, DeviceTensor>) {
    this.config = config;
    this.#session = session;
    this.#weights = weights;
    const outputs = [decoderNames.logits, ...cacheEntries(config).map(({ present }) => present)];
    this.#fetches = Object.fromEntries(outputs.map((name) => [name, null]));
  }

  /** @throws ModelConfigError, TensorSizeError */
  static async create({ config, body, embedding, threads }: DecoderOptions): Promise<Decoder> {
    validateModelConfig(config);
    const weights = {
      ...views("body", bodyTensors(config), body, bodyLength(config)),
      ...views("embedding", embeddingTensors(config), embedding, embeddingLength(config)),
    };
    const bytes = buildDecoder({
      config,
      // Fed at each run, where they lie: an initializer would be copied, twice, and may have 2 GB at most.
      declareWeight: (model, { name, shape }) => model.input(name, "float", shape),
      logits: "last",
    });
    const session = await createSession(bytes, { device: "cpu", ...(threads !== undefined && { threads }) });
    return new Decoder(config, session, weights);
  }

  /**
   * Reads `tokens` (at least one) behind those of `cache`. An abort falls between two pieces of a long text.
   * @throws TokenOutOfRangeError
   */
  async read(tokens: ArrayLike<number>, cache?: DecoderCache, signal?: AbortSignal): Promise<DecoderStep> {
    if (tokens.length === 0) throw new RangeError("There is no token to read.");
    for (let at = 0; at < tokens.length; at++) {
      const token = tokens[at]!;
      if (!(token >= 0 && token < this.config.vocabularySize)) {
        throw new TokenOutOfRangeError(token, this.config.vocabularySize);
      }
    }
    let step: DecoderStep | undefined;
    for (let begin = 0; begin < tokens.length; begin += TOKENS_AT_ONCE) {
      signal?.throwIfAborted();
      const before = step?.cache;
      step = await this.#run(
        Array.from({ length: Math.min(TOKENS_AT_ONCE, tokens.length - begin) }, (_, at) =>
          BigInt(tokens[begin + at]!),
        ),
        before ?? cache ?? this.#emptyCache(),
      );
      if (before !== undefined) freeCache(before);
    }
    return step!;
  }

  async dispose(): Promise<void> {
    await this.#session.dispose();
  }

  async #run(tokens: readonly bigint[], { length, tensors }: DecoderCache): Promise<DecoderStep> {
    const total = length + tokens.length;
    const outputs = await this.#session.run(
      {
        ...this.#weights,
        ...tensors,
        [decoderNames.inputIds]: hostTensor(BigInt64Array.from(tokens), [1, tokens.length]),
        [decoderNames.attentionMask]: hostTensor(new BigInt64Array(total).fill(1n), [1, total]),
      },
      this.#fetches,
    );
    return {
      logits: hostData(outputs[decoderNames.logits]!),
      cache: {
        length: total,
        tensors: Object.fromEntries(
          cacheEntries(this.config).map(({ past, present }) => [past, outputs[present]!]),
        ),
      },
    };
  }

  #emptyCache(): DecoderCache {
    const { heads, width } = this.config;
    const tensors = cacheEntries(this.config).map(({ past }) => [
      past,
      hostTensor(new Float32Array(0), [1, heads, 0, width / heads]),
    ]);
    return { length: 0, tensors: Object.fromEntries(tensors) };
  }
}

/** Gives a cache's memory back; the collector would let many pile up. */
export function freeCache(cache: DecoderCache): void {
  for (const tensor of Object.values(cache.tensors)) freeHostTensor(tensor);
}

function cacheEntries({ blocks }: ModelConfig): { past: string; present: string }[] {
  return Array.from({ length: blocks }, (_, block) =>
    CACHE_PARTS.map((part) => ({
      past: decoderNames.past(block, part),
      present: decoderNames.present(block, part),
    })),
  ).flat();
}

function views(
  label: string,
  specs: readonly TensorSpec[],
  flat: Float32Array,
  expected: number,
): Record<string, DeviceTensor> {
  if (flat.length !== expected) throw new TensorSizeError(label, expected, flat.length);
  let offset = 0;
  return Object.fromEntries(
    specs.map(({ name, shape }) => {
      const begin = offset;
      offset += elementCount(shape);
      return [name, hostTensor(flat.subarray(begin, offset), shape)];
    }),
  );
}
