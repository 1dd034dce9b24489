// Anti-entropy: the updates a peer holds, and the check that every one of them was signed by its author.
import { setImmediate } from "node:timers/promises";
import type { Inventory, PeerId, RunId, SignedUpdate } from "../core/types.ts";
import type { ServedContent } from "../ports.ts";
import { openUpdate } from "../wire/signed.ts";
import { MAX_CLOSED_ROOTS, MAX_INVENTORY_UPDATES } from "../wire/transfer.ts";
import { verifyOpened } from "./signatures.ts";
import type { StreamModules, Streams } from "./streams.ts";
import { MisbehaviourError } from "./streams.ts";

/** Signatures checked before the event loop gets a turn: about 8 ms of work. */
const VERIFY_BATCH = 64;

export function serveInventories(
  streams: Streams,
  contentOf: (runId: RunId) => ServedContent | undefined,
): Promise<void> {
  return streams.answer("inventory", async ({ runId, fromRound }) => {
    const content = contentOf(runId);
    const roots = [...(content?.closedRoots?.(fromRound) ?? [])].slice(-MAX_CLOSED_ROOTS);
    return {
      updates: content?.inventory(fromRound).slice(0, MAX_INVENTORY_UPDATES) ?? [],
      closedRoots: new Map(roots),
    };
  });
}

/** What `peer` holds in rounds >= fromRound, all signatures verified. Throws NetworkError as `Streams.ask`. */
export async function fetchInventory(
  streams: Streams,
  peer: PeerId,
  request: { runId: RunId; fromRound: number },
  penalise: StreamModules["penalise"],
  signal: AbortSignal,
): Promise<Inventory> {
  const { updates, closedRoots } = await streams.ask(peer, "inventory", request, signal);
  await verifyUpdates(updates, request.runId, peer, penalise);
  return {
    updates: updates.filter(({ announcement }) => announcement.round >= request.fromRound),
    closedRoots,
  };
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
