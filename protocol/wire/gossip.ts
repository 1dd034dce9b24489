// The two bodies that travel by gossip, between protobuf and the plain types of core/types.ts.
import { MAX_PRESENCE_INTERVAL_MS } from "../core/crowd.ts";
import { PRESENCE_INTERVAL_MS } from "../core/membership.ts";
import type { Phase, Presence, UpdateAnnouncement } from "../core/types.ts";
import type { Codec } from "./codec.ts";
import { protoCodec } from "./codec.ts";
import { FieldError } from "./decoded.ts";
import {
  MAX_NAME_BYTES,
  readCount,
  readHex32,
  readInt31,
  readMeasure,
  readText,
  writeCount,
  writeHex32,
  writeInt31,
  writeMeasure,
  writeText,
} from "./fields.ts";
import { PresenceBodySchema, UpdateBodySchema } from "./generated/glossa_pb.ts";
import { peerIdOfKey, writePeer } from "./peer-key.ts";

/** Wire number of each phase. The compiler demands every phase; numbers are never reused. */
const PHASE_NUMBERS: Readonly<Record<Phase, number>> = {
  waiting: 0,
  syncing: 1,
  warming: 2,
  training: 3,
  collecting: 4,
  settling: 5,
  done: 6,
};
const PHASES = new Map(
  Object.entries(PHASE_NUMBERS).map(([phase, number]) => [number, phase as Phase] as const),
);

export const updateCodec: Codec<UpdateAnnouncement> = protoCodec(
  UpdateBodySchema,
  {
    write: (update) => ({
      runId: writeHex32(update.runId, "runId"),
      author: writePeer(update.author, "author"),
      round: writeInt31(update.round, "round"),
      payload: writeHex32(update.payload, "payload"),
      payloadBytes: writeInt31(update.payloadBytes, "payloadBytes", 1),
      baseRoot: writeHex32(update.baseRoot, "baseRoot"),
      tokens: writeCount(update.tokens, "tokens"),
      lossNatsPerToken: writeMeasure(update.lossNatsPerToken, "lossNatsPerToken"),
      bitsPerByte: writeMeasure(update.bitsPerByte, "bitsPerByte"),
      probation: writeInt31(update.probation ?? 0, "probation"),
    }),
    read: (body) => ({
      runId: readHex32(body.runId, "runId"),
      round: readInt31(body.round, "round"),
      author: peerIdOfKey(body.author, "author"),
      payload: readHex32(body.payload, "payload"),
      payloadBytes: readInt31(body.payloadBytes, "payloadBytes", 1),
      baseRoot: readHex32(body.baseRoot, "baseRoot"),
      tokens: readCount(body.tokens, "tokens"),
      lossNatsPerToken: readMeasure(body.lossNatsPerToken, "lossNatsPerToken"),
      bitsPerByte: readMeasure(body.bitsPerByte, "bitsPerByte"),
      ...(body.probation > 0 && { probation: readInt31(body.probation, "probation") }),
    }),
  },
  { canonical: true },
);

export const presenceCodec: Codec<Presence> = protoCodec(
  PresenceBodySchema,
  {
    write: (presence) => ({
      runId: writeHex32(presence.runId, "runId"),
      author: writePeer(presence.author, "author"),
      name: writeText(presence.name, "name", MAX_NAME_BYTES),
      sequence: writeCount(presence.sequence, "sequence"),
      phase: PHASE_NUMBERS[presence.phase],
      round: writeInt31(presence.round, "round"),
      root: writeHex32(presence.root, "root"),
      closedRound: writeInt31(presence.closedRound, "closedRound"),
      closedRoot: writeHex32(presence.closedRoot, "closedRoot"),
      openUpdates: writeHex32(presence.openUpdates, "openUpdates"),
      step: writeInt31(presence.step, "step"),
      steps: writeInt31(presence.steps, "steps"),
      bitsPerByte: writeMeasure(presence.bitsPerByte, "bitsPerByte"),
      leaving: presence.leaving,
      intervalMs: presence.intervalMs === undefined ? 0 : writeInterval(presence.intervalMs),
    }),
    read: (body) => ({
      runId: readHex32(body.runId, "runId"),
      author: peerIdOfKey(body.author, "author"),
      name: readText(body.name, "name", MAX_NAME_BYTES),
      sequence: readCount(body.sequence, "sequence"),
      phase: readPhase(body.phase),
      round: readInt31(body.round, "round"),
      root: readHex32(body.root, "root"),
      closedRound: readInt31(body.closedRound, "closedRound"),
      closedRoot: readHex32(body.closedRoot, "closedRoot"),
      openUpdates: readHex32(body.openUpdates, "openUpdates"),
      step: readInt31(body.step, "step"),
      steps: readInt31(body.steps, "steps"),
      bitsPerByte: readMeasure(body.bitsPerByte, "bitsPerByte"),
      leaving: body.leaving,
      ...(body.intervalMs === 0 ? {} : { intervalMs: readInterval(body.intervalMs) }),
    }),
  },
  { canonical: true },
);

/** Absent at full rate; otherwise longer than that, and not for ever. */
const readInterval = (ms: number): number => {
  if (ms <= PRESENCE_INTERVAL_MS || ms > MAX_PRESENCE_INTERVAL_MS) {
    throw new FieldError(`intervalMs is outside ${PRESENCE_INTERVAL_MS + 1}..${MAX_PRESENCE_INTERVAL_MS}`);
  }
  return ms;
};

const writeInterval = (ms: number): number => {
  if (!Number.isInteger(ms) || ms <= PRESENCE_INTERVAL_MS || ms > MAX_PRESENCE_INTERVAL_MS) {
    throw new RangeError(
      `intervalMs must be an integer in ${PRESENCE_INTERVAL_MS + 1}..${MAX_PRESENCE_INTERVAL_MS}, not ${ms}`,
    );
  }
  return ms;
};

function readPhase(number: number): Phase {
  const phase = PHASES.get(number);
  if (phase === undefined) throw new FieldError("phase is not a known number");
  return phase;
}
