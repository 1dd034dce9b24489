// Between a message's plain value and its protobuf bytes. Sizes are bounded by the table in messages.ts, not here.
import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Decoded } from "./decoded.ts";
import { accepted, equalBytes, FieldError, rejected } from "./decoded.ts";

export interface Codec<T> {
  /** Throws RangeError on a value outside its bounds: our own bad value is a bug and must not go out. */
  encode(value: T): Uint8Array;
  /** Never throws. */
  decode(bytes: Uint8Array): Decoded<T>;
}

/**
 * A codec over one protobuf message. `write` and `read` work field by field with the functions of fields.ts.
 * With `canonical`, bytes are accepted only in the one form that encoding gives: fields in order, shortest numbers,
 * no defaults, nothing unknown. Signed gossip demands it, so that nobody can give one announcement two content ids;
 * streams do not, so that fields can be added later.
 */
export function protoCodec<T, D extends DescMessage>(
  schema: D,
  fields: { write(value: T): MessageInitShape<D>; read(message: MessageShape<D>): T },
  { canonical = false } = {},
): Codec<T> {
  return {
    encode: (value) => toBinary(schema, create(schema, fields.write(value))),
    decode(bytes) {
      try {
        // Unknown fields must be dropped: kept ones would be encoded again and look canonical.
        const message = fromBinary(schema, bytes, { readUnknownFields: false });
        if (canonical && !equalBytes(toBinary(schema, message), bytes)) {
          return rejected("malformed-message", `${schema.name} is not in canonical form`);
        }
        return accepted(fields.read(message));
      } catch (error) {
        // FieldError comes from our readers; anything else is the protobuf parser on bytes that are not protobuf.
        return error instanceof FieldError
          ? { ok: false, rejection: error.rejection }
          : rejected("malformed-message", `${schema.name} is not valid protobuf`);
      }
    },
  };
}
