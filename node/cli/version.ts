// `glossa version`: which glossa, Node and platform this is.
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { defineCommand } from "./command.ts";

export const versionCommand = defineCommand({
  name: "version",
  summary: "Print the version of glossa and of what it runs on.",
  description: "Prints the version of glossa, of Node and of the platform.",
  settings: z.object({}),
  examples: [],
  async run(_settings, { stdout, flags }) {
    const manifest = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8"));
    const facts = {
      glossa: String(manifest.version),
      node: process.versions.node,
      platform: `${process.platform} ${process.arch}`,
    };
    const line = flags.json
      ? JSON.stringify(facts)
      : `glossa ${facts.glossa}, Node ${facts.node}, ${facts.platform}`;
    stdout.write(`${line}\n`);
  },
});
