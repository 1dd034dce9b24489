// Columns of text, aligned by what is seen, not by the bytes of colours. Pure.
import { stripVTControlCharacters } from "node:util";

export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
  /** Cells to reserve, so that a table that is drawn again does not jump. */
  readonly minimumWidth?: number;
}

/** A title row and one row an entry, two blanks between columns, no blanks at line ends. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  paintTitle: (title: string) => string = (title) => title,
): string[] {
  const widths = columns.map(({ title, minimumWidth = 0 }, column) =>
    Math.max(minimumWidth, visibleWidth(title), ...rows.map((row) => visibleWidth(row[column] ?? ""))),
  );
  const line = (cells: readonly string[]) =>
    columns
      .map(({ align }, column) => pad(cells[column] ?? "", widths[column]!, align ?? "left"))
      .join("  ")
      .trimEnd();
  return [line(columns.map(({ title }) => (title === "" ? "" : paintTitle(title)))), ...rows.map(line)];
}

export function pad(text: string, width: number, align: "left" | "right"): string {
  const blanks = " ".repeat(Math.max(0, width - visibleWidth(text)));
  return align === "left" ? text + blanks : blanks + text;
}

/** Cells that a text takes on a terminal: wide East Asian characters take two, combining marks none. */
export function visibleWidth(text: string): number {
  let width = 0;
  for (const character of stripVTControlCharacters(text)) {
    if (/\p{Mn}|\p{Me}|\p{Cf}/u.test(character)) continue;
    width += WIDE.test(character) ? 2 : 1;
  }
  return width;
}

const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;

/** Cuts a line to the terminal's width, colours excluded; a cut line ends in an ellipsis. */
export function cut(line: string, width: number): string {
  if (visibleWidth(line) <= width) return line;
  const text = stripVTControlCharacters(line);
  let kept = "";
  for (const character of text) {
    if (visibleWidth(kept + character) > width - 1) break;
    kept += character;
  }
  return `${kept}…`;
}
