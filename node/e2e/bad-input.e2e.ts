// What a user gets wrong: each mistake ends with one sentence that names the cause and the remedy, and its own exit code.

import { mkdir } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { LOOPBACK, MODEL_FLAGS, type SmallRun, scratchFile, startRun } from "./small-run.ts";

let run: SmallRun;
let text: string;
const servers: Server[] = [];

beforeAll(async () => {
  run = await startRun();
  text = await run.bed.corpus("en-novels", 60_000);
});
afterAll(async () => {
  for (const server of servers) server.close();
  await run.bed.close();
});

interface Mistake {
  readonly what: string;
  readonly exitCode: number;
  readonly says: RegExp;
  /** Flags of `glossa peer`; a flag given again wins over the right one. */
  flags(): Promise<readonly string[]> | readonly string[];
}

/** Changes one character of the invite's middle, as a slip of the hand would. */
function mistyped(invite: string): string {
  const at = Math.floor(invite.length / 2);
  return invite.slice(0, at) + (invite[at] === "a" ? "b" : "a") + invite.slice(at + 1);
}

const words = (count: number) => Array.from({ length: count }, (_, at) => `word${at % 7}`).join(" ");

const MISTAKES: readonly Mistake[] = [
  {
    what: "a path that does not exist",
    exitCode: 10,
    says: /no-such-file/,
    flags: () => ["--data", join(run.bed.directory, "no-such-file.txt")],
  },
  {
    what: "a folder without text",
    exitCode: 11,
    says: /empty-folder/,
    async flags() {
      const folder = join(run.bed.directory, "empty-folder");
      await mkdir(folder, { recursive: true });
      return ["--data", folder];
    },
  },
  {
    what: "binary data",
    exitCode: 12,
    says: /binary\.txt/,
    flags: async () => [
      "--data",
      await scratchFile(
        run.bed,
        "binary.txt",
        Uint8Array.from({ length: 65_536 }, (_, at) => (at * 167) % 251),
      ),
    ],
  },
  {
    what: "a corpus too small for the vocabulary",
    exitCode: 13,
    says: /vocabulary/,
    flags: async () => [
      ...["--data", await scratchFile(run.bed, "few-words.txt", words(2_000))],
      ...["--vocabulary-size", "5000"],
    ],
  },
  {
    what: "a corpus too small for the sequence length",
    exitCode: 13,
    says: /tokens/,
    flags: async () => [
      ...["--data", await scratchFile(run.bed, "tiny.txt", "A line of text.")],
      ...["--vocabulary-size", "257"],
    ],
  },
  {
    what: "a tokenizer that is none",
    exitCode: 14,
    says: /tokenizer/i,
    flags: async () => ["--data", text, "--tokenizer", await scratchFile(run.bed, "not.json", "[1, 2")],
  },
  {
    what: "an invite with a typo",
    exitCode: 20,
    says: /invite/i,
    flags: () => ["--data", text, "--join", mistyped(run.invite)],
  },
  {
    what: "a bootstrap that nobody answers at",
    exitCode: 21,
    says: /answered/,
    async flags() {
      const nobody = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
      const init = run.bed.run(
        ...["init", "--json", "--name", "lonely", "--output", join(run.bed.directory, "lonely.json")],
        ...MODEL_FLAGS,
      );
      const { invite } = await init.event("run-created");
      return ["--data", text, "--join", invite, "--bootstrap", nobody];
    },
  },
  {
    what: "a manifest that is not the run's",
    exitCode: 22,
    says: /manifest/i,
    flags: async () => [
      ...["--data", text, "--manifest", await scratchFile(run.bed, "other.json", '{"version":1}')],
    ],
  },
  {
    what: "a port that is taken",
    exitCode: 24,
    says: /in use|taken/,
    async flags() {
      const server = createServer();
      servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const address = server.address();
      if (address === null || typeof address === "string") throw new Error("no port");
      return ["--data", text, "--listen", `/ip4/127.0.0.1/tcp/${address.port}`];
    },
  },
  {
    what: "an address that is none",
    exitCode: 25,
    says: /multiaddr|address/i,
    flags: () => ["--data", text, "--listen", "localhost:4001"],
  },
  {
    what: "a state directory that another peer uses",
    exitCode: 30,
    says: /pid|process/,
    async flags() {
      const owner = run.peer("owner", text, "--vocabulary-size", "300", "--state-dir", stateOf("owned"));
      await owner.event("listening");
      return ["--data", text, "--state-dir", stateOf("owned")];
    },
  },
  {
    what: "a state directory of another run",
    exitCode: 31,
    says: /run/,
    async flags() {
      const init = run.bed.run(
        ...["init", "--json", "--name", "other", "--output", join(run.bed.directory, "other-run.json")],
        ...MODEL_FLAGS,
      );
      const { invite } = await init.event("run-created");
      const other = run.bed.run(
        ...[
          "peer",
          "--join",
          invite,
          "--manifest",
          join(run.bed.directory, "other-run.json"),
          "--data",
          text,
        ],
        ...["--listen", LOOPBACK, "--events", "json", "--state-dir", stateOf("of-other")],
      );
      await other.event("listening");
      await other.signal("SIGINT");
      return ["--data", text, "--state-dir", stateOf("of-other")];
    },
  },
  {
    what: "CUDA where there is none",
    exitCode: 40,
    says: /"cuda".*npm rebuild/,
    flags: () => ["--data", text, "--vocabulary-size", "300", "--device", "cuda"],
  },
];

const stateOf = (name: string) => join(run.bed.directory, `state-${name}`);

it.each(MISTAKES)("explains $what", async ({ what, exitCode, says, flags }) => {
  const given = await flags();
  const has = (flag: string) => given.includes(flag);
  const peer = run.bed.run(
    ...["peer", "--log-level", "silent", "--rounds", "1"],
    ...(has("--join") ? [] : ["--join", run.invite]),
    ...(has("--listen") ? [] : ["--listen", LOOPBACK]),
    ...(has("--state-dir") ? [] : ["--state-dir", stateOf(what.replaceAll(" ", "-"))]),
    ...(has("--device") ? [] : ["--device", "cpu"]),
    ...given,
  );
  expect({ exitCode: await peer.finished(), output: peer.output }).toMatchObject({ exitCode });
  expect(peer.output).toMatch(says);
  // One sentence, not a stack; the line may wrap into the remedy but never into code.
  expect(peer.output).not.toMatch(/^\s+at /m);
  expect(peer.output.trim().split("\n").length).toBeLessThanOrEqual(2);
});
