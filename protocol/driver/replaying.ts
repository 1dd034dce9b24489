// From a body that took long to come to the one that its donor holds now: the rounds that have closed meanwhile are closed
// again here, update by update. Whoever's link carries a round's updates in less than a round gets there, however slow.

import { updateWeight } from "../core/run-config.ts";
import type { BodyRoot, PeerId, SignedUpdate } from "../core/types.ts";
import { updateIdOf } from "../core/update-id.ts";
import { updateKey } from "../core/update-set.ts";
import type { BodyArithmetic } from "./arithmetic.ts";
import type { DriverContext } from "./context.ts";
import { LocalArithmetic } from "./local-arithmetic.ts";

export interface StandingBody {
  readonly closedRound: number;
  readonly root: BodyRoot;
  readonly body: Float32Array;
}

/** What the donor says has led from the body to its own: by round the updates, and the root of the body after it. */
export interface Lineage {
  readonly updates: readonly SignedUpdate[];
  readonly closedRoots: ReadonlyMap<number, BodyRoot>;
}

/** Payloads asked for at once, as where a round is collected. */
const CONCURRENT_FETCHES = 4;

/**
 * The newest body that `lineage` leads to from `start`, as far as its payloads are to be had and its roots are met. It is
 * done beside the ledger, whose own body may yet be what this peer goes on with.
 */
export async function replay(
  context: DriverContext,
  donor: PeerId,
  start: StandingBody,
  { updates, closedRoots }: Lineage,
): Promise<StandingBody> {
  if (!closedRoots.has(start.closedRound + 1)) return start;
  const { options, modules, signal } = context;
  const arithmetic: BodyArithmetic = modules.arithmetic?.(options) ?? new LocalArithmetic(options);
  try {
    await arithmetic.begin(start.closedRound, await arithmetic.describe(start.body));
    const byRound = Map.groupBy(updates, ({ announcement }) => announcement.round);
    let standing = start;
    for (let round = start.closedRound; closedRoots.has(round + 1) && !signal.aborted; round++) {
      const left = [...(byRound.get(round) ?? [])];
      const work = async () => {
        for (let update = left.shift(); update !== undefined; update = left.shift()) {
          await add(context, arithmetic, donor, update);
          context.dispatch({ type: "advanced" });
        }
      };
      try {
        await Promise.all(Array.from({ length: CONCURRENT_FETCHES }, work));
      } catch {
        // Nobody has a payload any more: what follows comes as it does for anyone who is behind.
        return standing;
      }
      const { body, root } = await arithmetic.closeThrough(round);
      if (root !== closedRoots.get(round + 1)) return standing;
      standing = { closedRound: round + 1, root, body };
    }
    return standing;
  } finally {
    arithmetic.close?.();
  }
}

async function add(
  { options, modules, signal }: DriverContext,
  arithmetic: BodyArithmetic,
  donor: PeerId,
  update: SignedUpdate,
): Promise<void> {
  const { announcement } = update;
  const stored = await modules.store.payload(announcement.payload);
  const payload = stored ?? (await modules.network.fetchPayload(update, [donor], signal));
  const decoded = await arithmetic.decode(payload);
  if (!decoded.ok) throw new RangeError(decoded.rejection.detail);
  const key = updateKey(updateIdOf(announcement, options.hash));
  const weight = updateWeight(options.config, announcement);
  await arithmetic.add(announcement.round, key, decoded.update, weight);
  await arithmetic.release(decoded.update);
}
