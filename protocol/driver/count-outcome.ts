// What became of an update whose payload is here.
import type { Offence } from "../core/types.ts";
import type { UpdateId } from "../core/update-set.ts";

/** `refused`: never counts. `untimely`: its round is not open here now. */
export type CountOutcome =
  | { readonly outcome: "counted"; readonly replaced: UpdateId | undefined }
  | { readonly outcome: "untimely" }
  | { readonly outcome: "refused"; readonly offence: Offence | undefined; readonly detail: string };

export const refused = (detail: string): CountOutcome => ({ outcome: "refused", offence: undefined, detail });

export const UNTIMELY: CountOutcome = { outcome: "untimely" };
