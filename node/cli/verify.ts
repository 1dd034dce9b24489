// `glossa verify`: shows that the body a peer holds follows from signed updates, or what the first is that does not fit.
import { z } from "zod";
import { findLog } from "../auditing/find-log.ts";
import { type Verified, verifyLog } from "../auditing/verify-log.ts";
import { eventWriter } from "../observability/events.ts";
import { integer, setting } from "../settings.ts";
import { percent } from "../terminal/format.ts";
import { ProgressLine } from "../terminal/progress-line.ts";
import { defineCommand } from "./command.ts";
import { logReference } from "./log.ts";

export const verifyCommand = defineCommand({
  name: "verify",
  summary: "Check that a peer's body follows from the signed updates in its log.",
  description:
    "Replays the log of a peer that runs or not, from a body that it kept to the body that it holds: every announcement must carry its " +
    "author's signature, every payload must have the hash that was announced, and the body made of them, round by round, must " +
    "have the recorded root. Where the log reaches back to round 0, its beginning must be what the run's manifest says. Says what the first wrong thing is and " +
    "what that means, and ends with an exit code that is not 0.\n" +
    "It shows where the body came from, not that the log has every update that was made: that is what peers agree on " +
    "among themselves, by comparing roots.",
  settings: z.object({
    ...logReference,
    from: setting(integer(0, 1_000_000_000).optional(), {
      description: "Start from the snapshot of this round.",
      value: "ROUND",
      defaultText: "the oldest that is kept",
    }),
  }),
  examples: [
    ["glossa verify", "The only peer on this machine"],
    ["glossa verify --peer ada --from 64", "From a later snapshot"],
    ["glossa verify --peer ada --json | jq .root", "For programs"],
  ],
  async run({ peer, group, from }, { signal, stdout, stderr, environment, flags }) {
    const directory = await findLog({ peer, group }, environment);
    const progress = new ProgressLine(stderr);
    let verified: Verified;
    try {
      verified = await verifyLog(directory, {
        ...{ from, signal },
        onProgress: ({ round, fromRound, toRound, updates }) =>
          progress.show(
            () =>
              `round ${round} of ${fromRound} to ${toRound} (${percent((round - fromRound) / (toRound - fromRound || 1))}), ${updates} updates right`,
          ),
      });
    } finally {
      progress.end();
    }
    if (flags.json) eventWriter(stdout)({ event: "verified", ...verified });
    else
      stdout.write(
        verifiedText(verified)
          .map((line) => `${line}\n`)
          .join(""),
      );
  },
});

function verifiedText(verified: Verified): string[] {
  const { fromRound, toRound, updates, authors, root, start, isGenesis, heldRound, snapshots } = verified;
  const { runId, runName, group } = verified;
  const begin = isGenesis
    ? "the run's first body, as its manifest says"
    : `the ${start} of round ${fromRound}`;
  const done =
    toRound === fromRound
      ? `no round is closed since round ${fromRound}: nothing to replay`
      : `${toRound - fromRound === 1 ? `round ${fromRound}` : `rounds ${fromRound} to ${toRound - 1}`}: ${counted(updates, "update")} of ${counted(authors.length, "author")}, signatures and hashes right, roots equal`;
  const facts = [
    ...(snapshots.length === 0 ? [] : [`snapshots of rounds ${snapshots.join(", ")} equal`]),
    ...(heldRound === undefined
      ? []
      : [`the body that this peer holds, of round ${heldRound}, is the one the log leads to`]),
    ...(verified.tornBytes === 0
      ? []
      : [`${verified.tornBytes} bytes at the log's end are no whole record yet`]),
  ];
  return [
    done,
    `  of ${group === undefined ? "" : `the group ${group} in `}run ${runName}, ${runId}`,
    ...[`  from ${begin}, ${verified.startRoot}`, `  to the body of round ${toRound}, ${root}`],
    ...facts.map((fact) => `  ${fact}`),
  ];
}

const counted = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? "" : "s"}`;
