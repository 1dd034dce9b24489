import { describe, expect, test } from "vitest";
import { nodeConfigSchema } from "./config.ts";
import { readSettings } from "./settings.ts";

const read = (...argv: string[]) => readSettings(nodeConfigSchema, argv, {}, "data");

describe("a peer's configuration", () => {
  test("needs an invite and data, and has a default for everything else", () => {
    const config = read("--join", "glossa1x", "--data", "texts");
    expect(config).toMatchObject({
      join: "glossa1x",
      data: ["texts"],
      textField: "text",
      device: "auto",
      listen: ["/ip4/0.0.0.0/tcp/0"],
      logLevel: "info",
      events: "none",
    });
    expect(config.threads).toBeGreaterThanOrEqual(1);
    expect(config.name).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$/);
  });

  test.each([
    [["--data", "x"], "--join is missing"],
    [["--join", "i"], "--data is missing"],
    [["--join", "i", "x", "--name", "no/slash"], "--name must be 1 to 32 letters"],
    [["--join", "i", "x", "--vocabulary-size", "256"], "--vocabulary-size must be a whole number from 257"],
    [
      ["--join", "i", "x", "--metrics-port", "70000"],
      "--metrics-port must be a whole number from 0 to 65535",
    ],
    [
      ["--join", "i", "x", "--tokenizer", "t.json", "--vocabulary-size", "999"],
      "--tokenizer brings its own vocabulary",
    ],
  ])("refuses %j", (argv, message) => {
    expect(() => read(...argv)).toThrow(message);
  });
});
