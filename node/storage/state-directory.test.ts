import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { StateInUseError } from "./errors.ts";
import { takeLock } from "./lock.ts";
import { identityOf } from "./process-identity.ts";
import { defaultStateDirectory, glossaHome, StateDirectory } from "./state-directory.ts";

let root: string;
let path: string;
let lockPath: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "glossa-state-"));
  path = join(root, "peer");
  lockPath = join(path, "lock");
});

afterEach(() => rm(root, { recursive: true, force: true }));

const holdingScript = () =>
  `import { StateDirectory } from ${JSON.stringify(join(import.meta.dirname, "state-directory.ts"))};
    await StateDirectory.open(${JSON.stringify(path)}); console.log(process.pid); setInterval(() => {}, 1000);`;

/** Opens the state directory in another process, which holds it until it is killed. */
async function holdInAnotherProcess() {
  const script = holdingScript();
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  const kill = async () => {
    child.kill("SIGKILL");
    await once(child, "exit");
  };
  return { pid: child.pid!, kill };
}

describe("the lock", () => {
  test("keeps a second peer out and names the process that holds it", async () => {
    const other = await holdInAnotherProcess();
    try {
      const refusal = await StateDirectory.open(path).catch((error: unknown) => error);
      expect(refusal).toBeInstanceOf(StateInUseError);
      expect(refusal).toMatchObject({ code: "STATE_IN_USE", pid: other.pid });
      expect((refusal as Error).message).toContain(String(other.pid));
    } finally {
      await other.kill();
    }
  });

  test("of a process that was killed is taken over", async () => {
    const other = await holdInAnotherProcess();
    await other.kill();
    const state = await StateDirectory.open(path);
    expect(JSON.parse(await readFile(lockPath, "utf8"))).toMatchObject({ pid: process.pid });
    await state.close();
    expect(await readdir(path)).toEqual([]);
  });

  test.runIf(process.platform === "linux")(
    "of a process that was killed and that its parent never asks for is taken over",
    async () => {
      // The shell becomes a program that knows nothing of the child it has.
      const line = '"$0" --input-type=module -e "$1" & exec sleep 600';
      const parent = spawn("sh", ["-c", line, process.execPath, holdingScript()], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      try {
        const pid = Number(String((await once(parent.stdout, "data"))[0]));
        process.kill(pid, "SIGKILL");
        const stateOf = async () => /\) (\w)/.exec(await readFile(`/proc/${pid}/stat`, "utf8"))![1];
        await expect.poll(stateOf).toBe("Z");
        await (await StateDirectory.open(path)).close();
      } finally {
        parent.kill("SIGKILL");
        await once(parent, "close");
      }
    },
  );

  test.runIf(process.platform === "linux")(
    "of a pid that now belongs to another process is taken over",
    async () => {
      const state = await StateDirectory.open(path);
      const stale = { pid: process.ppid, startedAt: "a boot long ago:1", host: hostname(), token: "old" };
      await writeFile(lockPath, JSON.stringify(stale));
      const again = await StateDirectory.open(path);
      expect(JSON.parse(await readFile(lockPath, "utf8"))).toMatchObject({ pid: process.pid });
      await state.close();
      await expect(stat(lockPath), "the first one no longer owns it").resolves.toBeDefined();
      await again.close();
    },
  );

  test("of another machine counts as alive", async () => {
    await (await StateDirectory.open(path)).close();
    const holder = { pid: 1, startedAt: "", host: "elsewhere.example", token: "t" };
    await writeFile(lockPath, JSON.stringify(holder));
    const message = await StateDirectory.open(path).catch((error: Error) => error.message);
    expect(message).toContain("on elsewhere.example");
    expect(message).toContain(lockPath);
  });

  test("that a power cut has emptied is taken over", async () => {
    await (await StateDirectory.open(path)).close();
    await writeFile(lockPath, "");
    await (await StateDirectory.open(path)).close();
  });

  test("of a dead process goes to exactly one of many that want it at once", async () => {
    await (await StateDirectory.open(path)).close();
    const dead = { pid: 2 ** 30, startedAt: "", host: hostname(), token: "dead" };
    await writeFile(lockPath, JSON.stringify(dead));
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => takeLock(lockPath)));
    const taken = results.filter(({ status }) => status === "fulfilled");
    expect(taken).toHaveLength(1);
    expect(await readdir(path)).toEqual(["lock"]);
  });

  test("is free again after it was given back", async () => {
    for (let turn = 0; turn < 3; turn++) await (await StateDirectory.open(path)).close();
    expect(await readdir(path)).toEqual([]);
  });
});

test("a process is itself, and a pid that no process has is nobody", async () => {
  expect(await identityOf(process.pid)).toEqual(await identityOf(process.pid));
  expect(await identityOf(2 ** 30)).toBeUndefined();
});

describe("a state directory", () => {
  test("stays with the run it was bound to", async () => {
    const state = await StateDirectory.open(path);
    await state.bindToRun("a".repeat(64), "manifest of a");
    await state.bindToRun("a".repeat(64), "manifest of a");
    await expect(state.bindToRun("b".repeat(64), "manifest of b")).rejects.toMatchObject({
      code: "STATE_OF_ANOTHER_RUN",
      runId: "a".repeat(64),
      wantedRunId: "b".repeat(64),
    });
    await expect(state.requireRun("b".repeat(64))).rejects.toMatchObject({ code: "STATE_OF_ANOTHER_RUN" });
    await state.requireRun("a".repeat(64));
    expect(await state.boundManifest()).toEqual({ runId: "a".repeat(64), manifest: "manifest of a" });
    await state.close();
  });

  test("is readable by its owner alone and clears what an interrupted write has left", async () => {
    await (await StateDirectory.open(path)).close();
    expect((await stat(path)).mode & 0o777).toBe(0o700);
    await writeFile(join(path, "protocol.checkpoint.0123456789ab.partial"), "half");
    await (await StateDirectory.open(path)).close();
    expect(await readdir(path)).toEqual([]);
  });

  test("remembers where peers were, and survives a damaged memory of it", async () => {
    const state = await StateDirectory.open(path);
    const peers = [{ peer: "12D3KooWExample", addresses: ["/ip4/127.0.0.1/tcp/4001"] }];
    expect(await state.peerCache.load()).toEqual([]);
    await state.peerCache.save(peers);
    expect(await state.peerCache.load()).toEqual(peers);
    for (const damaged of ["{", '[{"peer":1}]', "null"]) {
      await writeFile(join(path, "peers.json"), damaged);
      expect(await state.peerCache.load()).toEqual([]);
    }
    await state.close();
  });

  test("lies under the home of glossa, apart for each run and name", () => {
    const home = glossaHome({ GLOSSA_HOME: "/srv/glossa" });
    expect(defaultStateDirectory(home, "f".repeat(64), "ada")).toBe(
      join("/srv/glossa", "f".repeat(12), "ada"),
    );
  });
});
