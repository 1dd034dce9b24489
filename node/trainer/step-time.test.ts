import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { genesisBody, initialEmbedding } from "#model/genesis.ts";
import { ANY_OPTIMIZER } from "#model/optim/any-optimizer.ts";
import { createOnDevice } from "./device.ts";
import { type TimedStep, timeStep } from "./step-time.ts";

const config = { blocks: 1, width: 16, heads: 2, sequenceLength: 16, vocabularySize: 64 };
const step: TimedStep = { config, optimizer: ANY_OPTIMIZER, batchSize: 2, device: "cpu", threads: 1 };

/** Half a minute of work and two gigabytes at most. */
const long: TimedStep = {
  ...step,
  config: { blocks: 4, width: 1024, heads: 8, sequenceLength: 1024, vocabularySize: 4096 },
  batchSize: 4,
};

it("times a step on a device that is there, and has no time for one that is not or that takes too long", async () => {
  expect(await timeStep(step)).toBeGreaterThan(0);
  const nowhere = { ...step, device: "nowhere" as "cuda" };
  expect(await timeStep(nowhere)).toBeUndefined();
  const startedMs = performance.now();
  expect(await timeStep(long, 2_000)).toBeUndefined();
  expect(performance.now() - startedMs).toBeLessThan(10_000);
});

it("chooses what works, and leaves the model that trains as it was given", async () => {
  const options = { ...step, body: genesisBody(config, "a"), embedding: initialEmbedding(config, "a") };
  const { model, device } = await createOnDevice("auto", options, ["nowhere" as "cuda", "cpu"]);
  expect(device).toBe("cpu");
  const { body, embedding, momentSteps } = await model.readState();
  expect({ body, embedding, momentSteps }).toEqual({
    body: options.body,
    embedding: options.embedding,
    momentSteps: 0,
  });
  await model.dispose();
});

it.runIf(process.platform === "linux")("ends with the process that asked for it", async () => {
  const script = `import { timeStep } from ${JSON.stringify(new URL("./step-time.ts", import.meta.url).href)};
    timeStep(${JSON.stringify(long)});
    const { readFileSync } = await import("node:fs");
    const children = () => readFileSync("/proc/self/task/" + process.pid + "/children", "utf8").trim();
    while (children() === "") await new Promise(setImmediate);
    console.log(children());`;
  const parent = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const child = Number(String((await once(parent.stdout, "data"))[0]));
  parent.kill("SIGKILL");
  await once(parent, "exit");
  const stateOf = () =>
    readFile(`/proc/${child}/stat`, "utf8").then(
      (stat) => /\) (\w)/.exec(stat)![1],
      () => "gone",
    );
  await expect.poll(async () => /^[ZX]|gone/.test((await stateOf())!), { timeout: 20_000 }).toBe(true);
});
