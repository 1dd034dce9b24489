// Run assets before the network of the run exists: fetched by hash on the way in, given to the rendezvous when a run is
// made. An asset is a file that every peer needs and the run's manifest names by its SHA-256, such as a common tokenizer.
import type { ContentId, PeerId, RunId } from "../core/types.ts";
import { MAX_ASSET_BYTES } from "../wire/assets.ts";
import { CHUNK_BYTES } from "../wire/bulk.ts";
import type { DialTarget } from "./addresses.ts";
import { gravest, type Outcome, unreachable, withStreams } from "./ask-addresses.ts";
import { giveAsset, wantedAsset } from "./assets.ts";
import { Download } from "./download.ts";
import { NetworkError, reasonOf } from "./errors.ts";
import { sha256Hex } from "./hash.ts";
import type { Streams } from "./streams.ts";
import { targetName } from "./streams.ts";

export { MAX_ASSET_BYTES } from "../wire/assets.ts";

export type TransferProgress = (bytes: number, totalBytes: number) => void;
const unheard: TransferProgress = () => {};

/** A source may break off; what came stays, and it is asked again as long as more comes each time. */
const MAX_PASSES = 6;
const MAX_GIVING_ATTEMPTS = 3;

/**
 * The file of run `runId` whose SHA-256 is `contentId`: from `addresses` (a rendezvous or any peer), or from a peer of the
 * run that one of them knows. Resumes with the next source where one breaks off.
 * Throws NetworkError `ADDRESS_INVALID`, `BOOTSTRAP_UNREACHABLE`, `ASSET_NOT_FOUND` or `ASSET_MISMATCH`.
 */
export function fetchRunAsset(
  contentId: ContentId,
  runId: RunId,
  addresses: readonly string[],
  signal: AbortSignal,
  onProgress: TransferProgress = unheard,
): Promise<Uint8Array> {
  return withStreams(addresses, async (streams, targets) => {
    const download = new Download(streams, wantedAsset(runId, contentId, onProgress), () => {});
    const over = new AbortController();
    const search = AbortSignal.any([signal, over.signal]);
    const failures: string[] = [];
    try {
      const met = new Set<PeerId>();
      for await (const peer of reach(streams, targets, failures, search)) {
        met.add(peer);
        const bytes = await download.from(peer, signal);
        if (bytes !== undefined) return bytes;
      }
      const told = await peersKnownTo(streams, [...met], runId, search);
      for await (const peer of reach(streams, told, failures, search)) {
        if (met.has(peer)) continue;
        met.add(peer);
        const bytes = await download.from(peer, signal);
        if (bytes !== undefined) return bytes;
      }
      const bytes = await askAgain(download, [...met], signal);
      if (bytes !== undefined) return bytes;
      signal.throwIfAborted();
      if (met.size === 0) throw unreachable(addresses, failures);
      throw notObtained(contentId, runId, download);
    } finally {
      over.abort(new NetworkError("NETWORK_STOPPED", "The search is over."));
    }
  });
}

/** Peers of `targets` in the order in which they answer; those that do not are noted in `failures`. */
async function* reach(
  streams: Streams,
  targets: readonly DialTarget[],
  failures: string[],
  signal: AbortSignal,
): AsyncGenerator<PeerId> {
  const pending = new Map(
    targets.map((target, index) => [
      index,
      streams.connect(target, signal).then(
        (peer) => ({ index, peer }),
        (error: unknown) => {
          failures.push(reasonOf(error));
          return { index, peer: undefined };
        },
      ),
    ]),
  );
  while (pending.size > 0) {
    const { index, peer } = await Promise.race(pending.values());
    signal.throwIfAborted();
    pending.delete(index);
    if (peer !== undefined) yield peer;
  }
}

/** Whom the peers we have met know in the run: the rendezvous may have lost a file that the run's peers have. */
async function peersKnownTo(
  streams: Streams,
  met: readonly PeerId[],
  runId: RunId,
  signal: AbortSignal,
): Promise<readonly DialTarget[]> {
  const request = { runId, register: false, addresses: [] };
  const answers = await Promise.all(
    met.map((peer) => streams.ask(peer, "peer-exchange", request, signal).catch(() => undefined)),
  );
  signal.throwIfAborted();
  const records = answers.flatMap((answer) => answer?.peers ?? []);
  return records
    .filter(({ peer }) => !met.includes(peer))
    .flatMap(({ peer, addresses }) => addresses.slice(0, 2).map((address) => ({ peer, address })));
}

