// The text column of a Parquet file, row group by row group. Owns the only use of hyparquet; memory is one row group's
// text (writers make them 10,000 to a million rows).
import { open } from "node:fs/promises";
import { parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { ParquetUnreadableError, TextFieldMissingError } from "./errors.ts";
import type { DataFile } from "./list-data-files.ts";
import type { ReadOptions } from "./read-text.ts";
import { pickText } from "./text-field.ts";

/**
 * The values of `textField` (a column, or a dotted path into a nested one) in order; nulls are passed over.
 * @throws ParquetUnreadableError, TextFieldMissingError, the signal's reason
 */
export async function* readParquet(
  file: DataFile,
  textField: string,
  { signal, onBytesRead }: ReadOptions = {},
): AsyncGenerator<string> {
  const handle = await open(file.path).catch((cause: Error) => {
    throw new ParquetUnreadableError(file.path, cause.message, { cause });
  });
  const buffer = {
    byteLength: file.bytes,
    async slice(start: number, end: number = file.bytes): Promise<ArrayBuffer> {
      signal?.throwIfAborted();
      const from = start < 0 ? file.bytes + start : start;
      const bytes = new Uint8Array(end - from);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, from);
      if (bytesRead < bytes.length) throw new Error("it ends early");
      return bytes.buffer;
    },
  };
  try {
    const metadata = await parquetMetadataAsync(buffer);
    const columns = metadata.schema[0]?.num_children ?? 0;
    const names = topLevelColumns(metadata.schema);
    const column = names.includes(textField) ? textField : (textField.split(".")[0] ?? textField);
    if (columns === 0 || !names.includes(column)) {
      throw new TextFieldMissingError(file.path, 1, textField, names);
    }
    let rowStart = 0;
    for (const group of metadata.row_groups) {
      const rowEnd = rowStart + Number(group.num_rows);
      const rows = await parquetReadObjects({
        file: buffer,
        metadata,
        columns: [column],
        rowStart,
        rowEnd,
        compressors,
      });
      onBytesRead?.(file.bytes / metadata.row_groups.length);
      for (const [index, row] of rows.entries()) {
        const text = pickText(row, textField);
        if (text === undefined) {
          throw new TextFieldMissingError(file.path, rowStart + index + 1, textField, names);
        }
        if (text !== null) yield text;
      }
      rowStart = rowEnd;
    }
  } catch (cause) {
    if (cause instanceof TextFieldMissingError) throw cause;
    signal?.throwIfAborted();
    throw new ParquetUnreadableError(file.path, (cause as Error).message, { cause });
  } finally {
    await handle.close();
  }
}

/** The schema is a flattened tree: the root, then each child followed by its own children. */
function topLevelColumns(schema: readonly { name: string; num_children?: number }[]): string[] {
  const names: string[] = [];
  let at = 1;
  const skip = (): void => {
    const children = schema[at++]?.num_children ?? 0;
    for (let child = 0; child < children; child++) skip();
  };
  while (at < schema.length) {
    names.push(schema[at]!.name);
    skip();
  }
  return names;
}
