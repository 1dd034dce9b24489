// One transition in the making: the state so far and the effects so far. Local to a call of transition(); what comes
// out is a new state, the old one is untouched.

import type { ProtocolEvent } from "./protocol-events.ts";
import type { Effect } from "./round-events.ts";
import type { RoundState } from "./round-state.ts";
import type { Phase } from "./types.ts";

export interface Turn {
  state: RoundState;
  readonly effects: Effect[];
  readonly nowMs: number;
}

export function change(turn: Turn, fields: Partial<RoundState>): void {
  turn.state = { ...turn.state, ...fields };
}

export function ask(turn: Turn, ...effects: readonly Effect[]): void {
  turn.effects.push(...effects);
}

export const note = (turn: Turn, event: ProtocolEvent): void => ask(turn, { type: "note", event });

export function enterPhase(turn: Turn, phase: Phase): void {
  if (turn.state.phase === phase) return;
  change(turn, { phase, phaseSinceMs: turn.nowMs });
  note(turn, { type: "phase-changed", phase, round: turn.state.round });
}
