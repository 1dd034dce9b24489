// Part of `npm run bench -- utilisation`: the far ends of all peers' links, where the kernel cannot delay. A process of its
// own in the namespace in the middle; delays, and holds each connection to what loss leaves it. Ends with its parent.
import { shapedLink } from "./shaped-link.ts";

export interface RelayedLink {
  readonly listen: { readonly host: string; readonly port: number };
  readonly host: string;
  readonly port: number;
}

export interface RelaySetting {
  readonly links: readonly RelayedLink[];
  readonly delayMs: number;
  /** Bytes a second; undefined where nothing is lost. */
  readonly connectionRate: number | undefined;
}

const { links, delayMs, connectionRate } = JSON.parse(process.argv[2]!) as RelaySetting;
for (const { listen, host, port } of links) {
  await shapedLink(port, [], delayMs, {
    host,
    listen,
    ...(connectionRate !== undefined && { connectionRate }),
  });
}
console.log("ready");
process.stdin.resume().on("end", () => process.exit());
