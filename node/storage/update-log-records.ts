// Records of the update log as bytes and back. Pure; protocol/SPEC.md section 14 is its description.
//   frame = "GLR1" | u32 bytes of the body | first 8 bytes of SHA-256( length | body ) | body, JSON in UTF-8
// Integers are little-endian. What does not check is never returned; where whole frames follow, reading goes on there.
import { createHash } from "node:crypto";
import { z } from "zod";

export const UPDATE_LOG_VERSION = 1;

const MARK = Buffer.from("GLR1", "latin1");
const HEAD_BYTES = 16;
/** A round of 1,024 updates has some 600 kB. */
const MAX_BODY_BYTES = 8 * 2 ** 20;

const hex = z.string().regex(/^[0-9a-f]{64}$/);
const round = z.int().min(0);
const timeMs = z.number();

const segmentRecord = z.object({
  kind: z.literal("segment"),
  version: z.literal(UPDATE_LOG_VERSION),
  runId: hex,
  /** What the records of earlier segments have come to; absent in the first one. */
  head: z.object({ closedRound: round, root: hex }).optional(),
});

const beganRecord = z.object({
  kind: z.literal("began"),
  cause: z.enum(["genesis", "resumed", "join", "behind", "diverged", "gap"]),
  donor: z.string().max(128).optional(),
  closedRound: round,
  root: hex,
  timeMs,
});

const roundRecord = z.object({
  kind: z.literal("round"),
  round,
  /** Of the body after the round. */
  root: hex,
  timeMs,
  updates: z.array(
    z.object({
      /** The signed announcement, base64. */
      envelope: z.base64(),
      late: z.literal(true).optional(),
      heldRows: z.int().min(1).optional(),
      /** Why it does not count whole, and how much of its norm does. */
      restraint: z
        .object({ why: z.enum(["clipped", "opposed", "copied"]), kept: z.number().min(0).max(1) })
        .optional(),
    }),
  ),
});

const undoneRecord = z.object({ kind: z.literal("undone"), fromRound: round, timeMs });

const namedRecord = z.object({ kind: z.literal("named"), peer: z.string().max(128), name: z.string() });

const logRecord = z.discriminatedUnion("kind", [
  segmentRecord,
  beganRecord,
  roundRecord,
  undoneRecord,
  namedRecord,
]);

/**
 * `began`: the body at the start of `closedRound` is one that does not follow from the records before. `round`: the updates
 * that made the body after it. `undone`: rounds from this one on are not closed after all (a crash came before they were
 * saved). `named`: what a peer calls itself.
 */
export type LogRecord = z.output<typeof logRecord>;
export type BeganRecord = z.output<typeof beganRecord>;
export type RoundRecord = z.output<typeof roundRecord>;

export function encodeRecord(record: LogRecord): Uint8Array {
  const body = Buffer.from(JSON.stringify(record), "utf8");
  if (body.length > MAX_BODY_BYTES) throw new RangeError(`a record of ${body.length} bytes is too long`);
  const frame = Buffer.alloc(HEAD_BYTES + body.length);
  MARK.copy(frame);
  frame.writeUInt32LE(body.length, 4);
  body.copy(frame, HEAD_BYTES);
  checksumOf(frame, 0, body.length).copy(frame, 8);
  return frame;
}

export interface LogDamage {
  /** Offset and length in the segment. */
  readonly at: number;
  readonly bytes: number;
}

export interface ScannedRecords {
  readonly records: readonly { readonly at: number; readonly record: LogRecord }[];
  /** Before whole records: bits that have changed. */
  readonly damage: readonly LogDamage[];
  /** End of the last whole record. What lies behind is a record being written, a torn one, or a damaged one. */
  readonly end: number;
}

/** Reads the records from `from` on. */
export function scanRecords(content: Uint8Array, from = 0): ScannedRecords {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const records: { at: number; record: LogRecord }[] = [];
  const damage: LogDamage[] = [];
  let end = from;
  for (let at = from; at !== -1; at = bytes.indexOf(MARK, at)) {
    const found = readFrame(bytes, at);
    if (found === undefined) {
      at++;
      continue;
    }
    if (at > end) damage.push({ at: end, bytes: at - end });
    records.push({ at, record: found.record });
    end = found.end;
    at = end;
  }
  return { records, damage, end };
}

function readFrame(bytes: Buffer, at: number): { record: LogRecord; end: number } | undefined {
  if (at + HEAD_BYTES > bytes.length || !MARK.equals(bytes.subarray(at, at + MARK.length))) return undefined;
  const length = bytes.readUInt32LE(at + 4);
  const end = at + HEAD_BYTES + length;
  if (length > MAX_BODY_BYTES || end > bytes.length) return undefined;
  if (!checksumOf(bytes, at, length).equals(bytes.subarray(at + 8, at + HEAD_BYTES))) return undefined;
  try {
    const parsed = logRecord.safeParse(JSON.parse(bytes.toString("utf8", at + HEAD_BYTES, end)));
    return parsed.success ? { record: parsed.data, end } : undefined;
  } catch {
    return undefined;
  }
}

const checksumOf = (bytes: Buffer, at: number, length: number): Buffer =>
  createHash("sha256")
    .update(bytes.subarray(at + 4, at + 8))
    .update(bytes.subarray(at + HEAD_BYTES, at + HEAD_BYTES + length))
    .digest()
    .subarray(0, 8);
