// Gossip of the runs on a host, one topic each: publishes our announcements, judges those of others before they are forwarded, and
// delivers what is accepted. Owns gossipsub's settings; decides nothing about rounds.
import type { GossipSub, GossipsubOpts, Message, PublishResult } from "@chainsafe/libp2p-gossipsub";
import { gossipsub, StrictNoSign, TopicValidatorResult } from "@chainsafe/libp2p-gossipsub";
import { createTopicScoreParams } from "@chainsafe/libp2p-gossipsub/score";
import type { Offence, PeerId, Presence, RunId, SignedUpdate } from "../core/types.ts";
import type { Rate } from "../wire/messages.ts";
import { MESSAGES } from "../wire/messages.ts";
import type { Opened } from "../wire/signed.ts";
import { openEnvelope } from "../wire/signed.ts";
import { topicOfRun } from "../wire/topics.ts";
import { reasonOf } from "./errors.ts";
import { sha256 } from "./hash.ts";
import type { Logger } from "./logger.ts";
import type { OffenceBook } from "./offences.ts";
import { BAN_POINTS } from "./offences.ts";
import type { RateLimiter } from "./rate-limit.ts";
import { verifyOpened } from "./signatures.ts";

/** Everything one neighbour may hand us a second, its own and forwarded: checked before any signature costs us time. */
const SOURCE_RATE: Rate = { burst: 2000, perSecond: 400 };
/** Up to here publishing to every subscriber costs no more than the mesh would, and reaches peers not meshed yet. */
const FLOOD_UP_TO_PEERS = 8;
/** An RPC with many ids, far above any of ours. Never lower: a larger message silently ends a gossip stream for good. */
const MAX_RPC_BYTES = 1024 * 1024;
/** Of a neighbour's subscriptions, ours or not: some sixty runs. Before we join a run we do not know its topic. */
const MAX_TOPIC_BYTES_PER_PEER = 64 * 1024;
/** Authors whose newest presence is remembered. */
const MAX_AUTHORS = 4096;

/** gossipsub takes per-publish options that its interface does not list. */
interface FloodablePublish {
  publish(topic: string, data: Uint8Array, options: { floodPublish: boolean }): Promise<PublishResult>;
}

/** gossipsub reads a topic's score parameters each time it needs them; its interface hides where they are. */
interface ScoredTopics {
  readonly opts: { readonly scoreParams: { readonly topics: Record<string, typeof TOPIC_SCORE> } };
}

export interface GossipOptions {
  readonly runId: RunId;
  readonly self: PeerId;
  readonly maxPayloadBytes: number;
}

export interface GossipModules {
  readonly book: OffenceBook;
  readonly limiter: RateLimiter;
  readonly logger: Logger;
  readonly penalise: (peer: PeerId, offence: Offence, detail: string) => void;
  readonly onUpdate: (update: SignedUpdate, from: PeerId) => void;
  readonly onPresence: (presence: Presence, from: PeerId) => void;
  /** Anything valid was heard of `peer`, as author or neighbour. */
  readonly onHeard: (peer: PeerId, intervalMs?: number) => void;
}

/**
 * gossipsub for the runs of a host. Envelopes carry their own signatures, so libp2p's are off and a message's id is the hash
 * of its content. Scores come from our own book: quiet topics and many peers behind one address are normal here, so
 * gossipsub's rules against both are off.
 */
export function gossipService(
  book: OffenceBook,
  isOurTopic: (topic: string) => boolean,
  heartbeatIntervalMs: number,
): ReturnType<typeof gossipsub> {
  const init: Partial<GossipsubOpts> = {
    globalSignaturePolicy: StrictNoSign,
    msgIdFn: (message) => sha256(message.data),
    maxTopicBytesPerPeer: MAX_TOPIC_BYTES_PER_PEER,
    // Not `allowedTopics`, which is fixed at the start and forgets who subscribes to a run that we join later. Messages on
    // other topics end here, before anything is kept of them.
    dataTransform: {
      inboundTransform(topic, data) {
        if (!isOurTopic(topic)) throw new RangeError("a message of a run that is not ours");
        return data;
      },
      outboundTransform: (_, data) => data,
    },
    allowPublishToZeroTopicPeers: true,
    ignoreDuplicatePublishError: true,
    fallbackToFloodsub: false,
    floodPublish: false,
    heartbeatInterval: heartbeatIntervalMs,
    maxInboundDataLength: MAX_RPC_BYTES,
    scoreParams: {
      appSpecificScore: (peer) => -book.points(peer),
      appSpecificWeight: 1,
      IPColocationFactorWeight: 0,
      // Some broken IWANT promises and early re-grafts are honest accidents under load.
      behaviourPenaltyWeight: -1,
      behaviourPenaltyThreshold: 6,
      behaviourPenaltyDecay: 0.9,
      topics: {},
    },
    // A peer on its way to a ban is first no longer gossiped to. It is heard to the end: unread, it would never be banned.
    scoreThresholds: {
      gossipThreshold: -0.5 * BAN_POINTS,
      publishThreshold: -0.8 * BAN_POINTS,
      graylistThreshold: -2 * BAN_POINTS,
      acceptPXThreshold: 10,
      opportunisticGraftThreshold: 1,
    },
  };
  return gossipsub(init);
}