/** Where sources broke off, or gave a wrong whole together: again, as long as it helps. */
async function askAgain(
  download: Download<"asset">,
  sources: readonly PeerId[],
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  for (let pass = 0; pass < MAX_PASSES && !download.needsSingleSources; pass++) {
    const before = download.receivedBytes;
    if (before === 0) break;
    for (const source of sources) {
      const bytes = await download.from(source, signal);
      if (bytes !== undefined) return bytes;
    }
    if (download.receivedBytes <= before) break;
  }
  if (!download.needsSingleSources) return undefined;
  for (const source of sources) {
    const bytes = await download.fromAlone(source, signal);
    if (bytes !== undefined) return bytes;
  }
  return undefined;
}

function notObtained(
  contentId: ContentId,
  runId: RunId,
  { sawWrongHash, attempts }: Download<"asset">,
): NetworkError {
  const what = `the run's tokenizer (SHA-256 ${contentId.slice(0, 12)}…)`;
  return sawWrongHash
    ? new NetworkError(
        "ASSET_MISMATCH",
        `What was sent as ${what} does not hash to it; use another bootstrap address, or give the file with --tokenizer.`,
        { runId, attempts },
      )
    : new NetworkError(
        "ASSET_NOT_FOUND",
        `Nobody who is reachable has ${what}; give it with --tokenizer, or ask whoever made the run to start a peer of it.`,
        { runId, attempts },
      );
}

/**
 * Gives a file of run `runId` to every rendezvous among `addresses`, which must have the run's manifest already; resolves
 * when at least one has it.
 * Throws NetworkError `ADDRESS_INVALID`, `BOOTSTRAP_UNREACHABLE`, `ASSET_TOO_LARGE`, `ASSET_REFUSED`, or `NOT_SERVED` where
 * only peers were reached, which keep no files but their own.
 */
export async function storeRunAsset(
  bytes: Uint8Array,
  runId: RunId,
  addresses: readonly string[],
  signal: AbortSignal,
  onProgress: TransferProgress = unheard,
): Promise<void> {
  const lengthBytes = bytes.byteLength;
  if (lengthBytes < 1 || lengthBytes > MAX_ASSET_BYTES) {
    throw new NetworkError(
      "ASSET_TOO_LARGE",
      `The file has ${lengthBytes} bytes and a run's files have 1 to ${MAX_ASSET_BYTES}; choose a smaller vocabulary.`,
      { runId },
    );
  }
  const offer = { runId, contentId: sha256Hex(bytes), lengthBytes };
  const outcomes = await withStreams(addresses, (streams, targets) =>
    Promise.all(targets.map((target) => giveTo(streams, target, offer, bytes, signal, onProgress))),
  );
  if (!outcomes.some((outcome) => "value" in outcome)) {
    throw gravest(outcomes, ["ASSET_REFUSED", "NOT_SERVED"], addresses);
  }
}

/** A stream that breaks off is opened again; an answer is final. */
async function giveTo(
  streams: Streams,
  target: DialTarget,
  offer: Parameters<typeof giveAsset>[2],
  bytes: Uint8Array,
  signal: AbortSignal,
  onProgress: TransferProgress,
): Promise<Outcome<true>> {
  const object = {
    lengthBytes: offer.lengthBytes,
    chunkBytes: CHUNK_BYTES,
    chunk(index: number) {
      const end = Math.min((index + 1) * CHUNK_BYTES, offer.lengthBytes);
      onProgress(end, offer.lengthBytes);
      return bytes.subarray(index * CHUNK_BYTES, end);
    },
  };
  let failure: NetworkError | undefined;
  for (let attempt = 0; attempt < MAX_GIVING_ATTEMPTS; attempt++) {
    try {
      const { stored, reason } = await giveAsset(streams, target, offer, object, signal);
      return stored ? { value: true } : { failure: refused(target, reason) };
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof NetworkError)) throw error;
      failure = error;
      if (error.code === "NOT_SERVED") break;
    }
  }
  return { failure: failure! };
}

const refused = (target: DialTarget, reason: string): NetworkError =>
  new NetworkError(
    "ASSET_REFUSED",
    `${targetName(target)} did not store the run's tokenizer (${reason}); use another rendezvous or try again later.`,
    { address: targetName(target) },
  );
