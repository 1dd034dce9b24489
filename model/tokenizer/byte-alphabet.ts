// GPT-2's printable alphabet: every byte has one letter, so that tokens can be written as JSON strings. Bytes that
// print stand for themselves, the other 68 are moved to U+0100 and up in byte order. Owns the two maps, nothing else.

/** Letter of each byte, indexed by the byte. */
export const LETTER_OF_BYTE: readonly string[] = buildLetters();

/** Byte of each letter. */
export const BYTE_OF_LETTER: ReadonlyMap<string, number> = new Map(
  LETTER_OF_BYTE.map((letter, byte) => [letter, byte]),
);

/**
 * The 256 bytes ordered by the code point of their letter. Hugging Face's trainer numbers its alphabet this way, and
 * as ties between equally frequent pairs go to the lower ids, the merges depend on it.
 */
export const BYTES_BY_LETTER: readonly number[] = LETTER_OF_BYTE.map((_, byte) => byte).sort(
  (a, b) => LETTER_OF_BYTE[a]!.codePointAt(0)! - LETTER_OF_BYTE[b]!.codePointAt(0)!,
);

/** The letters of `bytes`, as a token is written in tokenizer.json. */
export function toLetters(bytes: Uint8Array): string {
  let letters = "";
  for (const byte of bytes) letters += LETTER_OF_BYTE[byte];
  return letters;
}

/** The bytes that a token written in letters stands for, or undefined where a character is no letter of the alphabet. */
export function fromLetters(letters: string): Uint8Array | undefined {
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) {
    const byte = BYTE_OF_LETTER.get(letters[i]!);
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

function buildLetters(): string[] {
  const prints = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let moved = 0;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCodePoint(prints(byte) ? byte : 0x100 + moved++),
  );
}