const TOPIC_SCORE = createTopicScoreParams({
  topicWeight: 1,
  timeInMeshWeight: 0.01,
  timeInMeshQuantum: 1000,
  timeInMeshCap: 300,
  firstMessageDeliveriesWeight: 0.1,
  firstMessageDeliveriesDecay: 0.9,
  firstMessageDeliveriesCap: 50,
  meshMessageDeliveriesWeight: 0,
  meshFailurePenaltyWeight: 0,
  invalidMessageDeliveriesWeight: -1,
  invalidMessageDeliveriesDecay: 0.9,
});

type Verdict = { readonly result: TopicValidatorResult; readonly opened?: Opened };
const IGNORED: Verdict = { result: TopicValidatorResult.Ignore };
const REJECTED: Verdict = { result: TopicValidatorResult.Reject };

export class Gossip {
  readonly #pubsub: GossipSub;
  readonly #topic: string;
  readonly #options: GossipOptions;
  readonly #modules: GossipModules;
  readonly #newestSequence = new Map<PeerId, number>();

  constructor(pubsub: GossipSub, options: GossipOptions, modules: GossipModules) {
    this.#pubsub = pubsub;
    this.#topic = topicOfRun(options.runId);
    this.#options = options;
    this.#modules = modules;
  }

  /** Joins the topic. Validation and delivery are one step, so that each message is parsed once. */
  start(): void {
    (this.#pubsub as unknown as ScoredTopics).opts.scoreParams.topics[this.#topic] = TOPIC_SCORE;
    this.#pubsub.topicValidators.set(this.#topic, async (source, message) => {
      const from = source.toString();
      const verdict = await this.#judge(from, message);
      if (verdict.opened !== undefined) this.#deliver(verdict.opened, from);
      return verdict.result;
    });
    this.#pubsub.subscribe(this.#topic);
  }

  stop(): void {
    this.#pubsub.unsubscribe(this.#topic);
    this.#pubsub.topicValidators.delete(this.#topic);
  }

  /** Hands a signed envelope to the mesh; returns how many neighbours got it. Lost gossip is found by inventories. */
  async publish(envelope: Uint8Array): Promise<number> {
    const floodPublish = this.#pubsub.getSubscribers(this.#topic).length <= FLOOD_UP_TO_PEERS;
    const pubsub = this.#pubsub as unknown as FloodablePublish;
    const { recipients } = await pubsub.publish(this.#topic, envelope, { floodPublish });
    return recipients.length;
  }

  /** Cheap checks first; whatever is refused for its content is charged to the neighbour, who should have checked. */
  async #judge(from: PeerId, message: Message): Promise<Verdict> {
    const { book, limiter } = this.#modules;
    if (book.isBanned(from)) return IGNORED;
    if (!limiter.take(`gossip/${from}`, SOURCE_RATE)) {
      this.#modules.penalise(from, "rate-exceeded", "more gossip than a neighbour may hand on");
      return IGNORED;
    }
    const decoded = openEnvelope(message.data);
    if (!decoded.ok) return this.#refuse(from, decoded.rejection.offence, decoded.rejection.detail);
    const opened = decoded.value;
    const { runId, author } = opened.kind === "update" ? opened.message.announcement : opened.message;
    if (runId !== this.#options.runId) return this.#refuse(from, "wrong-run", "an envelope of another run");
    if (author === this.#options.self || book.isBanned(author)) return IGNORED;
    if (
      opened.kind === "update" &&
      opened.message.announcement.payloadBytes > this.#options.maxPayloadBytes
    ) {
      return this.#refuse(from, "oversized", "an announced payload is larger than the run allows");
    }
    if (opened.kind === "presence" && opened.message.sequence <= this.#newest(author)) return IGNORED;
    if (!(await verifyOpened(opened))) return this.#refuse(from, "bad-signature", "not signed by its author");
    // After the signature, or anybody could spend another author's tokens.
    if (!limiter.take(`${opened.kind}/${author}`, MESSAGES[opened.kind].rate!)) {
      this.#modules.penalise(author, "rate-exceeded", `too many ${opened.kind} messages`);
      return IGNORED;
    }
    if (opened.kind === "presence") {
      // Asked again: another one may have been accepted while this signature was checked.
      if (opened.message.sequence <= this.#newest(author)) return IGNORED;
      this.#remember(author, opened.message.sequence);
    }
    return { result: TopicValidatorResult.Accept, opened };
  }

  #refuse(from: PeerId, offence: Offence, detail: string): Verdict {
    this.#modules.penalise(from, offence, detail);
    return REJECTED;
  }

  #deliver(opened: Opened, from: PeerId): void {
    this.#modules.onHeard(from);
    try {
      if (opened.kind === "update") {
        this.#modules.onHeard(opened.message.announcement.author);
        this.#modules.onUpdate(opened.message, from);
      } else {
        this.#modules.onHeard(opened.message.author, opened.message.intervalMs);
        this.#modules.onPresence(opened.message, from);
      }
    } catch (error) {
      this.#modules.logger.warn({ kind: opened.kind, reason: reasonOf(error) }, "the gossip listener failed");
    }
  }

  #newest(author: PeerId): number {
    return this.#newestSequence.get(author) ?? -1;
  }

  #remember(author: PeerId, sequence: number): void {
    this.#newestSequence.delete(author);
    this.#newestSequence.set(author, sequence);
    if (this.#newestSequence.size > MAX_AUTHORS) {
      const oldest = this.#newestSequence.keys().next().value;
      if (oldest !== undefined) this.#newestSequence.delete(oldest);
    }
  }
}
