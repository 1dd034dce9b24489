// Tokenizers and token files of the reproduction, made when first asked for and kept on disk by what they are made of.
// One global vocabulary over the sources that are trained on, one of its own for each source, and the global one cut down
// to a source's text (spec, trim).
import { createHash } from "node:crypto";
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { TokenFileWriter, type TokenSplit } from "#model/data/token-file.ts";
import { collectTokens, restrict } from "#model/tokenizer/restrict.ts";
import { Tokenizer } from "#model/tokenizer/tokenizer.ts";
import { trainTokenizer } from "#model/tokenizer/train-tokenizer.ts";
import { readIfPresent, writeAtomic, writeJsonAtomic } from "#node/storage/atomic-file.ts";
import type { Corpus, Split } from "./corpora.ts";
import type { Scale } from "./settings.ts";

/** A change of how files are made has to change it. */
const FORMAT = "glossa/reproduction-tokens/1";

export interface Vocabulary {
  readonly tokenizer: Tokenizer;
  /** Global id by own id, where it is the global vocabulary cut down. */
  readonly rows?: Int32Array;
}

export class Vocabularies {
  readonly #directory: string;
  readonly #corpora: ReadonlyMap<string, Corpus>;
  readonly #scale: Scale;
  readonly #made = new Map<string, Promise<unknown>>();

  /** `directory` is a cache: what is in it can be deleted at any time but while it is used. */
  constructor(directory: string, corpora: readonly Corpus[], scale: Scale) {
    this.#directory = directory;
    this.#corpora = new Map(corpora.map((corpus) => [corpus.name, corpus]));
    this.#scale = scale;
  }

  /** Learned from equal parts of all sources but the one that is held out. */
  global(heldOut: string, signal: AbortSignal): Promise<Vocabulary> {
    const sources = [...this.#corpora.keys()].filter((name) => name !== heldOut);
    return this.#learned(sources, this.#scale.globalVocabulary, signal);
  }

  /** Learned from one source. */
  own(source: string, signal: AbortSignal): Promise<Vocabulary> {
    return this.#learned([source], this.#scale.ownVocabulary, signal);
  }

  /** The global vocabulary cut down to all text of one source, as a peer that has that text does it. */
  restricted(source: string, heldOut: string, signal: AbortSignal): Promise<Required<Vocabulary>> {
    return this.#once(`restricted ${source} ${heldOut}`, async () => {
      const { tokenizer } = await this.global(heldOut, signal);
      const key = digest(FORMAT, "used", this.#corpus(source).identity, tokenizer.fingerprint);
      const path = join(this.#directory, `${key}.used.json`);
      const kept = await readIfPresent(path);
      const used =
        kept === undefined
          ? await collectTokens(this.#allDocuments(source, signal), tokenizer)
          : (JSON.parse(Buffer.from(kept).toString()) as number[]);
      if (kept === undefined) {
        await mkdir(this.#directory, { recursive: true });
        await writeJsonAtomic(path, [...used]);
      }
      return restrict(tokenizer, used);
    });
  }

  /** A source's split in tokens of `tokenizer`; every document ends with the end-of-text token. */
  tokens(source: string, split: Split, tokenizer: Tokenizer, signal: AbortSignal): Promise<TokenSplit> {
    const corpus = this.#corpus(source);
    const key = digest(FORMAT, corpus.identity, split, tokenizer.fingerprint);
    return this.#once(key, async () => {
      const path = join(this.#directory, `${key}.bin`);
      const header = join(this.#directory, `${key}.json`);
      const kept = await readIfPresent(header);
      if (kept !== undefined) return { ...(JSON.parse(Buffer.from(kept).toString()) as TokenSplit), path };
      await mkdir(this.#directory, { recursive: true });
      const partial = `${path}.${process.pid}.partial`;
      const writer = await TokenFileWriter.create(partial, tokenizer);
      let written: TokenSplit;
      try {
        for await (const document of corpus.documents(split, signal)) {
          await writer.append(tokenizer.encode(document));
          await writer.append([tokenizer.endOfText]);
        }
        written = await writer.finish();
      } finally {
        await writer.close();
      }
      await rename(partial, path);
      // Last: a file without it does not count.
      await writeJsonAtomic(header, written);
      return { ...written, path };
    });
  }

  /** The first `bytes` of a source's held-out text in tokens: the same text for every tokenizer. */
  heldOut(source: string, tokenizer: Tokenizer, bytes: number, signal: AbortSignal): Promise<Int32Array> {
    const key = digest(FORMAT, "stretch", source, String(bytes), tokenizer.fingerprint);
    return this.#once(key, async () => {
      const ids: number[] = [];
      let left = bytes;
      for await (const document of this.#corpus(source).documents("valid", signal)) {
        const size = Buffer.byteLength(document);
        const text = size <= left ? document : firstPart(document, left / size);
        for (const id of tokenizer.encode(text)) ids.push(id);
        ids.push(tokenizer.endOfText);
        left -= size;
        if (left <= 0) break;
      }
      return Int32Array.from(ids);
    });
  }

  #corpus(source: string): Corpus {
    const corpus = this.#corpora.get(source);
    if (corpus === undefined) throw new RangeError(`there is no source ${source}`);
    return corpus;
  }

  #learned(sources: readonly string[], vocabularySize: number, signal: AbortSignal): Promise<Vocabulary> {
    const { vocabularyBytes } = this.#scale;
    const identities = sources.map((source) => this.#corpus(source).identity);
    const key = digest(FORMAT, "vocabulary", String(vocabularySize), String(vocabularyBytes), ...identities);
    return this.#once(key, async () => {
      const path = join(this.#directory, `${key}.tokenizer.json`);
      const kept = await readIfPresent(path);
      if (kept !== undefined) return { tokenizer: Tokenizer.fromJson(Buffer.from(kept).toString()) };
      const maxBytes = vocabularyBytes * sources.length;
      const documents = this.#sample(sources, vocabularyBytes, signal);
      const tokenizer = await trainTokenizer(documents, { vocabularySize, maxBytes, signal });
      await mkdir(this.#directory, { recursive: true });
      await writeAtomic(path, tokenizer.toJson());
      return { tokenizer };
    });
  }

  async *#allDocuments(source: string, signal: AbortSignal): AsyncGenerator<string> {
    for (const split of ["train", "valid"] as const) yield* this.#corpus(source).documents(split, signal);
  }

  /** About `bytes` of each source's training text. */
  async *#sample(sources: readonly string[], bytes: number, signal: AbortSignal): AsyncGenerator<string> {
    for (const source of sources) {
      let left = bytes;
      for await (const document of this.#corpus(source).documents("train", signal)) {
        yield document;
        left -= Buffer.byteLength(document);
        if (left <= 0) break;
      }
    }
  }

  /** Makes each thing once at a time; a failure is not kept. */
  #once<T>(key: string, make: () => Promise<T>): Promise<T> {
    const known = this.#made.get(key) as Promise<T> | undefined;
    if (known !== undefined) return known;
    const made = make();
    this.#made.set(key, made);
    made.catch(() => this.#made.delete(key));
    return made;
  }
}

/** A share of a text, never ending inside of a surrogate pair. */
const firstPart = (text: string, share: number): string =>
  text.slice(0, Math.floor(text.length * share)).replace(/[\ud800-\udbff]$/, "");

const digest = (...parts: string[]): string =>
  createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32);
