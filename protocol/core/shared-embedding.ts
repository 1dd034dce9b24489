// Which tensor of the layout is the embedding that the peers of a run share, whether the layout fits the variant, and
// whether the rows that a peer says it holds do.
import { HeldRowsError, LayoutError } from "../errors.ts";
import type { ParameterLayout, TensorSlot } from "./layout.ts";
import { requireRows } from "./rows.ts";
import { type RunConfig, sharesEmbedding } from "./run-config.ts";

/**
 * The layout's last tensor, [vocabulary.size, width], in variants that share it; undefined in the others. Throws
 * LayoutError where the layout ends with something else.
 */
export function sharedEmbedding(
  config: Pick<RunConfig, "variant" | "vocabulary" | "model">,
  layout: ParameterLayout,
): TensorSlot | undefined {
  if (!sharesEmbedding(config)) return undefined;
  const rows = config.vocabulary!.size;
  const { width } = config.model;
  const last = layout.tensors.at(-1)!;
  if (last.shape.length !== 2 || last.shape[0] !== rows || last.shape[1] !== width) {
    throw new LayoutError(
      `variant ${config.variant} ends with the embedding [${rows}, ${width}], not with ${last.name} [${last.shape.join(", ")}]`,
      last.name,
    );
  }
  return last;
}

/** Throws HeldRowsError where `heldRows` are missing in variant trim, given in another, or not rows of the vocabulary. */
export function requireHeldRows(
  { variant, vocabulary }: Pick<RunConfig, "variant" | "vocabulary">,
  heldRows: Int32Array | undefined,
): void {
  if (variant === "trim") {
    if (heldRows === undefined) throw new HeldRowsError("variant trim needs them and there are none");
    requireRows(heldRows, vocabulary!.size);
  } else if (heldRows !== undefined) {
    throw new HeldRowsError(`variant ${variant} has none`);
  }
}
