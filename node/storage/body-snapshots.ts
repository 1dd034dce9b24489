// Closed bodies beside the update log: what a replay starts from. Each is a file of its own, closed by a checksum.
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { isLeftover, writeAtomic } from "./atomic-file.ts";
import { bytesOfFloats, encodeContainer, floatsOf, readContainer } from "./container.ts";
import { StateCorruptError } from "./errors.ts";
import type { BodyMark } from "./update-log-history.ts";

const KIND = { kind: "body-snapshot", version: 1 } as const;
/** The start of the root tells apart the bodies of one round before and after a peer was healed. */
const NAME = /^(\d+)-([0-9a-f]{16})\.snapshot$/;

export interface SnapshotFile {
  readonly closedRound: number;
  readonly path: string;
}

export interface BodySnapshot extends BodyMark {
  readonly runId: string;
  readonly body: Float32Array;
}

export const snapshotPath = (directory: string, { closedRound, root }: BodyMark): string =>
  join(directory, `${closedRound}-${root.slice(0, 16)}.snapshot`);

/** Files that are whole by name, the oldest round first; none where there is no directory. */
export async function listSnapshots(directory: string): Promise<SnapshotFile[]> {
  const names = await readdir(directory).catch(() => [] as string[]);
  return names
    .flatMap((name) => {
      const [, round] = NAME.exec(name) ?? [];
      return round === undefined ? [] : [{ closedRound: Number(round), path: join(directory, name) }];
    })
    .sort((a, b) => a.closedRound - b.closedRound);
}

export async function clearSnapshots(
  directory: string,
  isKept: (file: SnapshotFile) => boolean,
): Promise<void> {
  for (const file of await listSnapshots(directory)) if (!isKept(file)) await rm(file.path, { force: true });
}

/** Creates the directory and clears what interrupted writes have left. */
export async function openSnapshots(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const leftovers = (await readdir(directory)).filter(isLeftover);
  await Promise.all(leftovers.map((name) => rm(join(directory, name), { force: true })));
}

export async function writeSnapshot(path: string, { body, ...meta }: BodySnapshot): Promise<void> {
  await writeAtomic(
    path,
    encodeContainer(KIND, { meta, sections: new Map([["body", bytesOfFloats(body)]]) }),
  );
}

/** `undefined` where the file is gone. @throws {StateCorruptError} */
export async function readSnapshot(path: string): Promise<BodySnapshot | undefined> {
  const container = await readContainer(path, KIND);
  if (container === undefined) return undefined;
  const { runId, closedRound, root } = container.meta as BodyMark & { readonly runId: string };
  if (typeof root !== "string" || typeof runId !== "string" || !Number.isSafeInteger(closedRound)) {
    throw new StateCorruptError(path, "it does not say which body it holds");
  }
  return { runId, closedRound, root, body: floatsOf(container, "body", path) };
}
