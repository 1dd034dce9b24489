import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { parquetWriteBuffer } from "hyparquet-writer";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  BinaryDataError,
  DataEmptyError,
  DataFormatUnknownError,
  DataPathMissingError,
  DataUnreadableError,
  MalformedJsonlError,
  NotUtf8Error,
  ParquetUnreadableError,
  TextFieldMissingError,
} from "./errors.ts";
import { listDataFiles } from "./list-data-files.ts";
import { type ReadDocumentsOptions, readDocuments, sampleDocuments } from "./read-documents.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "documents-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

function collect(documents: AsyncIterable<string>): Promise<string[]> {
  return Readable.from(documents).toArray();
}

async function read(path: string, options?: ReadDocumentsOptions): Promise<string[]> {
  return collect(readDocuments([path], options));
}

const TEXT = "Uno, dos.\nTres: 三 👩‍👩‍👧\n\nquatre\n\n\n \t\n  cinq\n";
const DOCUMENTS = ["Uno, dos.\nTres: 三 👩‍👩‍👧", "quatre", "  cinq"];
const JSONL = DOCUMENTS.map((text, id) => JSON.stringify({ id, text, meta: { body: `${text}!` } })).join(
  "\n",
);

describe("text files", () => {
  test("hold documents between blank lines", async () => {
    expect(await read(write("a.txt", TEXT))).toEqual(DOCUMENTS);
  });

  test("may have a byte order mark and Windows' line ends", async () => {
    const windows = `\ufeff${TEXT.replaceAll("\n", "\r\n")}`;
    expect(await read(write("a.txt", windows))).toEqual(DOCUMENTS.map((d) => d.replaceAll("\n", "\r\n")));
  });

  test.each<[string, (bytes: Uint8Array) => Uint8Array]>([
    ["gz", gzipSync],
    ["zst", zstdCompressSync],
    ["gz", (bytes) => Buffer.concat([gzipSync(bytes.subarray(0, 20)), gzipSync(bytes.subarray(20))])],
    [
      "zst",
      (bytes) =>
        Buffer.concat([zstdCompressSync(bytes.subarray(0, 20)), zstdCompressSync(bytes.subarray(20))]),
    ],
  ])("may be compressed as .%s, in one piece or several", async (ending, compress) => {
    expect(await read(write(`a.txt.${ending}`, compress(Buffer.from(TEXT))))).toEqual(DOCUMENTS);
  });

  test("are read no further than asked for", async () => {
    const path = write("large.txt", "A document of some words.\n\n".repeat(1_000_000));
    let bytesRead = 0;
    const onProgress = (bytes: number, total: number) => {
      bytesRead = bytes;
      expect(total).toBe(27_000_000);
    };
    for await (const document of readDocuments([path], { onProgress })) {
      expect(document).toBe("A document of some words.");
      break;
    }
    expect(bytesRead).toBeGreaterThan(0);
    expect(bytesRead).toBeLessThan(4_000_000);
  });

  test("with one document without end give it in parts that join to it", async () => {
    const line = "0123456789 abcdefghij\n";
    const path = write("endless.txt", line.repeat(150_000));
    const parts = await read(path);
    expect(parts.length).toBeGreaterThan(1);
    expect(parts.every((part) => part.length <= 1 << 20)).toBe(true);
    expect(`${parts.join("\n")}\n`).toBe(line.repeat(150_000));
  });

  test("in which a few characters are broken are read with U+FFFD in their place", async () => {
    const bytes = Buffer.concat([Buffer.from("good "), Buffer.from([0xc3, 0x28]), Buffer.from(" text")]);
    expect(await read(write("a.txt", bytes))).toEqual(["good \ufffd( text"]);
  });

  test("in another encoding are refused", async () => {
    const latin1 = Buffer.from("Es grünt so grün, wenn Spaniens Blüten blühen. ".repeat(50), "latin1");
    await expect(read(write("a.txt", latin1))).rejects.toThrow(NotUtf8Error);
    const utf16 = write("b.txt", Buffer.from("plain", "utf16le"));
    await expect(read(utf16)).rejects.toMatchObject({ code: "DATA_BINARY", byteOffset: 1 });
  });

  test("that are no text at all are refused with the place", async () => {
    const path = write("a.txt", Buffer.from("PK\x03\x04\0\0"));
    await expect(read(path)).rejects.toThrow(BinaryDataError);
    await expect(read(path)).rejects.toThrow(`${path} is not text (a NUL byte at offset 4)`);
  });

  test.each(["gz", "zst"])("cut off inside of a .%s are refused", async (ending) => {
    const noise = Array.from({ length: 20_000 }, (_, i) => `${(i * 7919) % 10_007}\n\n`).join("");
    const whole = ending === "gz" ? gzipSync(noise) : zstdCompressSync(noise);
    const path = write(`a.txt.${ending}`, whole.subarray(0, whole.length / 2));
    await expect(read(path)).rejects.toThrow(DataUnreadableError);
  });

  test.each(["gz", "zst"])("that are no .%s for all their name are refused", async (ending) => {
    await expect(read(write(`a.txt.${ending}`, "plain text"))).rejects.toThrow(DataUnreadableError);
  });
});

