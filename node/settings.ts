// Settings described once: a zod object whose fields carry what a person needs to know about them. Flags, environment
// names, defaults, `--help` and the documentation's table are all read from it. Knows no particular setting.
import { parseArgs } from "node:util";
import { z } from "zod";

/** What a person needs to know about one setting, beside its schema. */
export interface SettingMeta {
  readonly description: string;
  /** What stands for the value in `--help`, such as `N` or `FILE`. Absent: a switch that takes no value. */
  readonly value?: string;
  /** The flag may be repeated; its environment variable separates the values by commas. */
  readonly list?: true;
  /** What `--help` and the table show where the default depends on the machine. */
  readonly defaultText?: string;
  /** Heading in `--help` and in the table. */
  readonly group?: string;
}

/** A setting as the command line knows it. */
export interface Setting {
  readonly key: string;
  /** `--vocabulary-size` without the dashes. */
  readonly flag: string;
  /** `GLOSSA_VOCABULARY_SIZE` */
  readonly environment: string;
  readonly meta: SettingMeta;
  readonly required: boolean;
  /** Text of the default, `undefined` where there is none. */
  readonly defaultText: string | undefined;
}

/** A flag, value or combination of them that makes no sense. The message names the flag and what it wants. */
export class UsageError extends Error {
  readonly code = "USAGE";

  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}

const registry = z.registry<SettingMeta>();

/** Attaches the description; must come last, because zod's methods return new schemas. */
export function setting<Schema extends z.ZodType>(schema: Schema, meta: SettingMeta): Schema {
  registry.add(schema, meta);
  return schema;
}

/** The same setting, described otherwise where another command has it. */
export function redescribed<Schema extends z.ZodType>(schema: Schema, changes: Partial<SettingMeta>): Schema {
  return setting(schema.clone(), { ...registry.get(schema)!, ...changes });
}

/** A whole number, given as a number or as its decimal text. */
export function integer(minimum: number, maximum: number) {
  const wanted = { error: `must be a whole number from ${minimum} to ${maximum}` };
  return z.preprocess(numberFromText, z.int(wanted).min(minimum, wanted).max(maximum, wanted));
}

/** A finite number, given as a number or as its decimal text. */
export function decimal(minimum: number, maximum: number) {
  const wanted = { error: `must be a number from ${minimum} to ${maximum}` };
  return z.preprocess(numberFromText, z.number(wanted).min(minimum, wanted).max(maximum, wanted));
}

export function choice<const Options extends readonly [string, ...string[]]>(options: Options) {
  return z.enum(options, { error: `must be one of ${options.join(", ")}` });
}

export function text(what = "must not be empty") {
  return z.string({ error: what }).trim().min(1, { error: what });
}

/** A switch: off unless given; `--no-<flag>` turns it off again. */
export function flagSwitch() {
  return z.preprocess(
    (value) => (typeof value === "string" ? (BOOLEAN_WORDS.get(value.toLowerCase()) ?? value) : value),
    z.boolean({ error: "must be true or false" }).default(false),
  );
}

const BOOLEAN_WORDS = new Map([
  ["1", true],
  ["true", true],
  ["yes", true],
  ["on", true],
  ["0", false],
  ["false", false],
  ["no", false],
  ["off", false],
]);

function numberFromText(value: unknown): unknown {
  if (typeof value !== "string") return value;
  return /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(value.trim()) ? Number(value) : value;
}

