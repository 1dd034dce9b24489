// One flag for each field of RunConfig, made from its schema: description, default and place come from there, and the
// checking stays there too. Owns no default of its own.
import { z } from "zod";
import { type RunConfigInput, runConfigSchema } from "#protocol/core/run-config.ts";
import { AUTOMATIC } from "../planning/automatic-codec.ts";
import { setting } from "../settings.ts";

interface RunField {
  readonly key: string;
  /** Where the field stands, such as ["training", "localSteps"]. */
  readonly path: readonly string[];
  readonly type: z.ZodType;
}

const GROUPS: Readonly<Record<string, string>> = {
  model: "Model (the body all peers share)",
  training: "Training",
  averaging: "Averaging",
};

/** Hashes, which `glossa init` computes from files. */
const NOT_TYPED: ReadonlySet<string> = new Set(["vocabulary", "initialBody"]);

function fieldsOf(schema: z.ZodObject, path: readonly string[] = []): readonly RunField[] {
  return Object.entries(schema.shape).flatMap(([key, type]) => {
    const inner = unwrapped(type as z.ZodType);
    const here = [...path, key];
    if (NOT_TYPED.has(key)) return [];
    return inner instanceof z.ZodObject
      ? fieldsOf(inner, here)
      : [{ key, path: here, type: type as z.ZodType }];
  });
}

/** The schema under a default or prefault. */
function unwrapped(type: z.ZodType): z.ZodType {
  return type instanceof z.ZodDefault || type instanceof z.ZodPrefault
    ? unwrapped(type.unwrap() as z.ZodType)
    : type;
}

/** The field that the command chooses where nobody does (automatic-codec.ts), and not the schema. */
const CHOSEN = "codec";

const FIELDS = fieldsOf(runConfigSchema);

/** A number's text becomes a number; whether it is a sensible one is for RunConfig's schema to say. */
function flagType(field: z.ZodType) {
  const word = z.string();
  if (!(field instanceof z.ZodNumber)) return word.optional();
  return word
    .transform((value) => (value.trim() !== "" && Number.isFinite(Number(value)) ? Number(value) : value))
    .optional();
}

/** The settings of `glossa init` that stand for RunConfig's fields, by field name. All are optional. */
export const runFlags = Object.fromEntries(
  FIELDS.map(({ key, path, type }) => {
    const inner = unwrapped(type);
    const chosen = key === CHOSEN;
    const words = [...(chosen ? [AUTOMATIC] : []), ...(inner instanceof z.ZodEnum ? inner.options : [])];
    const options = words.length > 0 ? ` (${words.join(", ")})` : "";
    const description = `${type.description ?? inner.description ?? key}${options}`;
    return [
      key,
      setting(flagType(inner), {
        description: `${description[0]!.toUpperCase()}${description.slice(1)}.`,
        value: inner instanceof z.ZodNumber ? "N" : "WORD",
        defaultText: chosen ? AUTOMATIC : String(type.parse(undefined)),
        group: GROUPS[path[0]!] ?? "Run",
      }),
    ];
  }),
);

/** Puts the flags that were given where RunConfig has them. */
export function nestRunFlags(flags: Readonly<Record<string, unknown>>): RunConfigInput {
  const config: Record<string, unknown> = {};
  for (const { key, path } of FIELDS) {
    if (flags[key] === undefined) continue;
    const parent = path.slice(0, -1).reduce<Record<string, unknown>>((at, step) => {
      at[step] ??= {};
      return at[step] as Record<string, unknown>;
    }, config);
    parent[key] = flags[key];
  }
  return config;
}

/** Objects are merged field by field, later ones win. */
export function mergeConfigs(...configs: readonly unknown[]): unknown {
  return configs.reduce(
    (base, over) => (isObject(base) && isObject(over) ? mergeObjects(base, over) : over),
    {},
  );
}

function mergeObjects(base: Record<string, unknown>, over: Record<string, unknown>): Record<string, unknown> {
  const merged = Object.entries(over).map(([key, value]) => [
    key,
    isObject(base[key]) && isObject(value) ? mergeObjects(base[key], value) : value,
  ]);
  return { ...base, ...Object.fromEntries(merged) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
