// Having an update's payload with others before it is announced: the author asks a peer to fetch it now and to say when it is
// on its disk. The peer fetches over whatever connection there is, so an author that cannot be dialled is no different.
import type { PeerId, RunId, SignedUpdate } from "../core/types.ts";
import type { ServedContent } from "../ports.ts";
import { verifyUpdates } from "./inventories.ts";
import type { StreamModules, Streams } from "./streams.ts";

export interface OfferLimits {
  readonly content: ServedContent;
  readonly maxPayloadBytes: number;
}

/** Offers are the author's own: what others hold is found by asking them. */
export function serveOffers(
  streams: Streams,
  find: (runId: RunId) => OfferLimits | undefined,
  penalise: StreamModules["penalise"],
): Promise<void> {
  return streams.answer("offer", async ({ update }, peer) => {
    const { runId, author, payloadBytes } = update.announcement;
    const run = find(runId);
    if (run?.content.offer === undefined || author !== peer) return { held: false };
    if (payloadBytes > run.maxPayloadBytes) {
      penalise(peer, "oversized", "an offered payload is larger than the run allows");
      return { held: false };
    }
    await verifyUpdates([update], runId, peer, penalise);
    return { held: await run.content.offer(update, peer) };
  });
}

/** Whether `peer` has the payload of our `update` now. Throws NetworkError as `Streams.ask`. */
export async function offerUpdate(
  streams: Streams,
  peer: PeerId,
  update: SignedUpdate,
  signal: AbortSignal,
): Promise<boolean> {
  return (await streams.ask(peer, "offer", { update }, signal)).held;
}
