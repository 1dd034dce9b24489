// The protocol's events as the public events of `--events json`, and as lines of the log. One table each, exhaustive.
import type { ProtocolEvent } from "#protocol/driver.ts";
import type { PeerEvent } from "../observability/events.ts";
import type { Logger } from "../observability/log.ts";

/** `undefined` for what is of no interest to a program that follows a peer. */
export function publicEventOf(event: ProtocolEvent): PeerEvent | undefined {
  switch (event.type) {
    case "round-started":
      return { event: "round-started", round: event.round, bodyRoot: event.root };
    case "step":
      return {
        event: "step",
        round: event.round,
        step: event.step,
        steps: event.steps,
        bitsPerByte: event.bitsPerByte,
      };
    case "published":
      return { event: "published", round: event.round, payloadBytes: event.payloadBytes };
    case "round-applied":
      return {
        event: "round-applied",
        round: event.round,
        updates: event.updates,
        bodyRoot: event.root,
      };
    case "sync-progress":
      return { event: "syncing", bytes: event.bytes, totalBytes: event.totalBytes };
    case "warm-up-step":
      return { event: "warming", step: event.step, steps: event.steps };
    case "snapshot-fetched":
    case "synced":
    case "healed":
    case "late-update":
    case "phase-changed":
    case "not-drawn":
    case "update-received":
    case "update-applied":
    case "diverged":
    case "fell-behind":
    case "ended-apart":
    case "initial-body-awaited":
    case "sync-failed":
    case "peer-joined":
    case "peer-left":
    case "update-dropped":
    case "update-restrained":
    case "offence":
      return undefined;
  }
}

/** How loudly each kind of event is logged; what a person should act on is a warning. */
const LEVELS: Readonly<Record<ProtocolEvent["type"], "debug" | "info" | "warn">> = {
  "phase-changed": "debug",
  "round-started": "info",
  step: "debug",
  published: "info",
  "not-drawn": "debug",
  "update-received": "debug",
  "update-applied": "debug",
  "late-update": "info",
  "round-applied": "info",
  diverged: "warn",
  healed: "warn",
  "fell-behind": "warn",
  "ended-apart": "warn",
  "initial-body-awaited": "warn",
  "snapshot-fetched": "info",
  synced: "info",
  "sync-failed": "warn",
  "sync-progress": "debug",
  "warm-up-step": "debug",
  "peer-joined": "info",
  "peer-left": "info",
  "update-dropped": "info",
  "update-restrained": "warn",
  offence: "warn",
};

/** `of`: whose it is, where it is not the run's own. */
export function logEvent(log: Logger, { type, ...fields }: ProtocolEvent, of?: string): void {
  // "round-started" reads "round started"; the fields say the rest.
  const said = type.replaceAll("-", " ");
  log[LEVELS[type]](withoutName(fields), of === undefined ? said : `${of}: ${said}`);
}

/** In the log `name` is whoever speaks; another peer's is `peerName`. */
function withoutName(fields: object): object {
  if (!("name" in fields)) return fields;
  const { name: peerName, ...rest } = fields;
  return { ...rest, peerName };
}