export function flagOf(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

export function environmentOf(key: string): string {
  return `GLOSSA_${flagOf(key).replaceAll("-", "_").toUpperCase()}`;
}

/** The settings of an object schema in the order it declares them. Throws on a field without a description. */
export function settingsOf(schema: z.ZodObject): readonly Setting[] {
  return Object.entries(schema.shape).map(([key, field]) => {
    const type = field as z.ZodType;
    const meta = registry.get(type);
    if (meta === undefined) throw new TypeError(`the setting ${key} carries no description`);
    const absent = type.safeParse(undefined);
    const value = absent.success ? absent.data : undefined;
    const known = value === undefined || value === false || (Array.isArray(value) && value.length === 0);
    return {
      key,
      flag: flagOf(key),
      environment: environmentOf(key),
      meta,
      required: !absent.success,
      defaultText: meta.defaultText ?? (known ? undefined : [value].flat().join(",")),
    };
  });
}

/** Flags that every command understands. They never come from the environment. */
export interface GlobalFlags {
  readonly help: boolean;
  readonly json: boolean;
  readonly verbose: boolean;
}

export const GLOBAL_FLAGS: readonly { flag: keyof GlobalFlags; short?: string; description: string }[] = [
  { flag: "help", short: "h", description: "Show this help." },
  { flag: "json", description: "Print results and errors as JSON." },
  { flag: "verbose", description: "Show the stack of an error." },
];

/** Which of the global flags `argv` holds, read without judging the rest: needed to report a usage error. */
export function globalFlagsIn(argv: readonly string[]): GlobalFlags {
  const end = argv.indexOf("--");
  const flags = end === -1 ? argv : argv.slice(0, end);
  return {
    help: flags.includes("--help") || flags.includes("-h"),
    json: flags.includes("--json"),
    verbose: flags.includes("--verbose"),
  };
}

/** The process' environment, or any map of that form; `undefined` where a command reads none of it. */
export type Environment = Readonly<Record<string, string | undefined>> | undefined;

/**
 * Reads the settings of `schema` from flags, then from the environment, then from defaults. Words that belong to no
 * flag go to the setting that `positionals` names (all to a list, one to another setting), or are refused.
 * @throws {UsageError} for an unknown flag (with the nearest known one), a missing or a senseless value
 */
export function readSettings<Schema extends z.ZodObject>(
  schema: Schema,
  argv: readonly string[],
  environment: Environment,
  positionals?: keyof z.output<Schema> & string,
): z.output<Schema> {
  const settings = settingsOf(schema);
  const input: Record<string, unknown> = {};
  const origin = new Map<string, string>();
  for (const { key, environment: variable, meta } of settings) {
    const value = environment?.[variable];
    if (value === undefined || value === "") continue;
    input[key] = meta.list ? value.split(",") : value;
    origin.set(key, variable);
  }
  for (const [key, value] of readFlags(settings, argv, positionals)) {
    input[key] = value;
    origin.delete(key);
  }
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new UsageError(explain(issue, settings, input, origin, environment !== undefined));
}

function readFlags(
  settings: readonly Setting[],
  argv: readonly string[],
  positionals: string | undefined,
): Map<string, unknown> {
  const byFlag = new Map(settings.map((entry) => [entry.flag, entry]));
  const { tokens } = parseArgs({
    args: [...argv],
    strict: false,
    tokens: true,
    allowPositionals: true,
    options: {
      ...Object.fromEntries(
        settings.map(({ flag, meta }) => [flag, { type: meta.value ? "string" : "boolean" }]),
      ),
      ...Object.fromEntries(
        GLOBAL_FLAGS.map(({ flag, short }) => [flag, { type: "boolean", ...(short && { short }) }]),
      ),
    },
  });
  const values = new Map<string, unknown>();
  const append = (key: string, value: string) =>
    values.set(key, [...((values.get(key) as string[]) ?? []), value]);
  for (const token of tokens) {
    if (token.kind === "option-terminator") continue;
    if (token.kind === "positional") {
      if (positionals === undefined)
        throw new UsageError(`Nothing expects the word "${token.value}"; see --help.`);
      if (settings.some(({ key, meta }) => key === positionals && meta.list))
        append(positionals, token.value);
      else if (!values.has(positionals)) values.set(positionals, token.value);
      else throw new UsageError(`Nothing expects the word "${token.value}"; see --help.`);
      continue;
    }
    if (GLOBAL_FLAGS.some(({ flag }) => flag === token.name)) continue;
    const negated = token.name.startsWith("no-") ? byFlag.get(token.name.slice(3)) : undefined;
    const entry = byFlag.get(token.name) ?? (negated?.meta.value === undefined ? negated : undefined);
    if (entry === undefined) throw new UsageError(unknownFlag(token.rawName, [...byFlag.keys()]));
    if (entry.meta.value === undefined) values.set(entry.key, token.value ?? entry !== negated);
    else if (token.value === undefined || (token.inlineValue === false && /^--?[a-z]/i.test(token.value))) {
      throw new UsageError(`${token.rawName} needs a value: ${token.rawName} ${entry.meta.value}.`);
    } else if (entry.meta.list) append(entry.key, token.value);
    else values.set(entry.key, token.value);
  }
  return values;
}

function unknownFlag(given: string, flags: readonly string[]): string {
  const known = [...flags, ...GLOBAL_FLAGS.map(({ flag }) => flag)];
  const nearest = nearestWord(given.replace(/^-+(no-)?/, ""), known);
  return `There is no flag ${given}; ${nearest ? `did you mean --${nearest}?` : "see --help for the flags there are."}`;
}

/** The known word within two edits (a third of its length for long words), nearest first. */
export function nearestWord(given: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((word) => ({ word, distance: editDistance(given, word) }))
    .filter(({ word, distance }) => distance <= Math.max(2, Math.floor(word.length / 3)))
    .sort((a, b) => a.distance - b.distance);
  return ranked[0]?.word;
}

/** Levenshtein's distance by rows. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const substitution = previous[column - 1]! + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(substitution, previous[column]! + 1, current[column - 1]! + 1));
    }
    previous = current;
  }
  return previous[b.length]!;
}

function explain(
  issue: z.core.$ZodIssue,
  settings: readonly Setting[],
  input: Record<string, unknown>,
  origin: ReadonlyMap<string, string>,
  readsEnvironment: boolean,
): string {
  const entry = settings.find(({ key }) => key === issue.path[0]);
  if (entry === undefined) return issue.message;
  const name = origin.get(entry.key) ?? `--${entry.flag}`;
  const given = input[entry.key];
  if (given === undefined) {
    const instead = readsEnvironment ? ` or set ${entry.environment}` : "";
    return `--${entry.flag} is missing: give --${entry.flag} ${entry.meta.value}${instead}.`;
  }
  const at = (value: unknown, step: PropertyKey) => (value as Record<PropertyKey, unknown> | null)?.[step];
  return `${name} ${issue.message}, not ${JSON.stringify(issue.path.slice(1).reduce(at, given))}.`;
}
