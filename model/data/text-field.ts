// Finds the text in a record (a JSON line, a Parquet row). Owns what counts as text and what as missing.

/**
 * The text under `field`: a key as it is or, failing that, a dotted path. Null where the value is null (a document
 * that is not there), undefined where there is no such field or it holds no string.
 */
export function pickText(
  record: Readonly<Record<string, unknown>>,
  field: string,
): string | null | undefined {
  let value: unknown = record[field];
  if (value === undefined && field.includes(".")) {
    value = record;
    for (const key of field.split(".")) {
      if (value === null || value === undefined) break;
      value = typeof value === "object" ? (value as Record<string, unknown>)[key] : undefined;
    }
  }
  return typeof value === "string" || value === null ? value : undefined;
}
