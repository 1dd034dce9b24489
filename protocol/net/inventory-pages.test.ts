import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { SignedUpdate } from "../core/types.ts";
import { updateIdOf } from "../core/update-id.ts";
import { compareUpdateIds, updateKey } from "../core/update-set.ts";
import { sha256 } from "./hash.ts";
import {
  gatherPages,
  type InventoryPage,
  MAX_INVENTORY_PAGES,
  PageOrderError,
  pageOf,
} from "./inventory-pages.ts";

const HEX = "ab".repeat(32);

const update = (round: number, author: string, tokens: number): SignedUpdate => ({
  announcement: {
    ...{ runId: HEX, round, author, payload: HEX, payloadBytes: 1, baseRoot: HEX },
    ...{ tokens, lossNatsPerToken: 1, bitsPerByte: 1 },
  },
  envelope: new Uint8Array(),
});
const idOf = ({ announcement }: SignedUpdate) => updateIdOf(announcement, sha256);
const sorted = (updates: readonly SignedUpdate[]) =>
  updates.toSorted((a, b) => compareUpdateIds(idOf(a), idOf(b)));
const keysOf = (updates: readonly SignedUpdate[]) => updates.map((one) => updateKey(idOf(one)));

const some = fc
  .uniqueArray(fc.tuple(fc.nat(6), fc.constantFrom("ada", "Bea", "cleo", "dora"), fc.nat(3)), {
    maxLength: 60,
    selector: (parts) => parts.join("/"),
  })
  .map((parts) => sorted(parts.map((part) => update(...part))));

/** A peer that holds what `held` gives, and whose body's lineage is `roots`. */
const peerWith = (held: () => readonly SignedUpdate[], roots = () => new Map([[3, HEX]])) => ({
  inventory: (fromRound: number) => held().filter(({ announcement }) => announcement.round >= fromRound),
  closedRoots: roots,
});

describe("an inventory in pages", () => {
  it("is whole, in order and without repetition, whatever fits on a page", async () => {
    await fc.assert(
      fc.asyncProperty(some, fc.integer({ min: 3, max: 9 }), fc.nat(7), async (held, most, fromRound) => {
        const content = peerWith(() => held);
        const { updates, closedRoots } = await gatherPages(async (after) =>
          pageOf(content, { fromRound, after }, most),
        );
        expect(keysOf(updates)).toEqual(keysOf(content.inventory(fromRound)));
        expect([...closedRoots]).toEqual([[3, HEX]]);
      }),
    );
  });

  it("says on every page which of its updates a closed round has left out", async () => {
    await fc.assert(
      fc.asyncProperty(some, fc.integer({ min: 3, max: 9 }), async (held, most) => {
        const isOpposed = ({ announcement }: SignedUpdate) => announcement.tokens === 1;
        const content = { ...peerWith(() => held), isOpposed };
        const { opposed } = await gatherPages(async (after) =>
          pageOf(content, { fromRound: 0, after }, most),
        );
        expect(opposed).toEqual(held.filter(isOpposed));
      }),
    );
  });

  it("has all that was there throughout, though others come and go between two pages", async () => {
    await fc.assert(
      fc.asyncProperty(
        some,
        fc.integer({ min: 3, max: 9 }),
        fc.infiniteStream(fc.nat(59)),
        async (all, most, draw) => {
          const out = new Set<number>();
          const lasting = new Set(all.keys());
          const content = peerWith(() => all.filter((_, at) => !out.has(at)));
          const { updates } = await gatherPages(async (after) => {
            const page = pageOf(content, { fromRound: 0, after }, most);
            const moves = draw.next().value as number;
            lasting.delete(moves);
            if (!out.delete(moves)) out.add(moves);
            return page;
          });
          const keys = keysOf(updates);
          expect(new Set(keys).size).toBe(keys.length);
          const known = new Set(keys);
          for (const at of lasting) expect(known).toContain(keysOf([all[at]!])[0]);
        },
      ),
    );
  });

  it("names no root on which two of its pages differ", async () => {
    const held = sorted(Array.from({ length: 10 }, (_, at) => update(at, "ada", 1)));
    let page = 0;
    const roots = () =>
      new Map([
        [3, HEX],
        [4, `${++page}`.repeat(64)],
      ]);
    const { closedRoots } = await gatherPages(async (after) =>
      pageOf(
        peerWith(() => held, roots),
        { fromRound: 0, after },
        4,
      ),
    );
    expect([...closedRoots]).toEqual([[3, HEX]]);
  });

  it("ends however long somebody goes on", async () => {
    let asked = 0;
    const endless = async (): Promise<InventoryPage> => ({
      updates: [update(++asked, "ada", 1)],
      closedRoots: new Map(),
      more: true,
    });
    expect((await gatherPages(endless)).updates.length).toBe(MAX_INVENTORY_PAGES);
    expect(asked).toBe(MAX_INVENTORY_PAGES);
    const idle = async (): Promise<InventoryPage> => ({ updates: [], closedRoots: new Map(), more: true });
    expect((await gatherPages(idle)).updates).toEqual([]);
  });

  it("that says the same again, or goes back, is refused", async () => {
    const same = async (): Promise<InventoryPage> => ({
      updates: [update(1, "ada", 1)],
      closedRoots: new Map(),
      more: true,
    });
    await expect(gatherPages(same)).rejects.toThrow(PageOrderError);
    const backwards = [update(2, "ada", 1), update(1, "ada", 1)];
    await expect(
      gatherPages(async () => ({ updates: backwards, closedRoots: new Map(), more: false })),
    ).rejects.toThrow(PageOrderError);
  });
});
