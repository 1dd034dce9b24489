import { describe, expect, test } from "vitest";
import { z } from "zod";
import {
  choice,
  decimal,
  flagSwitch,
  integer,
  nearestWord,
  readSettings,
  setting,
  settingsOf,
  text,
  UsageError,
} from "./settings.ts";

const schema = z.object({
  name: setting(text(), { description: "A name.", value: "NAME" }),
  vocabularySize: setting(integer(2, 100).default(8), { description: "A size.", value: "N" }),
  share: setting(decimal(0, 1).optional(), { description: "A share.", value: "X" }),
  device: setting(choice(["cpu", "cuda"]).default("cpu"), { description: "A device.", value: "DEVICE" }),
  data: setting(z.array(text()).default([]), { description: "Paths.", value: "PATH", list: true }),
  watch: setting(flagSwitch(), { description: "A switch." }),
});

const read = (argv: string[], environment?: Record<string, string>) =>
  readSettings(schema, argv, environment);

function complaint(argv: string[], environment?: Record<string, string>): string {
  try {
    read(argv, environment);
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    return (error as Error).message;
  }
  throw new Error(`${argv.join(" ")} was accepted`);
}

describe("settings are read", () => {
  test("from flags in both forms, with defaults for the rest", () => {
    expect(read(["--name=ada", "--vocabulary-size", "42", "--share", "2.5e-1"])).toEqual({
      name: "ada",
      vocabularySize: 42,
      share: 0.25,
      device: "cpu",
      data: [],
      watch: false,
    });
  });

  test("from the environment where no flag says otherwise", () => {
    const environment = {
      GLOSSA_NAME: "ada",
      GLOSSA_VOCABULARY_SIZE: "42",
      GLOSSA_DATA: "a,b",
      GLOSSA_WATCH: "yes",
    };
    expect(read(["--vocabulary-size", "7"], environment)).toMatchObject({
      name: "ada",
      vocabularySize: 7,
      data: ["a", "b"],
      watch: true,
    });
  });

  test("from no environment where the command reads none", () => {
    expect(complaint([], undefined)).toBe("--name is missing: give --name NAME.");
    expect(complaint([], {})).toBe("--name is missing: give --name NAME or set GLOSSA_NAME.");
  });

  test("from a flag that is repeated, and from words that follow", () => {
    const settings = readSettings(
      schema,
      ["--name", "a", "--data", "x", "y", "--watch", "z"],
      undefined,
      "data",
    );
    expect(settings.data).toEqual(["x", "y", "z"]);
    expect(settings.watch).toBe(true);
  });

  test("from what follows a lone double dash as words, whatever they look like", () => {
    expect(readSettings(schema, ["--name", "a", "--", "--odd"], undefined, "data").data).toEqual(["--odd"]);
  });

  test("as off when the flag is negated", () => {
    expect(read(["--name", "a", "--watch", "--no-watch"]).watch).toBe(false);
  });
});

describe("a mistake is refused with a hint", () => {
  test.each([
    [["--vocabulary-sise", "4"], "There is no flag --vocabulary-sise; did you mean --vocabulary-size?"],
    [["--quux"], "There is no flag --quux; see --help for the flags there are."],
    [["-x"], "There is no flag -x; see --help for the flags there are."],
    [["--name"], "--name needs a value: --name NAME."],
    [["--name", "--watch"], "--name needs a value: --name NAME."],
    [["--name", ""], '--name must not be empty, not "".'],
    [["--name", "a", "stray"], 'Nothing expects the word "stray"; see --help.'],
    [
      ["--name", "a", "--vocabulary-size", "many"],
      '--vocabulary-size must be a whole number from 2 to 100, not "many".',
    ],
    [
      ["--name", "a", "--vocabulary-size", "2.5"],
      '--vocabulary-size must be a whole number from 2 to 100, not "2.5".',
    ],
    [
      ["--name", "a", "--vocabulary-size", "101"],
      '--vocabulary-size must be a whole number from 2 to 100, not "101".',
    ],
    [
      ["--name", "a", "--vocabulary-size="],
      '--vocabulary-size must be a whole number from 2 to 100, not "".',
    ],
    [["--name", "a", "--share", "2"], '--share must be a number from 0 to 1, not "2".'],
    [["--name", "a", "--device", "tpu"], '--device must be one of cpu, cuda, not "tpu".'],
    [["--name", "a", "--watch=perhaps"], '--watch must be true or false, not "perhaps".'],
    [["--name", "a", "--no-device"], "There is no flag --no-device; did you mean --device?"],
  ])("%j", (argv, message) => {
    expect(complaint(argv)).toBe(message);
  });

  test("that names the variable when it came from the environment", () => {
    expect(complaint(["--name", "a"], { GLOSSA_DEVICE: "tpu" })).toBe(
      'GLOSSA_DEVICE must be one of cpu, cuda, not "tpu".',
    );
  });

  test("that names the entry of a list", () => {
    expect(complaint(["--name", "a", "--data", "x", "--data", ""])).toBe('--data must not be empty, not "".');
  });
});

test("every setting knows its flag, its variable and its default", () => {
  expect(
    settingsOf(schema).map(({ flag, environment, required, defaultText }) => [
      flag,
      environment,
      required,
      defaultText,
    ]),
  ).toEqual([
    ["name", "GLOSSA_NAME", true, undefined],
    ["vocabulary-size", "GLOSSA_VOCABULARY_SIZE", false, "8"],
    ["share", "GLOSSA_SHARE", false, undefined],
    ["device", "GLOSSA_DEVICE", false, "cpu"],
    ["data", "GLOSSA_DATA", false, undefined],
    ["watch", "GLOSSA_WATCH", false, undefined],
  ]);
});

test("a setting without a description is a mistake of ours", () => {
  expect(() => settingsOf(z.object({ bare: z.string() }))).toThrow("the setting bare carries no description");
});

test("the nearest word is near", () => {
  expect(nearestWord("per", ["peer", "demo"])).toBe("peer");
  expect(nearestWord("xyz", ["peer", "demo"])).toBeUndefined();
});
