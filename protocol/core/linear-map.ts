// An immutable map whose newest version costs one write to change, not a copy: a swarm's members change with every
// heartbeat heard, a thousand times between two copies that anyone looks back at. (Baker 1991, "Shallow binding".)
// The newest version owns a Map; an older one knows its difference to the next, and takes the Map over when it is read.

type Origin<Key, Value> =
  | { readonly map: Map<Key, Value> }
  | { readonly next: LinearMap<Key, Value>; readonly key: Key; readonly value: Value | undefined };

/** A Map that a new version takes over as it is. */
class Owned<Key, Value> {
  readonly map: Map<Key, Value>;

  constructor(map: Map<Key, Value>) {
    this.map = map;
  }

  [Symbol.iterator](): MapIterator<[Key, Value]> {
    return this.map.entries();
  }
}

export class LinearMap<Key, Value> implements ReadonlyMap<Key, Value> {
  #origin: Origin<Key, Value>;

  constructor(entries: Iterable<readonly [Key, Value]> = []) {
    this.#origin = { map: entries instanceof Owned ? entries.map : new Map(entries) };
  }

  get size(): number {
    return this.#map().size;
  }

  /** A new version with `value` under `key`; without the key where `value` is undefined. */
  with(key: Key, value: Value | undefined): LinearMap<Key, Value> {
    const map = this.#map();
    const before = map.get(key);
    put(map, key, value);
    return this.#followedBy(map, key, before);
  }

  /** As `with`, and the key is the last in order, wherever it was: the order of the newest version alone. */
  withLast(key: Key, value: Value): LinearMap<Key, Value> {
    const map = this.#map();
    const before = map.get(key);
    if (before !== undefined) map.delete(key);
    map.set(key, value);
    return this.#followedBy(map, key, before);
  }

  #followedBy(map: Map<Key, Value>, key: Key, before: Value | undefined): LinearMap<Key, Value> {
    const next = new LinearMap<Key, Value>(new Owned(map));
    this.#origin = { next, key, value: before };
    return next;
  }

  get(key: Key): Value | undefined {
    return this.#map().get(key);
  }

  has(key: Key): boolean {
    return this.#map().has(key);
  }

  forEach(visit: (value: Value, key: Key, map: ReadonlyMap<Key, Value>) => void): void {
    for (const [key, value] of this) visit(value, key, this);
  }

  /** Whoever iterates must be done before another version is read or made. */
  entries(): MapIterator<[Key, Value]> {
    return this.#map().entries();
  }

  keys(): MapIterator<Key> {
    return this.#map().keys();
  }

  values(): MapIterator<Value> {
    return this.#map().values();
  }

  [Symbol.iterator](): MapIterator<[Key, Value]> {
    return this.entries();
  }

  #map(): Map<Key, Value> {
    if ("map" in this.#origin) return this.#origin.map;
    const path: LinearMap<Key, Value>[] = [];
    let at: LinearMap<Key, Value> = this;
    while (!("map" in at.#origin)) {
      path.push(at);
      at = at.#origin.next;
    }
    const { map } = at.#origin;
    // Backwards from the owner: each version takes the Map over and leaves its successor the difference.
    for (const version of path.reverse()) {
      const { key, value } = version.#origin as { key: Key; value: Value | undefined };
      at.#origin = { next: version, key, value: map.get(key) };
      put(map, key, value);
      version.#origin = { map };
      at = version;
    }
    return map;
  }
}

function put<Key, Value>(map: Map<Key, Value>, key: Key, value: Value | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
