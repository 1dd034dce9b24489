// Anti-entropy: the updates a peer holds, and the check that every one of them was signed by its author.
import { setImmediate } from "node:timers/promises";
import type { Inventory, PeerId, RunId, SignedUpdate } from "../core/types.ts";
import type { UpdateId } from "../core/update-set.ts";
import type { ServedContent } from "../ports.ts";
import { openUpdate } from "../wire/signed.ts";
import { gatherPages, PageOrderError, pageOf } from "./inventory-pages.ts";
import { verifyOpened } from "./signatures.ts";
import type { StreamModules, Streams } from "./streams.ts";
import { MisbehaviourError } from "./streams.ts";

/** Signatures checked before the event loop gets a turn: about 8 ms of work. */
const VERIFY_BATCH = 64;
const NOTHING: Pick<ServedContent, "inventory"> = { inventory: () => [] };

export function serveInventories(
  streams: Streams,
  contentOf: (runId: RunId) => ServedContent | undefined,
): Promise<void> {
  return streams.answer("inventory", async ({ runId, ...wanted }) =>
    pageOf(contentOf(runId) ?? NOTHING, wanted),
  );
}

/** What `peer` holds in rounds >= fromRound, all signatures verified. Throws NetworkError as `Streams.ask`. */
export async function fetchInventory(
  streams: Streams,
  peer: PeerId,
  request: { runId: RunId; fromRound: number },
  penalise: StreamModules["penalise"],
  signal: AbortSignal,
): Promise<Inventory> {
  const ask = async (after: UpdateId | undefined) => {
    const page = await streams.ask(peer, "inventory", { ...request, after }, signal);
    await verifyUpdates(page.updates, request.runId, peer, penalise);
    return page;
  };
  try {
    const { updates, ...rest } = await gatherPages(ask);
    return {
      updates: updates.filter(({ announcement }) => announcement.round >= request.fromRound),
      ...rest,
    };
  } catch (error) {
    if (!(error instanceof PageOrderError)) throw error;
    penalise(peer, "malformed-message", error.message);
    throw new MisbehaviourError(peer, error.message);
  }
}

/** One foreign or forged update condemns the whole list: its sender was to check each before taking it up. */
export async function verifyUpdates(
  updates: readonly SignedUpdate[],
  runId: RunId,
  from: PeerId,
  penalise: StreamModules["penalise"],
): Promise<void> {
  for (const [position, { envelope }] of updates.entries()) {
    const opened = openUpdate(envelope);
    if (!opened.ok || !(await verifyOpened(opened.value))) {
      penalise(from, "bad-signature", "an inventory with a forged update");
      throw new MisbehaviourError(from, "an inventory with a forged update");
    }
    if (opened.value.message.announcement.runId !== runId) {
      penalise(from, "wrong-run", "an inventory with an update of another run");
      throw new MisbehaviourError(from, "an inventory with an update of another run");
    }
    if (position % VERIFY_BATCH === VERIFY_BATCH - 1) await setImmediate();
  }
}
