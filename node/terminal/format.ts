// Numbers as people read them: bytes, counts, durations, short ids. Pure.

const BYTE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB"] as const;
const COUNT_UNITS = ["", "k", "M", "B", "T"] as const;

/** Decimal units with three digits: `0 B`, `999 B`, `1.23 MB`. */
export function bytes(value: number): string {
  return scaled(value, BYTE_UNITS, " ");
}

/** `812`, `8.19k`, `84.9M`. */
export function count(value: number): string {
  return scaled(value, COUNT_UNITS, "");
}

function scaled(value: number, units: readonly string[], separator: string): string {
  let unit = 0;
  let rest = value;
  // 999.5 and more would round to 1000 of a unit.
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit++;
  }
  const digits = unit === 0 ? rest.toFixed(0) : rest.toPrecision(3);
  return `${digits}${units[unit] === "" ? "" : separator + units[unit]}`;
}

/** `850 ms`, `42 s`, `3 m 20 s`, `2 h 05 m`, `3 d 04 h`. */
export function duration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  const two = (value: number) => String(value).padStart(2, "0");
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${two(seconds % 60)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} m`;
  return `${Math.floor(minutes / 1440)} d ${two(Math.floor(minutes / 60) % 24)} h`;
}

/** `146×` from ten on, `3.9×` below; a dash where there is nothing to compare. */
export function factor(value: number | undefined): string {
  if (value === undefined) return "–";
  return value < 10 ? `${value.toFixed(1)}×` : `${Math.round(value).toLocaleString("en-US")}×`;
}

export function percent(share: number | undefined): string {
  return share === undefined ? "–" : `${Math.round(100 * share)}%`;
}

export function fixed(value: number | undefined, digits: number): string {
  return value === undefined ? "–" : value.toFixed(digits);
}

/** First characters of a hash: enough to compare by eye. */
export function shortRoot(root: string): string {
  return root.slice(0, 8);
}

/** The last characters of a peer id: the first ones are the same for all Ed25519 keys. */
export function shortPeer(peerId: string): string {
  return peerId.slice(-8);
}

/** Local time of day, `14:03:27`. */
export function clockTime(date: Date): string {
  return date.toTimeString().slice(0, 8);
}
