import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { readDocuments } from "#model/data/read-documents.ts";

interface Entry {
  readonly name: string;
  readonly file: string;
  readonly licence: string;
  readonly origin: string;
  readonly sha256: string;
  readonly bytes: number;
  readonly compressedBytes: number;
  readonly documents: number;
}

const FOLDER = new URL("./", import.meta.url);
const { corpora }: { corpora: readonly Entry[] } = JSON.parse(
  readFileSync(new URL("manifest.json", FOLDER), "utf8"),
);

describe("the demo's corpora", () => {
  test.each(corpora)("$name is what the manifest says, and reads as its documents", async (entry) => {
    const path = new URL(entry.file, FOLDER);
    const packed = readFileSync(path);
    const text = gunzipSync(packed);
    expect(packed.length).toBe(entry.compressedBytes);
    expect(text.length).toBe(entry.bytes);
    expect(createHash("sha256").update(text).digest("hex")).toBe(entry.sha256);
    expect(entry.licence).toContain("public domain");
    expect(text.toString().normalize("NFC")).toBe(text.toString());
    let documents = 0;
    for await (const _ of readDocuments([path.pathname])) documents += 1;
    expect(documents).toBe(entry.documents);
  });

  test("are all named in the manifest and take two megabytes at most", () => {
    const files = readdirSync(FOLDER).filter((name) => name.endsWith(".gz"));
    expect(files.sort()).toEqual(corpora.map(({ file }) => file).sort());
    expect(corpora.reduce((sum, { compressedBytes }) => sum + compressedBytes, 0)).toBeLessThan(2_000_000);
  });
});
