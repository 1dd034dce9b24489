import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { runCli } from "../cli/main.ts";
import { askStatus, findPeers } from "./control-client.ts";
import { type ControlEndpoint, openControlEndpoint } from "./control-endpoint.ts";
import { composeStatus } from "./status.ts";
import { exampleInputs, exampleProtocol } from "./testing/example-status.ts";

let root: string;
let environment: Record<string, string>;
let open: ControlEndpoint[];
const { signal } = new AbortController();

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "glossa-ctl-"));
  environment = { GLOSSA_RUNTIME_DIR: join(root, "run") };
  open = [];
});

afterEach(async () => {
  await Promise.all(open.map((endpoint) => endpoint.close()));
  await rm(root, { recursive: true, force: true });
});

async function peer(name: string): Promise<ControlEndpoint> {
  const stateDirectory = join(root, name);
  await mkdir(stateDirectory);
  const endpoint = await openControlEndpoint({
    name,
    runId: "cd".repeat(32),
    stateDirectory,
    recordPath: join(stateDirectory, "control.json"),
    status: () => composeStatus(exampleInputs({ protocol: exampleProtocol({ name }) })),
    environment,
  });
  open.push(endpoint);
  return endpoint;
}

async function stats(...argv: string[]) {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const exitCode = await runCli(["stats", ...argv], { signal, stdout, stderr, environment });
  return { exitCode, stdout: String(stdout.read() ?? ""), stderr: String(stderr.read() ?? "") };
}

test("running peers are found by name, by state directory, or all of them", async () => {
  await peer("ada");
  await peer("grace");
  const names = async (wanted: Parameters<typeof findPeers>[0]) =>
    (await findPeers(wanted, environment)).map(({ name }) => name);
  expect(await names({})).toEqual(["ada", "grace"]);
  expect(await names({ name: "grace" })).toEqual(["grace"]);
  expect(await names({ stateDir: join(root, "ada") })).toEqual(["ada"]);
  await expect(names({ name: "alan" })).rejects.toMatchObject({ code: "NO_RUNNING_PEER" });
  await expect(names({ stateDir: root })).rejects.toMatchObject({ code: "NO_RUNNING_PEER" });
});

test("looking for peers on a machine that had none leaves it as it was", async () => {
  await expect(findPeers({ name: "alan" }, environment)).rejects.toMatchObject({ code: "NO_RUNNING_PEER" });
  expect(await readdir(root)).toEqual([]);
  await writeFile(join(root, "run"), "no directory");
  await expect(findPeers({}, environment)).rejects.toMatchObject({ code: "STATE_NOT_WRITABLE" });
});

test("a peer answers with its status as often as it is asked", async () => {
  await peer("ada");
  const [record] = await findPeers({}, environment);
  for (let turn = 0; turn < 3; turn++) {
    expect(await askStatus(record!, signal)).toEqual(composeStatus(exampleInputs()));
  }
});

test.skipIf(process.platform === "win32")("the endpoint is for this user alone", async () => {
  const { endpoint } = await peer("ada");
  expect((await stat(endpoint)).mode & 0o777).toBe(0o600);
  expect((await stat(join(root, "run"))).mode & 0o777).toBe(0o700);
});

test("a closed endpoint leaves nothing behind", async () => {
  const endpoint = await peer("ada");
  await endpoint.close();
  open = [];
  expect(await readdir(join(root, "run"))).toEqual([]);
  expect(await readdir(join(root, "ada"))).toEqual([]);
});

test("what a killed peer has left is passed over and cleared away", async () => {
  await peer("ada");
  const stale = {
    pid: 1,
    name: "gone",
    runId: "",
    stateDirectory: "",
    endpoint: join(root, "run", "0123.sock"),
  };
  await writeFile(join(root, "run", "0123.json"), JSON.stringify(stale));
  expect((await findPeers({}, environment)).map(({ name }) => name)).toEqual(["ada"]);
  expect(await readdir(join(root, "run"))).not.toContain("0123.json");
});

test("a request that is none gets an error, and one without an end is cut off", async () => {
  const { endpoint } = await peer("ada");
  const answer = (request: string) =>
    new Promise<string>((resolve, reject) => {
      let text = "";
      const socket = connect(endpoint, () => socket.write(request));
      socket.on("error", reject);
      socket.on("close", () => resolve(text));
      socket.on("data", (chunk) => {
        text += chunk;
        socket.end();
      });
    });
  expect(JSON.parse(await answer("shutdown\n"))).toEqual({ error: "unknown request" });
  expect(await answer("x".repeat(10_000))).toBe("");
});

test("glossa stats prints a table, JSON, or that there is nobody", async () => {
  expect(await stats()).toMatchObject({ exitCode: 60, stdout: "" });
  await peer("ada");
  const text = await stats();
  expect(text.exitCode).toBe(0);
  expect(text.stdout).toMatch(/^ada …eerOfada {2}run demo/);
  expect(text.stdout).not.toContain("\x1b");
  expect(JSON.parse((await stats("--json", "--name", "ada")).stdout)).toMatchObject({
    version: 1,
    name: "ada",
  });
});
