// What an output folder was begun with, by the names of the flags, so that the same command can go on with it and another
// one is told what differs. Pure.

export type OutputSettings = Readonly<Record<string, string | number | boolean | readonly string[] | null>>;

/** The first setting that is not the same in both; `undefined` where all are. */
export function differentSetting(kept: OutputSettings, asked: OutputSettings): string | undefined {
  return Object.keys({ ...kept, ...asked }).find(
    (name) => JSON.stringify(kept[name]) !== JSON.stringify(asked[name]),
  );
}
