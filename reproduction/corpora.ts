// The text that the reproduction reads: a folder with a manifest.json, or the corpora that come with glossa. The form of
// the folder is described in docs/reproduction.md (its last section). Reads only; tokens are vocabularies.ts' business.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { isHeldOut } from "#model/data/hold-out.ts";
import { readDocuments } from "#model/data/read-documents.ts";

export type Split = "train" | "valid";

export interface Corpus {
  readonly name: string;
  /** What it is, for people: language and domain. */
  readonly description: string;
  /** Of the text, whatever it is packed in. */
  readonly identity: string;
  readonly documents: (split: Split, signal?: AbortSignal) => AsyncIterable<string>;
}

/** The folder holds no corpora, or not as its manifest says. */
export class CorporaError extends Error {
  readonly code = "CORPORA_INVALID";

  constructor(message: string) {
    super(message);
    this.name = "CorporaError";
  }
}

/** Names become file names and columns of tables. */
const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/);
const file = z.object({ path: z.string(), sha256OfText: z.string().regex(/^[0-9a-f]{64}$/) });
const description = { language: z.string(), domain: z.string() };

const folderSchema = z.object({
  sources: z.array(z.object({ name, ...description, files: z.object({ train: file, valid: file }) })).min(2),
});

const embeddedSchema = z.object({
  corpora: z.array(z.object({ name, ...description, file: z.string(), sha256: z.string() })).min(2),
});

const EMBEDDED = new URL("../node/demo/corpora/", import.meta.url);
/** Share of an embedded corpus' documents that is never trained on. */
const EMBEDDED_VALID = 0.05;

/** The corpora of a folder, in the order of its manifest. */
export async function corporaIn(folder: string): Promise<readonly Corpus[]> {
  const { sources } = await readManifest(join(folder, "manifest.json"), folderSchema);
  return sources.map((source) => ({
    name: source.name,
    description: `${source.language}, ${source.domain}`,
    identity: digest(source.files.train.sha256OfText, source.files.valid.sha256OfText),
    documents: (split, signal) => readDocuments([join(folder, source.files[split].path)], { signal }),
  }));
}

/** The corpora that come with glossa; a document's own hash says whether it is held out. */
export async function embeddedCorpora(): Promise<readonly Corpus[]> {
  const { corpora } = await readManifest(fileURLToPath(new URL("manifest.json", EMBEDDED)), embeddedSchema);
  return corpora.map((corpus) => ({
    name: corpus.name,
    description: `${corpus.language}, ${corpus.domain}`,
    identity: digest(corpus.sha256, String(EMBEDDED_VALID)),
    async *documents(split, signal) {
      const path = fileURLToPath(new URL(corpus.file, EMBEDDED));
      for await (const document of readDocuments([path], { signal })) {
        if (isHeldOut(document, EMBEDDED_VALID) === (split === "valid")) yield document;
      }
    },
  }));
}

async function readManifest<Schema extends z.ZodType>(
  path: string,
  schema: Schema,
): Promise<z.output<Schema>> {
  let content: unknown;
  try {
    content = JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    throw new CorporaError(`${path} cannot be read (${why}): give --corpora a folder with a manifest.json.`);
  }
  const result = schema.safeParse(content);
  if (result.success) return result.data;
  throw new CorporaError(`${path} is not a manifest of corpora: ${z.prettifyError(result.error)}`);
}

const digest = (...parts: string[]): string =>
  createHash("sha256").update(JSON.stringify(parts)).digest("hex");
