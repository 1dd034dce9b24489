// The corpora that come with glossa: three languages, three vocabularies. See corpora/README.md for where they are from.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { z } from "zod";

const FOLDER = new URL("./corpora/", import.meta.url);

const manifestSchema = z.object({
  corpora: z.array(z.object({ name: z.string(), file: z.string() })).min(1),
});

/** Sizes that differ on purpose, small enough for each text: nothing about them is agreed. */
const VOCABULARY_SIZES = [1024, 1536, 2048] as const;

export interface DemoCorpus {
  readonly name: string;
  readonly path: string;
  readonly vocabularySize: number;
}

export async function demoCorpora(): Promise<readonly DemoCorpus[]> {
  const { corpora } = manifestSchema.parse(
    JSON.parse(await readFile(new URL("manifest.json", FOLDER), "utf8")),
  );
  return corpora.map(({ name, file }, index) => ({
    name,
    path: fileURLToPath(new URL(file, FOLDER)),
    vocabularySize: VOCABULARY_SIZES[index % VOCABULARY_SIZES.length]!,
  }));
}
