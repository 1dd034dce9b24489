// A folder of corpora, small enough for tests: a few documents of each corpus that comes with glossa.
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { embeddedCorpora, type Split } from "../corpora.ts";

const DOCUMENTS: Readonly<Record<Split, number>> = { train: 6, valid: 2 };

/** Writes the texts and their manifest.json. */
export async function writeSmallCorpora(folder: string): Promise<void> {
  const sources: unknown[] = [];
  for (const corpus of await embeddedCorpora()) {
    await mkdir(join(folder, corpus.name), { recursive: true });
    const files: Record<string, unknown> = {};
    for (const split of ["train", "valid"] as const) {
      const documents: string[] = [];
      for await (const document of corpus.documents(split)) {
        documents.push(document.slice(0, 4000));
        if (documents.length === DOCUMENTS[split]) break;
      }
      const text = `${documents.join("\n\n")}\n`;
      const path = `${corpus.name}/${split}.txt`;
      await writeFile(join(folder, path), text);
      files[split] = { path, sha256OfText: createHash("sha256").update(text).digest("hex") };
    }
    sources.push({ name: corpus.name, language: "any", domain: "any", files });
  }
  await writeFile(join(folder, "manifest.json"), JSON.stringify({ sources }));
}
