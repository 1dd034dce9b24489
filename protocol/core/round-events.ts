// What may happen to the round logic (events) and what it asks for (effects). protocol/driver.ts turns the world into
// events and carries out the effects, in order.
import type { ProtocolEvent } from "./protocol-events.ts";
import type { BodyRoots } from "./round-state.ts";
import type { BodyRoot, Offence, PeerId, Presence } from "./types.ts";
import type { UpdateId } from "./update-set.ts";

export type RoundEvent =
  | { readonly type: "tick" }
  | {
      readonly type: "presence";
      readonly presence: Presence;
      /** Whether the update ids held here in rounds >= presence.closedRound are theirs; undefined: not comparable. */
      readonly sameUpdates: boolean | undefined;
    }
  | { readonly type: "peer-connected"; readonly peer: PeerId }
  | {
      readonly type: "announced";
      readonly id: UpdateId;
      readonly payloadBytes: number;
      readonly from: PeerId;
    }
  | { readonly type: "fetch-failed"; readonly key: string }
  /** The payload is here and will be counted as soon as what was asked before is done. */
  | { readonly type: "fetched"; readonly key: string }
  /** A payload arrived, was valid and is in the body now. */
  | {
      readonly type: "counted";
      readonly id: UpdateId;
      readonly replaced: UpdateId | undefined;
      readonly roots: BodyRoots;
    }
  /** A payload arrived and will never count. `offence` says what it costs its author. */
  | {
      readonly type: "refused";
      readonly id: UpdateId;
      readonly offence: Offence | undefined;
      readonly detail: string;
    }
  /** A payload arrived when its round was not open here any more, or not yet. It may be another time. */
  | { readonly type: "untimely"; readonly id: UpdateId }
  /** `round` may be the one after this, which the trainer takes steps of ahead. */
  | { readonly type: "stepped"; readonly round: number; readonly step: number; readonly bitsPerByte: number }
  | { readonly type: "trained"; readonly round: number }
  | {
      readonly type: "published";
      readonly id: UpdateId;
      readonly replaced?: UpdateId | undefined;
      readonly roots: BodyRoots;
    }
  /** Meanwhile the round counts as many others as it can, all drawn before this peer: its progress is kept. */
  | { readonly type: "outdrawn"; readonly round: number }
  /** The trained round is not the one that this peer stands in any more: its progress is carried. */
  | { readonly type: "publish-dropped" }
  | { readonly type: "opened"; readonly round: number; readonly roots: BodyRoots }
  | { readonly type: "reconciled"; readonly peer: PeerId }
  | {
      readonly type: "synced";
      readonly donor: PeerId;
      readonly closedRound: number;
      readonly round: number;
      readonly roots: BodyRoots;
      readonly counted: readonly UpdateId[];
      /** Updates of open rounds that the donor has named and that are not counted yet. */
      readonly announced: readonly { readonly id: UpdateId; readonly payloadBytes: number }[];
      /** Own updates that the adopted body lacks and that went back into the residual. */
      readonly returned: number;
    }
  | { readonly type: "sync-failed"; readonly donors: readonly PeerId[]; readonly detail: string }
  | { readonly type: "warmed" }
  /** A piece more of a body has been taken over, or a step made of fitting embeddings. */
  | { readonly type: "advanced" }
  | { readonly type: "stop" };

export type Effect =
  | { readonly type: "send-presence"; readonly leaving: boolean }
  | { readonly type: "train"; readonly round: number; readonly carry: boolean }
  /** Go on with the steps of `round`, the one after that just trained, until the next `train`. */
  | { readonly type: "train-ahead"; readonly round: number }
  /** Let the round in training end with the step in hand. */
  | { readonly type: "end-training"; readonly round: number }
  | { readonly type: "warm-up" }
  | { readonly type: "abort-training" }
  | { readonly type: "publish"; readonly round: number }
  | { readonly type: "fetch"; readonly key: string; readonly holders: readonly PeerId[] }
  | { readonly type: "reconcile"; readonly peer: PeerId; readonly fromRound: number }
  /** Close rounds below `closedRound`, compute the body at the start of `round`, save. */
  | { readonly type: "open-round"; readonly round: number; readonly closedRound: number }
  /** Adopt the newest snapshot of one of `donors`, in this order. `roots`: closed roots it must not contradict. */
  | {
      readonly type: "sync";
      readonly donors: readonly PeerId[];
      readonly roots: ReadonlyMap<number, BodyRoot>;
    }
  | { readonly type: "penalise"; readonly peer: PeerId; readonly offence: Offence; readonly detail: string }
  | { readonly type: "drop"; readonly id: UpdateId; readonly why: "expired" | "too-early" | "overflow" }
  | { readonly type: "note"; readonly event: ProtocolEvent }
  | { readonly type: "finish"; readonly reason: "completed" | "stopped" };

/** One kind of event, by its type. */
export type EventOf<Type extends RoundEvent["type"]> = Extract<RoundEvent, { readonly type: Type }>;

/** One kind of effect, by its type. */
export type EffectOf<Type extends Effect["type"]> = Extract<Effect, { readonly type: Type }>;
