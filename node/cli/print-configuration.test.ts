import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { configurationDocument } from "./print-configuration.ts";

test("the documented configuration is the one the program has", async () => {
  const committed = await readFile(new URL("../../docs/configuration.md", import.meta.url), "utf8");
  expect(committed, "run: node node/cli/print-configuration.ts > docs/configuration.md").toBe(
    await configurationDocument(),
  );
});
