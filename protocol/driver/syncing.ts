// Adopting another peer's body: one donor after another until one gives a whole snapshot that fits what is known.
import { closedBodyVerdict, votingMembers } from "../core/agreement.ts";
import { probationOf } from "../core/newcomer.ts";
import type { EffectOf } from "../core/round-events.ts";
import { reachOf } from "../core/rules.ts";
import type { Inventory, PeerId, SnapshotManifest } from "../core/types.ts";
import type { FetchedSnapshot } from "../ports.ts";
import { BodyProgress } from "./body-progress.ts";
import type { DriverContext } from "./context.ts";
import type { UpdateExchange } from "./exchange.ts";
import { Following } from "./following.ts";
import { replay, type StandingBody } from "./replaying.ts";
import { LOGGED_ROUNDS } from "./update-log.ts";

/** A donor that delivers nothing for this long is given up; slow ones that deliver are not. */
const IDLE_TIMEOUT_MS = 30_000;
/** Rounds close while others are closed again: each time fewer, or there is no catching up. */
const MAX_LAPS = 8;
const MAX_TRIES = 4;
/** With rounds of a second 34 years. The wire ends at twice that, and whoever is there could not say where it goes next. */
const LAST_ROUND = 2 ** 30;
const RETRY_MS = 250;

export async function syncFrom(
  context: DriverContext,
  exchange: UpdateExchange,
  { donors, roots }: EffectOf<"sync">,
): Promise<void> {
  const problems: string[] = [];
  for (const donor of inOrder(context, donors)) {
    if (context.signal.aborted) return;
    try {
      return await adoptFrom(context, exchange, donor, roots);
    } catch (error) {
      problems.push(`${donor}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (!context.signal.aborted) {
    context.dispatch({ type: "sync-failed", donors, detail: problems.join("; ") });
  }
}

/** A body of another round differs in every tile: those who stand where this peer does may spare it all but a few. */
function inOrder({ state, ledger }: DriverContext, donors: readonly PeerId[]): readonly PeerId[] {
  const { sync, members } = state();
  if (sync?.reason !== "diverged") return donors;
  const isLevel = (donor: PeerId) => members.get(donor)?.presence.closedRound === ledger.closedRound;
  return donors.toSorted((a, b) => Number(isLevel(b)) - Number(isLevel(a)));
}

/** What an attempt has left that nobody will take up: this peer goes on without the body it fetched. */
export async function forgetDraft({ state, modules }: DriverContext): Promise<void> {
  if (state().sync === undefined) await modules.store.snapshotDraft?.drop();
}

async function adoptFrom(
  context: DriverContext,
  exchange: UpdateExchange,
  donor: PeerId,
  roots: EffectOf<"sync">["roots"],
): Promise<void> {
  const { modules, ledger } = context;
  const idle = idleSignal(context);
  const following = new Following(context, donor, idle.signal);
  try {
    const fetched = await fetchBody(context, donor, roots, idle, following);
    const { manifest, body, log } = await upToDate(context, donor, fetched, idle, following);
    const { closedRound } = manifest;
    const round = donorRound(context, donor, closedRound);
    await new Promise<void>((resolve, reject) => {
      context.bodyLane.enqueue(async () => {
        const { sync } = context.state();
        if (sync?.reason === "diverged" && !isOutvoted(context)) {
          context.dispatch({ type: "sync-failed", donors: [], detail: "the others came round meanwhile" });
          return resolve();
        }
        if (sync?.reason !== "diverged" && isAside(context, donor)) {
          return reject(new RangeError("most peers are elsewhere than the one that gave it"));
        }
        let returned: number;
        try {
          returned = await ledger.adopt(manifest, body, round, log);
        } catch (error) {
          return reject(error);
        }
        const origin = ledger.origin(sync?.reason ?? "behind", donor);
        if (origin !== undefined) await modules.updateLog?.begin(origin);
        await context.save({ probation: probationOf(context.state(), round) });
        await modules.store.snapshotDraft?.drop();
        const open = [...manifest.updates, ...log.updates].filter(
          ({ announcement }) => announcement.round >= closedRound,
        );
        context.dispatch({
          type: "synced",
          donor,
          closedRound,
          round,
          roots: ledger.roots(),
          counted: ledger.counted(),
          announced: exchange.prepare(open),
          returned,
        });
        resolve();
      });
    });
  } finally {
    following.stop();
    idle.stop();
  }
}

/** Only the tiles that are neither in the own closed body nor kept from an earlier attempt travel. */
async function fetchBody(
  context: DriverContext,
  donor: PeerId,
  roots: EffectOf<"sync">["roots"],
  idle: ReturnType<typeof idleSignal>,
  following: Following,
): Promise<FetchedSnapshot> {
  const { modules, ledger, note } = context;
  const { network, clock, store } = modules;
  const startedMs = clock.nowMs();
  const own = ledger.snapshot();
  const body = ledger.origin("behind")?.body;
  const progress = new BodyProgress(context, donor);
  const fetching = network.fetchSnapshot(
    donor,
    idle.signal,
    (bytes, totalBytes) => {
      idle.touch();
      progress.advance(bytes, totalBytes);
      context.dispatch({ type: "advanced" });
      note({ type: "sync-progress", donor, bytes, totalBytes });
    },
    {
      accept: (manifest) => {
        requireExpected(context, manifest, roots);
        progress.begin(manifest.closedRound);
        following.begin(manifest.closedRound, manifest.root);
      },
      held: own === undefined || body === undefined ? undefined : { tiles: own.tiles, body },
      draft: store.snapshotDraft,
    },
  );
  const fetched = await fetching.catch((error) => {
    throw progress.explained(error);
  });
  const { manifest, tiles } = fetched;
  note({
    type: "snapshot-fetched",
    donor,
    closedRound: manifest.closedRound,
    root: manifest.root,
    heldTiles: tiles.held,
    keptTiles: tiles.kept,
    fetchedTiles: manifest.tiles.length - tiles.held - tiles.kept,
    totalTiles: manifest.tiles.length,
    durationMs: clock.nowMs() - startedMs,
    givers: tiles.fetched,
  });
  return fetched;
}

/** Throws where the manifest is not one to fetch: of another run, or not what most peers announce. */
function requireExpected(
  { options }: DriverContext,
  { runId, closedRound, root }: SnapshotManifest,
  roots: EffectOf<"sync">["roots"],
): void {
  if (runId !== options.runId) throw new RangeError("the snapshot is of another run");
  if (closedRound > LAST_ROUND) throw new RangeError(`no run has come to round ${closedRound}`);
  const known = roots.get(closedRound);
  const { initialBody } = options.config;
  if (closedRound === 0 && initialBody !== undefined && root !== initialBody) {
    throw new RangeError("the snapshot of round 0 is not the body that the run starts from");
  }
  if (known !== undefined && known !== root) {
    throw new RangeError(`the snapshot of round ${closedRound} is not the one that most peers announce`);
  }
}

/**
 * Whether more peers are out of reach of where the donor says it is than within: whoever was heard first may be the only one
 * that claims to be there.
 */
function isAside({ state, modules }: DriverContext, donor: PeerId): boolean {
  const { members, rules } = state();
  const round = members.get(donor)?.presence.round;
  if (round === undefined) return false;
  const voters = votingMembers(members, modules.clock.nowMs());
  const near = voters.filter(({ presence }) => Math.abs(presence.round - round) <= reachOf(rules));
  return 2 * near.length < voters.length;
}

const isOutvoted = ({ state, modules }: DriverContext): boolean =>
  closedBodyVerdict(state(), modules.clock.nowMs()).outcome === "outvoted";

/** What was fetched, brought to where the donor stands by now, and the donor's log of it. */
async function upToDate(
  context: DriverContext,
  donor: PeerId,
  { manifest, body }: FetchedSnapshot,
  idle: ReturnType<typeof idleSignal>,
  following: Following,
): Promise<{ manifest: SnapshotManifest; body: Float32Array; log: Inventory }> {
  let standing: StandingBody = { closedRound: manifest.closedRound, root: manifest.root, body };
  for (let laps = 0; ; laps++) {
    const lineage = await fetchLog(context, donor, standing, idle.signal, following);
    idle.rest();
    // Who is outvoted has taken part in those rounds, and may do without another's body by then.
    const isOver = laps === MAX_LAPS || context.state().sync?.reason === "diverged";
    const next = isOver ? standing : await replay(context, donor, standing, lineage);
    idle.touch();
    if (next.closedRound === standing.closedRound) {
      const { closedRound, root } = standing;
      return { manifest: { ...manifest, closedRound, root }, body: standing.body, log: lineage };
    }
    standing = next;
  }
}

/**
 * The donor's log, which tells whose updates are in its body. The donor may have taken another body since it gave this one,
 * and what led to that says nothing of this one: throws where it does not say that its log leads to `root`.
 */
async function fetchLog(
  context: DriverContext,
  donor: PeerId,
  { closedRound, root }: Pick<StandingBody, "closedRound" | "root">,
  signal: AbortSignal,
  following: Following,
): Promise<Inventory> {
  const fromRound = Math.max(0, closedRound - LOGGED_ROUNDS);
  const theirs = await patiently(context, signal, () =>
    context.modules.network.fetchInventory(donor, fromRound, signal),
  );
  const log = following.continued(theirs);
  if (log.closedRoots.get(closedRound) !== root) throw new RangeError("its log is of another body by now");
  return log;
}

/** A whole body is not given up for one lost question. */
async function patiently<Answer>(
  { modules }: DriverContext,
  signal: AbortSignal,
  ask: () => Promise<Answer>,
): Promise<Answer> {
  for (let tries = 1; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      if (signal.aborted || tries === MAX_TRIES) throw error;
      await new Promise<void>((resolve) => modules.clock.after(RETRY_MS * tries, resolve));
    }
  }
}

/** The round that the donor stands in, as far as the snapshot's closed round allows. */
function donorRound({ state, options }: DriverContext, donor: PeerId, closedRound: number): number {
  const highest = closedRound + options.config.averaging.openRounds - 1;
  const theirs = state().members.get(donor)?.presence.round ?? highest;
  // Before as many rounds as may be open have begun, the closed round stays 0 while rounds pass.
  return closedRound === 0 ? Math.min(theirs, highest) : highest;
}

function idleSignal({ modules, signal }: DriverContext) {
  const controller = new AbortController();
  const give = () => controller.abort(new Error(`nothing came for ${IDLE_TIMEOUT_MS / 1000} s`));
  let cancel = modules.clock.after(IDLE_TIMEOUT_MS, give);
  return {
    signal: AbortSignal.any([controller.signal, signal]),
    touch() {
      cancel();
      cancel = modules.clock.after(IDLE_TIMEOUT_MS, give);
    },
    /** Until the next touch it is somebody else's to say when enough is enough. */
    rest: () => cancel(),
    stop: () => cancel(),
  };
}
