// From logits to the next token. Pure: randomness is an argument. The order is that of Hugging Face's generate():
// temperature, then the k likeliest, then the fewest that hold a share p of what is left.

export interface SamplingOptions {
  /** Divides the logits; 0 takes the likeliest token always. */
  readonly temperature: number;
  /** Only the k likeliest tokens; 0 for all. */
  readonly topK: number;
  /** Only the likeliest tokens that together hold this share of the probability; 1 for all. */
  readonly topP: number;
}

/** A token and the probability that it is drawn with. */
export interface Candidate {
  readonly token: number;
  readonly probability: number;
}

/** A model that has left the finite numbers says nothing about the next token. */
export class NonFiniteLogitsError extends Error {
  readonly code = "NON_FINITE_LOGITS";
  constructor() {
    super("The model gives logits that are not finite numbers; take an earlier state of it.");
    this.name = "NonFiniteLogitsError";
  }
}

/** The next token after `logits`; `nextUniform` gives numbers of [0, 1) and is not asked at temperature 0. */
export function sampleToken(
  logits: Float32Array,
  options: SamplingOptions,
  nextUniform: () => number,
): number {
  return options.temperature === 0
    ? likeliestToken(logits)
    : draw(candidates(logits, options), nextUniform());
}

/** The likeliest token; of several, the one with the lowest id, as other implementations take it. */
export function likeliestToken(logits: Float32Array): number {
  let best = 0;
  for (let token = 1; token < logits.length; token++) if (logits[token]! > logits[best]!) best = token;
  if (!Number.isFinite(logits[best])) throw new NonFiniteLogitsError();
  return best;
}

/** The tokens that may come next; their probabilities add up to 1. `temperature` is above 0. */
export function candidates(logits: Float32Array, { temperature, topK, topP }: SamplingOptions): Candidate[] {
  const largest = logits[likeliestToken(logits)]!;
  const weightOf = (token: number) => Math.exp((logits[token]! - largest) / temperature);
  const kept = likeliest(logits, topK).map((token) => ({ token, weight: weightOf(token) }));
  return shares(topP < 1 ? nucleus(kept, topP) : kept);
}

/** Draws one of the candidates with a number of [0, 1). */
export function draw(from: readonly Candidate[], uniform: number): number {
  let rest = uniform;
  for (const { token, probability } of from) {
    rest -= probability;
    if (rest < 0) return token;
  }
  // Rounding may leave a crumb; the last one takes it.
  return from.at(-1)!.token;
}

interface Weighted {
  readonly token: number;
  readonly weight: number;
}

/** The k likeliest tokens, of equal ones those with the lowest ids; all tokens for 0. */
function likeliest(logits: Float32Array, k: number): number[] {
  const all = Array.from(logits, (_, token) => token);
  if (k === 0 || k >= logits.length) return all;
  // Numbers sort many times faster than ids by their numbers do.
  const bound = logits.toSorted()[logits.length - k]!;
  return all
    .filter((token) => logits[token]! >= bound)
    .sort((a, b) => logits[b]! - logits[a]! || a - b)
    .slice(0, k);
}

/** The fewest tokens that hold a share p: likeliest first, and the one that crosses p is in. */
function nucleus(tokens: readonly Weighted[], p: number): Weighted[] {
  const total = sumOf(tokens);
  // All that are lighter than this hold less than 1 - p together, so that none of them is needed: few are left to sort.
  const floor = ((1 - p) * total) / tokens.length;
  const heavy = tokens
    .filter(({ weight }) => weight >= floor)
    .sort((a, b) => b.weight - a.weight || a.token - b.token);
  let held = 0;
  let length = 0;
  while (length < heavy.length && held < p * total) held += heavy[length++]!.weight;
  return heavy.slice(0, Math.max(1, length));
}

function shares(tokens: readonly Weighted[]): Candidate[] {
  const total = sumOf(tokens);
  return tokens.map(({ token, weight }) => ({ token, probability: weight / total }));
}

function sumOf(tokens: readonly Weighted[]): number {
  return tokens.reduce((sum, { weight }) => sum + weight, 0);
}
