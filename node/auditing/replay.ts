// Makes a body again from the one it is said to come from and the updates of a log, round by round, with the arithmetic that
// peers use. Says what is wrong first; knows no files.
import { ReplicatedBody } from "#protocol/core/averaging.ts";
import type { ParameterLayout } from "#protocol/core/layout.ts";
import { bodyRoot } from "#protocol/core/merkle.ts";
import { type RunConfig, updateWeight } from "#protocol/core/run-config.ts";
import type { UpdateAnnouncement } from "#protocol/core/types.ts";
import { type UpdateCodec, updateCodec } from "#protocol/core/update-codec.ts";
import { updateIdOf } from "#protocol/core/update-id.ts";
import { updateKey } from "#protocol/core/update-set.ts";
import { sha256 } from "#protocol/net/hash.ts";
import type { RoundRecord } from "../storage/update-log-records.ts";
import { VerificationFailedError } from "./errors.ts";
import type { FoundPayload } from "./payload-files.ts";

/** An announcement, and whether it carries its author's signature; or why the bytes are none. */
export type OpenedUpdate =
  | { readonly announcement: UpdateAnnouncement; readonly isSigned: boolean }
  | { readonly problem: string };

export interface ReplaySource {
  readonly runId: string;
  readonly config: RunConfig;
  readonly layout: ParameterLayout;
  open(envelope: Uint8Array): Promise<OpenedUpdate>;
  payload(id: string): Promise<FoundPayload | undefined>;
}

export class Replay {
  readonly #source: ReplaySource;
  readonly #codec: UpdateCodec;
  readonly #body: ReplicatedBody;
  readonly #authors = new Set<string>();
  #updates = 0;
  #root: string;

  /** `body` is the one at the start of `closedRound`. */
  constructor(source: ReplaySource, closedRound: number, body: Float32Array) {
    this.#source = source;
    const { layout, config } = source;
    this.#codec = updateCodec(config, layout);
    const { rowsOf } = this.#codec;
    const { outerLearningRate, defence } = config.averaging;
    this.#body = new ReplicatedBody({
      ...{ closedRound, closedBody: body, layout, rowsOf, outerLearningRate, maxOpenRounds: 1 },
      defence: { rule: defence, hash: sha256 },
    });
    this.#root = bodyRoot(body, sha256);
  }

  get closedRound(): number {
    return this.#body.closedRound;
  }

  get root(): string {
    return this.#root;
  }

  get updates(): number {
    return this.#updates;
  }

  get authors(): ReadonlySet<string> {
    return this.#authors;
  }

  /** The next round. @throws {VerificationFailedError} */
  async apply({ round, updates, root }: RoundRecord): Promise<void> {
    const authors = new Set<string>();
    for (const { envelope } of updates) {
      const opened = await this.#source.open(new Uint8Array(Buffer.from(envelope, "base64")));
      if ("problem" in opened) {
        throw new VerificationFailedError(
          "signature",
          round,
          `an announcement cannot be read (${opened.problem})`,
        );
      }
      const { announcement, isSigned } = opened;
      const { author } = announcement;
      const fail = (kind: "signature" | "update-set", found: string) =>
        new VerificationFailedError(kind, round, found, { author });
      if (!isSigned) throw fail("signature", `the announcement of ${author} does not carry its signature`);
      if (announcement.runId !== this.#source.runId)
        throw fail("update-set", `${author}'s update is of another run`);
      if (announcement.round !== round)
        throw fail("update-set", `${author}'s update is of round ${announcement.round}`);
      if (authors.has(author)) throw fail("update-set", `${author} is counted twice`);
      authors.add(author);
      await this.#count(announcement);
    }
    this.#body.closeThrough(round);
    this.#root = bodyRoot(this.#body.closedBody, sha256);
    if (this.#root !== root) {
      const found = `its ${updates.length} updates give the body ${this.#root}, and the log says ${root}`;
      throw new VerificationFailedError("root", round, found);
    }
    this.#updates += updates.length;
    for (const author of authors) this.#authors.add(author);
  }

  async #count(announcement: UpdateAnnouncement): Promise<void> {
    const { round, author, payload: id, payloadBytes } = announcement;
    const payload = await this.#source.payload(id);
    if (payload === undefined) {
      const found = `the payload ${id} of ${author} is not there`;
      throw new VerificationFailedError("payload-missing", round, found, { author });
    }
    const { path, bytes, isWhole } = payload;
    if (!isWhole || bytes.length !== payloadBytes) {
      const found = `the payload of ${author} in ${path} is not the one that was announced`;
      throw new VerificationFailedError("payload-damaged", round, found, { author, path });
    }
    const decoded = this.#codec.decode(bytes);
    if (!decoded.ok) {
      const found = `the payload of ${author} cannot be decoded (${decoded.rejection.detail})`;
      throw new VerificationFailedError("payload-undecodable", round, found, { author, path });
    }
    this.#body.add(
      round,
      updateKey(updateIdOf(announcement, sha256)),
      decoded.update,
      updateWeight(this.#source.config, announcement),
      id,
    );
  }
}
