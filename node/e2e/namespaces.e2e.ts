// Peers that share no loopback: each in a network namespace of its own, behind a link that the kernel limits.
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { NetworkNamespaces, whyNoNamespaces } from "./network-namespaces.ts";
import { type GlossaProcess, TestBed } from "./processes.ts";
import { MODEL_FLAGS } from "./small-run.ts";

const reason = whyNoNamespaces();
/** So many that the one who was killed is back before the others are through: no round is shorter than half a second. */
const ROUNDS = 24;

let bed: TestBed | undefined;
let network: NetworkNamespaces | undefined;
afterEach(async () => {
  await bed?.close();
  network?.close();
});

it.skipIf(reason !== undefined)(
  `lets peers in network namespaces train together, and one come back from kill -9${reason === undefined ? "" : ` (skipped: ${reason})`}`,
  async () => {
    network = await NetworkNamespaces.create({ places: 3, mbits: 20 });
    bed = await TestBed.create();
    const { directory } = bed;
    const run = (place: number, ...args: string[]): GlossaProcess =>
      bed!.runBehind(network!.prefix(place), ...args);
    const listenAt = (place: number) => `/ip4/${network!.address(place)}/tcp/4001`;

    const bootstrap = run(0, "bootstrap", "--listen", listenAt(0), "--events", "json");
    const { addresses } = await bootstrap.event("listening");
    const init = run(
      ...[0, "init", "--json", "--bootstrap", addresses[0]!, "--output", join(directory, "run.json")],
      ...[...MODEL_FLAGS, "--batch-size", "8", "--local-steps", "40", "--rounds", `${ROUNDS}`],
      ...["--warmup-steps", "10", "--learning-rate", "0.01", "--minimum-peers", "3", "--overlap", "on"],
    );
    const { invite } = await init.event("run-created");
    const texts = [
      await bed.corpus("en-novels", 100_000),
      await bed.corpus("es-scripture", 100_000),
      await bed.corpus("zh-poetry", 100_000),
    ];
    const peer = (place: number) =>
      run(
        ...[place, "peer", "--join", invite, "--name", `peer${place}`, "--data", texts[place - 1]!],
        ...["--listen", listenAt(place), "--vocabulary-size", "400", "--rounds", `${ROUNDS}`],
        ...["--device", "cpu", "--threads", "1", "--events", "json", "--checkpoint-interval-seconds", "1"],
      );
    const [one, two, three] = [peer(1), peer(2), peer(3)];
    expect((await one.event("listening")).addresses).toEqual([expect.stringContaining("/ip4/10.77.0.2/")]);
    await three.event("round-applied", ({ round, updates }) => round >= 1 && updates === 3);
    expect(await three.signal("SIGKILL")).toMatchObject({ signal: "SIGKILL" });
    const again = peer(3);

    const rows = await Promise.all([one, two, again].map((one) => one.event("finished")));
    expect(rows.map(({ rounds }) => rounds)).toEqual([ROUNDS, ROUNDS, ROUNDS]);
    expect(new Set(rows.map(({ bodyRoot }) => bodyRoot)).size).toBe(1);
    expect(again.events.some(({ event }) => event === "warming")).toBe(false);
    // It made updates again after it came back, which the others counted.
    await one.event("round-applied", ({ round, updates }) => round > 2 && updates === 3);
  },
);
