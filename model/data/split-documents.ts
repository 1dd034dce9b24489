// Where documents begin and end: blank lines in .txt, lines in .jsonl. Owns cutting, over streams of string pieces that
// may break anywhere; knows no files.

/** A longer document is handed on in parts, so that none is ever held whole; a part is a document of its own. */
export const LONGEST_DOCUMENT_CHARACTERS = 1 << 20;
/** A JSON line has to be held whole to be parsed. */
export const LONGEST_LINE_CHARACTERS = 1 << 26;

const BLANK_LINE = /\n[ \t\r]*\n/g;
const LEADING_BLANK_LINES = /^(?:[ \t\r]*\n)+/;

/** Documents separated by one or more blank lines, without blank lines at their head or white space at their end. */
export async function* splitAtBlankLines(
  pieces: AsyncIterable<string>,
  longest: number = LONGEST_DOCUMENT_CHARACTERS,
): AsyncGenerator<string> {
  let pending = "";
  let scanFrom = 0;
  for await (const piece of pieces) {
    pending += piece;
    let start = 0;
    BLANK_LINE.lastIndex = scanFrom;
    for (let match = BLANK_LINE.exec(pending); match !== null; match = BLANK_LINE.exec(pending)) {
      yield* parts(pending.slice(start, match.index), longest);
      start = match.index + match[0].length - 1; // the second newline may open the next blank line
      BLANK_LINE.lastIndex = start;
    }
    pending = pending.slice(start);
    while (pending.length > longest) {
      const end = cutPoint(pending, longest);
      yield* parts(pending.slice(0, end), longest);
      pending = pending.slice(end);
    }
    scanFrom = Math.max(0, pending.lastIndexOf("\n"));
  }
  yield* parts(pending, longest);
}

/** Lines with their number, from 1; undefined in place of a line that is longer than `longest`. */
export async function* splitLines(
  pieces: AsyncIterable<string>,
  longest: number = LONGEST_LINE_CHARACTERS,
): AsyncGenerator<{ line: string | undefined; number: number }> {
  let pending = "";
  let number = 0;
  for await (const piece of pieces) {
    let start = 0;
    for (let end = piece.indexOf("\n"); end >= 0; end = piece.indexOf("\n", start)) {
      yield { line: pending + piece.slice(start, end), number: ++number };
      pending = "";
      start = end + 1;
    }
    pending += piece.slice(start);
    if (pending.length > longest) {
      yield { line: undefined, number: ++number };
      return;
    }
  }
  if (pending.length > 0) yield { line: pending, number: ++number };
}

/** A document in parts of at most `longest` characters, trimmed; nothing for one that is blank. */
export function* parts(document: string, longest: number = LONGEST_DOCUMENT_CHARACTERS): Generator<string> {
  let rest = document.replace(LEADING_BLANK_LINES, "").trimEnd();
  while (rest.length > longest) {
    const end = cutPoint(rest, longest);
    const part = rest.slice(0, end).trimEnd();
    if (part.length > 0) yield part;
    rest = rest.slice(end).replace(LEADING_BLANK_LINES, "");
  }
  if (rest.length > 0) yield rest;
}

/** Where to cut a text that is too long: after a line, else after a space, else between two characters. */
function cutPoint(text: string, longest: number): number {
  for (const separator of ["\n", " "]) {
    const at = text.lastIndexOf(separator, longest - 1);
    if (at >= longest / 2) return at + 1;
  }
  const last = text.charCodeAt(longest - 1);
  return last >= 0xd800 && last <= 0xdbff && longest > 1 ? longest - 1 : longest;
}
