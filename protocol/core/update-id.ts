// What an update is called: a hash of everything that its author has signed. Two announcements that differ in anything,
// though it be the tokens of one payload, are two updates; one that is signed twice is one.
import { canonicalJson } from "./canonical-json.ts";
import { type Hash, hexSha256, utf8 } from "./hash.ts";
import type { ContentId, UpdateAnnouncement } from "./types.ts";
import type { UpdateId } from "./update-set.ts";

/** An announcement is asked for its id again and again, and never changes. */
const KNOWN = new WeakMap<UpdateAnnouncement, UpdateId>();

export function updateIdOf(announcement: UpdateAnnouncement, hash: Hash): UpdateId {
  const known = KNOWN.get(announcement);
  if (known !== undefined) return known;
  const { round, author } = announcement;
  const id = { round, author, statement: statementOf(announcement, hash) };
  KNOWN.set(announcement, id);
  return id;
}

/** Hex SHA-256 over "glossa/update/1\n" and the canonical JSON of the announcement's fields. */
export function statementOf(announcement: UpdateAnnouncement, hash: Hash): ContentId {
  const { runId, round, author, payload, payloadBytes, baseRoot, tokens } = announcement;
  const { lossNatsPerToken, bitsPerByte, probation } = announcement;
  // The compiler demands every field: what is signed and not in here could be told to each peer in another way.
  const said: { [Field in keyof Required<UpdateAnnouncement>]: UpdateAnnouncement[Field] } = {
    ...{ runId, round, author, payload, payloadBytes, baseRoot, tokens },
    ...{ lossNatsPerToken, bitsPerByte, probation },
  };
  return hexSha256(utf8(`glossa/update/1\n${canonicalJson(said)}`), hash);
}
