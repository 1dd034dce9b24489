// What can be wrong with the bytes of a checkpoint, or with what is to be put into one.

/**
 * `truncated`: bytes are missing at the end. `checksum`: all are there, some have changed. `header`: not a checkpoint,
 * or one that another program wrote. `layout`: tensors overlap, leave gaps or do not match their shapes.
 * `content`: well-formed, but not what the caller stores under this format (or may store at all).
 */
export type CheckpointFault = "truncated" | "checksum" | "header" | "layout" | "content";

const REMEDIES: Record<CheckpointFault, string> = {
  truncated: "restore the file from a whole copy",
  checksum: "restore the file from a sound copy",
  header: "pass a file that this program has written",
  layout: "pass a file that this program has written",
  content: "pass a checkpoint of this kind",
};

/** A checkpoint that cannot be read or written. Nothing of it has been used. */
export class CheckpointError extends Error {
  readonly code = "CHECKPOINT_INVALID";
  readonly fault: CheckpointFault;
  constructor(fault: CheckpointFault, cause: string) {
    super(`The checkpoint is unusable: ${cause}; ${REMEDIES[fault]}.`);
    this.name = "CheckpointError";
    this.fault = fault;
  }
}
