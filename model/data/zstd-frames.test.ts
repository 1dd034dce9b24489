import { Readable } from "node:stream";
import { constants, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { decompressZstd } from "./zstd-frames.ts";

function collect(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  return Readable.from(pieces).toArray();
}

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function decompress(bytes: Uint8Array, pieceBytes = 1000): Promise<Buffer> {
  return Buffer.concat(await collect(decompressZstd(inPieces(bytes, pieceBytes))));
}

/** A frame that decoders pass over: magic, length, anything (RFC 8878, 3.1.2). */
function skippable(content: string): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(0x184d2a55, 0);
  header.writeUInt32LE(content.length, 4);
  return Buffer.concat([header, Buffer.from(content)]);
}

const compress = (content: Uint8Array, checksum: boolean) =>
  zstdCompressSync(content, { params: { [constants.ZSTD_c_checksumFlag]: Number(checksum) } });

test("frames of any content, with or without checksums, are read one after another", async () => {
  const frame = fc.record({
    content: fc.uint8Array({ maxLength: 4000 }),
    repeats: fc.integer({ min: 1, max: 60 }), // long enough for several blocks, some of one repeated byte
    checksum: fc.boolean(),
    skip: fc.option(fc.string({ unit: "binary-ascii" })),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(frame, { maxLength: 5 }),
      fc.integer({ min: 1, max: 5000 }),
      async (frames, size) => {
        const contents = frames.map(({ content, repeats }) => Buffer.concat(Array(repeats).fill(content)));
        const file = frames.flatMap(({ checksum, skip }, i) => [
          ...(skip === null ? [] : [skippable(skip)]),
          compress(contents[i]!, checksum),
        ]);
        expect(await decompress(Buffer.concat(file), size)).toEqual(Buffer.concat(contents));
      },
    ),
    { numRuns: 60 },
  );
});

test("a long run of one byte, which is stored as one byte, does not lose the frame's end", async () => {
  const zeros = Buffer.alloc(1_000_000);
  const file = Buffer.concat([compress(zeros, true), compress(Buffer.from("after"), true)]);
  expect(await decompress(file)).toEqual(Buffer.concat([zeros, Buffer.from("after")]));
});

test("a file cut off anywhere is refused", async () => {
  const whole = Buffer.concat([skippable("x"), compress(Buffer.from("some text, some text"), true)]);
  for (let length = 1; length < whole.length; length++) {
    if (length === 9) continue; // exactly the skippable frame: a whole file of no content
    await expect(decompress(whole.subarray(0, length)), `${length} bytes`).rejects.toThrow();
  }
});

test("what follows the last frame must be a frame", async () => {
  const file = Buffer.concat([compress(Buffer.from("text"), false), Buffer.from("trailing")]);
  await expect(decompress(file)).rejects.toThrow("not Zstandard data");
});
