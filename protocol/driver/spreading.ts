// An own update is held by others before the swarm hears of it: a payload that only its author has dies with it, and an author
// that few can reach would be asked by all. Waits a bounded time; decides nothing about rounds.
import { isParticipating, type Member } from "../core/membership.ts";
import { reachOf } from "../core/rules.ts";
import type { PeerId, SignedUpdate } from "../core/types.ts";
import type { DriverContext } from "./context.ts";

/** Others that hold a payload when it is announced. */
const HOLDERS = 2;
/** A round's deadline goes on meanwhile: after this long the update is announced as it is, and the offers go on. */
const PATIENCE_MS = 5_000;
/** Peers tried where some will not. */
const MAX_OFFERS = 4;

/** Resolves when `HOLDERS` peers hold the payload, or it is time to announce it all the same. Never rejects. */
export function spreadUpdate(context: DriverContext, update: SignedUpdate): Promise<void> {
  const { modules, signal } = context;
  const candidates = candidatesFor(context, update);
  // With one peer to tell, telling it is all that can be done.
  if (candidates.length < HOLDERS || signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    let held = 0;
    let offering = 0;
    const end = () => {
      cancel();
      signal.removeEventListener("abort", end);
      resolve();
    };
    const cancel = modules.clock.after(PATIENCE_MS, end);
    signal.addEventListener("abort", end, { once: true });
    const offerNext = () => {
      const peer = candidates.shift();
      if (peer === undefined) return;
      offering++;
      void modules.network
        .offerUpdate(peer, update, signal)
        .catch(() => false)
        .then((holds) => {
          offering--;
          if (holds) held++;
          else offerNext();
          if (held >= HOLDERS || offering === 0) end();
        });
    };
    for (let at = 0; at < HOLDERS; at++) offerNext();
  });
}

const speaksOften = (member: Member | undefined): boolean =>
  member?.presence.intervalMs === undefined && member !== undefined;

/** Connected peers that take part nearby; which ones come first depends on the payload, so that all get their share. */
function candidatesFor({ modules, state }: DriverContext, update: SignedUpdate): PeerId[] {
  const { members, round, rules, cadence } = state();
  const nowMs = modules.clock.nowMs();
  const near = modules.network.connectedPeers().filter((peer) => {
    const member = members.get(peer);
    // Of a large swarm's neighbours few have been heard lately: they say themselves whether they count it.
    if (cadence.size > 2 * rules.cohort.size && !speaksOften(member)) return true;
    if (member === undefined || !isParticipating(member, nowMs)) return false;
    return Math.abs(member.presence.round - round) <= reachOf(rules);
  });
  const first =
    near.length === 0 ? 0 : Number.parseInt(update.announcement.payload.slice(0, 8), 16) % near.length;
  const sorted = near.toSorted();
  return [...sorted.slice(first), ...sorted.slice(0, first)].slice(0, MAX_OFFERS);
}
