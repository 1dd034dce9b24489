// An inventory in pages: updates are in the order of their ids, a page is what follows a given one. So each page stands for
// itself, the asker may break off anywhere, and what comes or goes meanwhile moves nothing else. Sends nothing.
import type { BodyRoot, Inventory, SignedUpdate } from "../core/types.ts";
import { updateIdOf } from "../core/update-id.ts";
import { compareUpdateIds, type UpdateId } from "../core/update-set.ts";
import type { ServedContent } from "../ports.ts";
import { MAX_CLOSED_ROOTS, MAX_INVENTORY_UPDATES } from "../wire/transfer.ts";
import { sha256 } from "./hash.ts";

/** A log of 32 rounds and four open ones, each of 1,024 updates, is 18 pages. */
export const MAX_INVENTORY_PAGES = 24;

export interface InventoryPage extends Inventory {
  /** Further updates follow the last one of these. */
  readonly more: boolean;
}

/** A page whose updates are not in order, or not behind those asked for. */
export class PageOrderError extends Error {
  readonly code = "PAGE_ORDER";

  constructor() {
    super("An inventory's page does not follow the one before it; its sender is not asked again for now.");
    this.name = "PageOrderError";
  }
}

const idOf = ({ announcement }: SignedUpdate): UpdateId => updateIdOf(announcement, sha256);

/** What `content` holds in rounds >= fromRound behind `after`. */
export function pageOf(
  content: Pick<ServedContent, "inventory" | "closedRoots" | "isOpposed">,
  { fromRound, after }: { readonly fromRound: number; readonly after?: UpdateId | undefined },
  most = MAX_INVENTORY_UPDATES,
): InventoryPage {
  const all = content.inventory(fromRound);
  const start = after === undefined ? 0 : placeBehind(all, after);
  const closedRoots = [...(content.closedRoots?.(fromRound) ?? [])].slice(-MAX_CLOSED_ROOTS);
  const updates = all.slice(start, start + most);
  return {
    updates,
    opposed: updates.filter((update) => content.isOpposed?.(update) === true),
    closedRoots: new Map(closedRoots),
    more: start + most < all.length,
  };
}

/** Asks for page after page, a bounded number of them. Throws PageOrderError, and what `ask` throws. */
export async function gatherPages(
  ask: (after: UpdateId | undefined) => Promise<InventoryPage>,
): Promise<Inventory> {
  const updates: SignedUpdate[] = [];
  const opposed: SignedUpdate[] = [];
  let after: UpdateId | undefined;
  const roots = new Map<number, BodyRoot | undefined>();
  for (let pages = 1; ; pages++) {
    const page = await ask(after);
    for (const update of page.updates) {
      const id = idOf(update);
      if (after !== undefined && compareUpdateIds(after, id) >= 0) throw new PageOrderError();
      updates.push(update);
      after = id;
    }
    opposed.push(...(page.opposed ?? []));
    // Another body between two pages: the updates are then not those that have led to either.
    for (const [round, root] of page.closedRoots) {
      roots.set(round, !roots.has(round) || roots.get(round) === root ? root : undefined);
    }
    if (!page.more || page.updates.length === 0 || pages === MAX_INVENTORY_PAGES) {
      const agreed = [...roots].filter((entry): entry is [number, BodyRoot] => entry[1] !== undefined);
      return { updates, opposed, closedRoots: new Map(agreed) };
    }
  }
}

/** The index of the first update behind `id`. */
function placeBehind(updates: readonly SignedUpdate[], id: UpdateId): number {
  let low = 0;
  let high = updates.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareUpdateIds(idOf(updates[middle]!), id) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
