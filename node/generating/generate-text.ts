// Texts from a model: prompt to tokens, tokens to text as they are made, whole characters only. Knows no terminal.
import { type Decoder, freeCache } from "#model/inference/decoder.ts";
import { type GenerationEnd, type GenerationOptions, generateTokens } from "#model/inference/generate.ts";
import { StopText } from "#model/inference/stop-text.ts";
import type { Tokenizer } from "#model/tokenizer/tokenizer.ts";

export interface TextOptions extends Omit<GenerationOptions, "endOfText" | "vocabularySize"> {
  readonly prompt: string;
  /** Texts to make, each with random numbers of its own. */
  readonly samples: number;
  /** A text ends before the first of these. */
  readonly stop: readonly string[];
}

export interface Sample {
  /** What follows the prompt. */
  readonly text: string;
  /** Every token that was made, those behind a stop string included. */
  readonly tokens: readonly number[];
  readonly end: GenerationEnd | "stop";
}

export interface Generation {
  readonly promptTokens: readonly number[];
  readonly samples: readonly Sample[];
  /** Reading the prompt. */
  readonly promptMs: number;
  /** Making all samples' tokens. */
  readonly generatingMs: number;
}

/** What is said of it at the end. */
export interface GenerationReport {
  readonly prompt: { readonly text: string; readonly tokens: readonly number[] };
  readonly seed: number;
  readonly samples: readonly Sample[];
  readonly promptMs: number;
  readonly tokensPerSecond: number;
}

/** Who shows texts while they are made. */
export interface TextObserver {
  onSample?(sample: number): void;
  onText(text: string, sample: number): void;
}

/** Gives text out as soon as it is certain: sample by sample, never half a character. */
export async function generateText(
  { decoder, tokenizer }: { decoder: Decoder; tokenizer: Tokenizer },
  { prompt, samples: count, stop, ...options }: TextOptions,
  observer: TextObserver,
  signal: AbortSignal,
): Promise<Generation> {
  const { endOfText, vocabularySize } = tokenizer;
  const encoded = tokenizer.encode(prompt);
  // Without a prompt a text begins where in training every text began: behind the end of another.
  const promptTokens = encoded.length > 0 ? [...encoded] : [endOfText];
  const beganAt = performance.now();
  const start = await decoder.read(promptTokens, undefined, signal);
  const readAt = performance.now();
  const samples: Sample[] = [];
  for (let sample = 0; sample < count; sample++) {
    observer.onSample?.(sample);
    const tokens: number[] = [];
    const decoded = tokenizer.decodeStream();
    const shown = new StopText(stop);
    let text = "";
    const show = (piece: string) => {
      text += piece;
      if (piece !== "") observer.onText(piece, sample);
    };
    const source = generateTokens(
      decoder,
      start,
      { ...options, endOfText, vocabularySize, seed: `${options.seed}\n${sample}` },
      signal,
    );
    let end: Sample["end"] | undefined;
    while (end === undefined) {
      const next = await source.next();
      if (next.done) {
        end = next.value;
        break;
      }
      tokens.push(next.value);
      show(shown.push(decoded.push([next.value])));
      if (shown.isStopped) end = "stop";
    }
    // Bytes of a character that was cut off with the last token are left out.
    if (end === "stop") await source.return("max-tokens");
    else show(shown.end());
    samples.push({ text, tokens, end });
  }
  freeCache(start.cache);
  return { promptTokens, samples, promptMs: readAt - beganAt, generatingMs: performance.now() - readAt };
}