describe(".jsonl files", () => {
  test("hold a document in the field text of each line", async () => {
    expect(await read(write("a.jsonl", `${JSONL}\n\n`))).toEqual(DOCUMENTS.map((d) => d.trimEnd()));
    expect(await read(write("b.ndjson.gz", gzipSync(JSONL)))).toEqual(DOCUMENTS);
  });

  test("may have the text elsewhere, also in a nested field", async () => {
    const path = write("a.jsonl.zst", zstdCompressSync(JSONL));
    expect(await read(path, { textField: "meta.body" })).toEqual(DOCUMENTS.map((d) => `${d}!`));
    const dotted = write("b.jsonl", '{"a.b": "dotted", "a": {"b": "nested"}}');
    expect(await read(dotted, { textField: "a.b" })).toEqual(["dotted"]);
  });

  test("pass over nulls and blank texts", async () => {
    expect(await read(write("a.jsonl", '{"text":null}\n{"text":" \\n"}\n{"text":"x"}'))).toEqual(["x"]);
  });

  test.each(["{broken", "[1]", '"text"', "3"])(
    "with the line %s are refused with the line's number",
    async (line) => {
      const path = write("a.jsonl", `{"text":"fine"}\n\n${line}\n`);
      await expect(read(path)).rejects.toThrow(MalformedJsonlError);
      await expect(read(path)).rejects.toThrow(`${path}:3 `);
    },
  );

  test("without the field are refused with the fields that there are", async () => {
    const path = write("a.jsonl", '{"text":"fine"}\n{"body":"x","id":1}\n');
    await expect(read(path)).rejects.toThrow(TextFieldMissingError);
    await expect(read(path)).rejects.toThrow(`${path}:2 has no text in the field "text" (it has body, id)`);
    await expect(read(path, { textField: "text.no" })).rejects.toThrow(`"text.no"`);
    await expect(read(write("b.jsonl", '{"text":5}'))).rejects.toThrow(TextFieldMissingError);
  });
});

describe("Parquet files", () => {
  const columnData = [
    { name: "id", data: [0, 1, 2, 3], type: "INT32" as const },
    { name: "body", data: [...DOCUMENTS, null], type: "STRING" as const, nullable: true },
  ];
  const bytes = (options: object = {}) =>
    new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 2, ...options }));

  test("hold a document in each row, over all row groups; nulls are passed over", async () => {
    expect(await read(write("a.parquet", bytes()), { textField: "body" })).toEqual(DOCUMENTS);
  });

  test("without the column are refused with the columns that there are", async () => {
    const path = write("a.parquet", bytes());
    await expect(read(path)).rejects.toThrow('no text in the field "text" (it has id, body)');
    await expect(read(path, { textField: "id" })).rejects.toThrow(TextFieldMissingError);
  });

  test("that are cut off, empty or something else are refused", async () => {
    const whole = bytes();
    for (const content of [whole.subarray(0, whole.length - 9), Buffer.from("PAR1"), Buffer.from("text")]) {
      await expect(read(write("a.parquet", content))).rejects.toThrow(ParquetUnreadableError);
    }
  });

  test("damaged inside of a page are refused", async () => {
    const damaged = bytes();
    damaged.fill(0xff, 8, 60);
    await expect(read(write("a.parquet", damaged), { textField: "body" })).rejects.toThrow(
      ParquetUnreadableError,
    );
  });
});

describe("folders", () => {
  test("give all their data files in one order, and each file once", async () => {
    write("b/2.txt", "b2");
    write("b/10.jsonl", '{"text":"b10"}');
    write("a.txt.gz", gzipSync("a"));
    write("Z.txt", "Z");
    write(".hidden/x.txt", "hidden");
    write("notes.md", "no data");
    symlinkSync(folder, join(folder, "b", "loop"));
    const paths = [folder, join(folder, "Z.txt")];
    expect(await collect(readDocuments(paths))).toEqual(["Z", "a", "b10", "b2"]);
  });

  test("list files with size and time", async () => {
    const path = write("a.jsonl.gz", gzipSync("{}"));
    utimesSync(path, 1000, 2000);
    expect(await listDataFiles([folder])).toEqual([
      { path, format: "jsonl", compression: "gzip", bytes: 22, modifiedMs: 2_000_000 },
    ]);
  });

  test("without data are refused and say what would be data", async () => {
    await expect(read(folder)).rejects.toThrow(DataEmptyError);
    write("a.pdf", "%PDF");
    await expect(read(folder)).rejects.toThrow("1 file, none with a known ending");
  });

  test("or files that are not there, have no known ending or no text are refused", async () => {
    await expect(read(join(folder, "missing"))).rejects.toThrow(DataPathMissingError);
    await expect(read(join(write("a.txt", "x"), "below-a-file"))).rejects.toThrow(DataPathMissingError);
    await expect(read(write("a.md", "text"))).rejects.toThrow(DataFormatUnknownError);
    await expect(read(write("a.parquet.gz", "text"))).rejects.toThrow(DataFormatUnknownError);
    await expect(read(write("empty.txt", " \n\n \n"))).rejects.toThrow(DataEmptyError);
  });
});

test("a sample takes an equal share of every file, and what a small one leaves over goes on", async () => {
  write("1.txt", "short");
  write("2.txt", "0123456789\n\n".repeat(100));
  write("3.txt", "abcdefghij\n\n".repeat(100));
  const sample = await collect(sampleDocuments([folder], { maxBytes: 205 }));
  expect(sample.filter((document) => document === "short")).toHaveLength(1);
  expect(sample.filter((document) => document === "0123456789")).toHaveLength(10);
  expect(sample.filter((document) => document === "abcdefghij")).toHaveLength(10);
});

test("reading stops when told to", async () => {
  const path = write("large.txt", "A document of some words.\n\n".repeat(200_000));
  const controller = new AbortController();
  const reason = new Error("enough");
  const reading = (async () => {
    for await (const _ of readDocuments([path], { signal: controller.signal })) controller.abort(reason);
  })();
  await expect(reading).rejects.toBe(reason);
});
