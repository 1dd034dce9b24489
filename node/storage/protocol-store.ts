// The protocol's durable state on disk: StorePort over a two-generation checkpoint file and the payload store.
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { ContentId, SignedUpdate, UpdateAnnouncement } from "#protocol/core/types.ts";
import type { ProtocolCheckpoint, StorePort } from "#protocol/ports.ts";
import { bytesOfFloats, type Container, floatsOf } from "./container.ts";
import { DiskFullError, StateCorruptError } from "./errors.ts";
import { Generations } from "./generations.ts";
import { PayloadStore } from "./payload-store.ts";
import { SnapshotDraftFile } from "./snapshot-draft.ts";

const KIND = { kind: "protocol-checkpoint", version: 1 } as const;

/** A signed update in JSON: its bytes in base64, exactly as they were signed. */
interface StoredUpdate {
  readonly announcement: UpdateAnnouncement;
  readonly envelope: string;
}

interface Meta {
  readonly closedRound: number;
  readonly round: number;
  readonly publishedRound: number;
  readonly probation?: number | undefined;
  readonly late?: readonly string[] | undefined;
  readonly opposed?: readonly string[] | undefined;
  readonly presenceSequence: number;
  readonly updates: readonly StoredUpdate[];
  readonly pendingOwn: readonly StoredUpdate[];
}

/** What is kept longer than the protocol needs it, as long as there is room. */
export interface Retention {
  /** Payloads of this round and later stay. */
  readonly payloadFloor: number;
  /** Lets go of it; false where there is nothing. */
  yieldSpace(): Promise<boolean>;
}

export interface ProtocolStoreOptions {
  readonly retention?: Retention | undefined;
  /** Told when the newest checkpoint was damaged and the one before it is used. */
  readonly onFallback?: (reason: StateCorruptError) => void;
}

export class ProtocolStore implements StorePort {
  readonly snapshotDraft: SnapshotDraftFile;
  readonly #checkpoint: Generations;
  readonly #payloads: PayloadStore;
  readonly #onFallback: ((reason: StateCorruptError) => void) | undefined;
  readonly #retention: Retention | undefined;
  /** What the protocol needs of payloads begins here. */
  #neededFrom = 0;

  private constructor(
    checkpoint: Generations,
    payloads: PayloadStore,
    snapshotDraft: SnapshotDraftFile,
    options: ProtocolStoreOptions,
  ) {
    this.snapshotDraft = snapshotDraft;
    this.#checkpoint = checkpoint;
    this.#payloads = payloads;
    this.#onFallback = options.onFallback;
    this.#retention = options.retention;
  }

  /** `directory` exists already and is locked (see state-directory.ts). */
  static async open(directory: string, options: ProtocolStoreOptions = {}): Promise<ProtocolStore> {
    const payloads = await PayloadStore.open(join(directory, "payloads"));
    return new ProtocolStore(
      new Generations(join(directory, "protocol.checkpoint"), KIND),
      payloads,
      new SnapshotDraftFile(join(directory, "snapshot.draft")),
      options,
    );
  }

  async load(): Promise<ProtocolCheckpoint | undefined> {
    const loaded = await this.#checkpoint.load();
    if (loaded === undefined) return undefined;
    if (loaded.fallback !== undefined) this.#onFallback?.(loaded.fallback);
    return fromContainer(loaded.container, loaded.path);
  }

  save(checkpoint: ProtocolCheckpoint): Promise<void> {
    const container = toContainer(checkpoint);
    return this.#withRoom(() => this.#checkpoint.save(container));
  }

  putPayload(id: ContentId, round: number, bytes: Uint8Array): Promise<void> {
    return this.#withRoom(() => this.#payloads.put(id, round, bytes));
  }

  payload(id: ContentId): Promise<Uint8Array | undefined> {
    return this.#payloads.get(id);
  }

  prunePayloads(round: number): Promise<void> {
    this.#neededFrom = round;
    return this.#payloads.prune(Math.min(round, this.#retention?.payloadFloor ?? round));
  }

  async #withRoom(write: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await write();
      } catch (error) {
        if (!(error instanceof DiskFullError) || !(await this.#makeRoom())) throw error;
      }
    }
  }

  /** What can be fetched again, then what is only retained, makes room for what is needed. False where neither is left. */
  async #makeRoom(): Promise<boolean> {
    if (await this.snapshotDraft.yieldSpace()) return true;
    if (!(await this.#retention?.yieldSpace())) return false;
    await this.#payloads.prune(this.#neededFrom);
    return true;
  }
}

/** How long a peer may take from setting the newest checkpoint aside to putting the next one in its place: two renames. */
const REPLACING_MS = 200;
const LOOK_AGAIN_MS = 50;

export interface FoundCheckpoint {
  readonly checkpoint: ProtocolCheckpoint;
  /** Why the newest one was passed over; `undefined` where it is the newest. */
  readonly fallback: StateCorruptError | undefined;
}

/**
 * The newest whole checkpoint of a directory that another process may be writing to: takes no lock and changes nothing.
 * Between the two renames of a save the newest one is not there for a moment; it is looked for again before the one
 * before it is taken. `undefined` where nothing was ever saved.
 * @throws {StateCorruptError} where files exist and none is whole
 */
export async function readProtocolCheckpoint(
  directory: string,
  signal: AbortSignal,
): Promise<FoundCheckpoint | undefined> {
  const generations = new Generations(join(directory, "protocol.checkpoint"), KIND);
  for (let waitedMs = 0; ; waitedMs += LOOK_AGAIN_MS) {
    const loaded = await generations.load();
    if (loaded === undefined) return undefined;
    const { container, path, fallback } = loaded;
    const isBeingReplaced = path !== generations.path && fallback === undefined;
    if (!isBeingReplaced || waitedMs >= REPLACING_MS) {
      return { checkpoint: fromContainer(container, path), fallback };
    }
    await delay(LOOK_AGAIN_MS, undefined, { signal });
  }
}

function toContainer(checkpoint: ProtocolCheckpoint): Container {
  const {
    closedRound,
    round,
    publishedRound,
    probation,
    presenceSequence,
    updates,
    pendingOwn,
    late,
    opposed,
  } = checkpoint;
  const meta: Meta = {
    closedRound,
    round,
    publishedRound,
    probation,
    late,
    opposed,
    presenceSequence,
    updates: updates.map(storeUpdate),
    pendingOwn: pendingOwn.map(storeUpdate),
  };
  const sections = new Map([
    ["closedBody", bytesOfFloats(checkpoint.closedBody)],
    ["residual", bytesOfFloats(checkpoint.residual)],
  ]);
  return { meta, sections };
}

function fromContainer(container: Container, path: string): ProtocolCheckpoint {
  const meta = container.meta as Meta;
  const closedBody = floatsOf(container, "closedBody", path);
  const residual = floatsOf(container, "residual", path);
  if (closedBody.length !== residual.length) {
    throw new StateCorruptError(path, "its body and residual differ in length");
  }
  return {
    ...meta,
    closedBody,
    residual,
    updates: meta.updates.map(loadUpdate),
    pendingOwn: meta.pendingOwn.map(loadUpdate),
  };
}

function storeUpdate({ announcement, envelope }: SignedUpdate): StoredUpdate {
  return { announcement, envelope: Buffer.from(envelope).toString("base64") };
}

function loadUpdate({ announcement, envelope }: StoredUpdate): SignedUpdate {
  return { announcement, envelope: new Uint8Array(Buffer.from(envelope, "base64")) };
}
