// What a peer tells its operator: a typed stream of plain data, for logs, metrics and the terminal.
import type { Restraint } from "./judging.ts";
import type { BodyRoot, ContentId, Offence, PeerId, Phase } from "./types.ts";

export type ProtocolEvent =
  | { readonly type: "phase-changed"; readonly phase: Phase; readonly round: number }
  | { readonly type: "round-started"; readonly round: number; readonly root: BodyRoot }
  | {
      readonly type: "step";
      readonly round: number;
      readonly step: number;
      readonly steps: number;
      readonly bitsPerByte: number;
    }
  | {
      readonly type: "published";
      readonly round: number;
      readonly payload: ContentId;
      readonly payloadBytes: number;
      /** L2 norms: how much error feedback holds back, against what was sent. */
      readonly residualNorm: number;
      readonly updateNorm: number;
      readonly lossNatsPerToken: number;
      readonly bitsPerByte: number;
      readonly tokens: number;
      readonly computeMs: number;
      readonly idleMs?: number;
    }
  | {
      readonly type: "update-received";
      readonly round: number;
      readonly author: PeerId;
      readonly payloadBytes: number;
    }
  /** The round is trained, but its cohort is full without this peer: its progress goes on into the next rounds. */
  | { readonly type: "not-drawn"; readonly round: number }
  | { readonly type: "update-applied"; readonly round: number; readonly author: PeerId }
  /** An update of an earlier round that is still open: the current round's body changed with it. */
  | { readonly type: "late-update"; readonly round: number; readonly author: PeerId; readonly root: BodyRoot }
  | {
      readonly type: "round-applied";
      readonly round: number;
      /** Root of the body after the round. */
      readonly root: BodyRoot;
      readonly updates: number;
      readonly durationMs: number;
      /** Peers that were waited for in vain. */
      readonly missing: readonly PeerId[];
    }
  /** Closed bodies differ and this peer is outvoted (or another one is: then `peers` are the others). */
  | {
      readonly type: "diverged";
      readonly closedRound: number;
      readonly own: BodyRoot;
      readonly plurality: BodyRoot;
    }
  | {
      readonly type: "healed";
      readonly closedRound: number;
      readonly root: BodyRoot;
      readonly donor: PeerId;
      readonly returnedUpdates: number;
    }
  | { readonly type: "fell-behind"; readonly round: number; readonly theirRound: number }
  | {
      readonly type: "synced";
      readonly round: number;
      readonly closedRound: number;
      readonly root: BodyRoot;
      readonly donor: PeerId;
      readonly returnedUpdates: number;
    }
  /** Nobody here has the body that the run starts from, this peer neither: it waits for one that has. */
  | { readonly type: "initial-body-awaited"; readonly root: BodyRoot; readonly peers: number }
  /** The others have ended the run with another body than this peer's, and nobody is left to have theirs from. */
  | {
      readonly type: "ended-apart";
      readonly round: number;
      readonly own: BodyRoot;
      readonly theirs: BodyRoot;
      readonly peers: number;
    }
  | { readonly type: "sync-failed"; readonly donors: readonly PeerId[]; readonly detail: string }
  | {
      readonly type: "sync-progress";
      readonly donor: PeerId;
      readonly bytes: number;
      readonly totalBytes: number;
    }
  /** A donor's body is here, not adopted yet. `held`: tiles that were the same in the own body, `kept`: from before. */
  | {
      readonly type: "snapshot-fetched";
      readonly donor: PeerId;
      readonly closedRound: number;
      readonly root: BodyRoot;
      readonly heldTiles: number;
      readonly keptTiles: number;
      readonly fetchedTiles: number;
      readonly totalTiles: number;
      readonly durationMs: number;
      /** Of each who gave tiles. */
      readonly givers: readonly {
        readonly peer: PeerId;
        readonly tiles: number;
        readonly bytesPerSecond: number;
      }[];
    }
  | { readonly type: "warm-up-step"; readonly step: number; readonly steps: number }
  | { readonly type: "peer-joined"; readonly peer: PeerId; readonly name: string; readonly round: number }
  | { readonly type: "peer-left"; readonly peer: PeerId; readonly name: string; readonly said: boolean }
  /** A closed round took not all of an update: the run's defence left it out, scaled it down, or had the same from another. */
  | {
      readonly type: "update-restrained";
      readonly round: number;
      readonly author: PeerId;
      readonly why: Restraint["why"];
      /** Of its norm, 0 to 1. */
      readonly kept: number;
    }
  | {
      readonly type: "update-dropped";
      readonly round: number;
      readonly author: PeerId;
      readonly why: "expired" | "too-early" | "overflow";
    }
  | { readonly type: "offence"; readonly peer: PeerId; readonly offence: Offence; readonly detail: string };
