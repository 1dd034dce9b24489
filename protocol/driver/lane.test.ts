import { expect, it } from "vitest";
import { Lane } from "./lane.ts";

const unexpected = (error: unknown) => {
  throw error;
};

it("a lane runs its tasks one after another", async () => {
  const lane = new Lane(unexpected);
  const order: string[] = [];
  for (const name of ["first", "second"]) {
    lane.enqueue(async () => {
      order.push(`${name} begins`);
      await Promise.resolve();
      order.push(`${name} ends`);
    });
  }
  await lane.idle();
  expect(order).toEqual(["first begins", "first ends", "second begins", "second ends"]);
});

it("aborting a lane reaches the running task and skips those that wait, not those that come later", async () => {
  const lane = new Lane(unexpected);
  const ran: string[] = [];
  lane.enqueue(async (signal) => {
    ran.push("running");
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  });
  lane.enqueue(async () => {
    ran.push("waiting");
  });
  await Promise.resolve();
  lane.abort();
  lane.enqueue(async () => {
    ran.push("later");
  });
  await lane.idle();
  expect(ran).toEqual(["running", "later"]);
});

it("a lane reports what a task throws and goes on, and keeps quiet about what it aborted", async () => {
  const errors: unknown[] = [];
  const lane = new Lane((error) => errors.push(error));
  lane.enqueue(async () => {
    throw new Error("broken");
  });
  await lane.idle();
  lane.enqueue(async (signal) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    throw new Error("told to stop");
  });
  await Promise.resolve();
  lane.abort();
  await lane.idle();
  expect(errors.map((error) => (error as Error).message)).toEqual(["broken"]);
});

it("a task that must run does so although it was aborted before its turn, and is told", async () => {
  const lane = new Lane(unexpected);
  const ran: string[] = [];
  lane.enqueue(async ({ aborted }) => {
    ran.push(`skipped ${aborted}`);
  });
  lane.enqueue(
    async ({ aborted }) => {
      ran.push(`must ${aborted}`);
    },
    { must: true },
  );
  lane.abort();
  await lane.idle();
  expect(ran).toEqual(["must true"]);
});
