// What a run may begin from, where it names the body itself.
import type { RunConfig } from "../core/run-config.ts";
import { InitialBodyError } from "../errors.ts";
import type { Ledger } from "./ledger.ts";

/** Throws InitialBodyError where a ledger at its very beginning holds another body than the run starts from. */
export function requireInitial({ initialBody }: RunConfig, ledger: Ledger): void {
  const { root } = ledger.roots();
  if (initialBody === undefined || !ledger.holdsBody || root === initialBody) return;
  throw new InitialBodyError(initialBody, root);
}
