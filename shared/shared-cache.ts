/**
 * A cache of which each account has its share: what one account puts in drives out its own oldest entries,
 * never those of another. Losing an entry costs time and nothing else.
 */
import type { Shares } from './shares.ts';

interface Entry<V> {
  readonly value: V;
  readonly size: number;
}

interface Own<V> {
  /** In order of use, oldest first. */
  readonly entries: Map<string, Entry<V>>;
  /** Key of the last of them, where that is known. */
  newest: string | undefined;
}

export class SharedCache<V> {
  readonly #shares: Shares;
  readonly #sizeOf: (value: V) => number;
  readonly #byHolder = new Map<string, Own<V>>();

  constructor(shares: Shares, sizeOf: (value: V) => number = () => 1) {
    this.#shares = shares;
    this.#sizeOf = sizeOf;
  }

  /** Of all entries, in the unit of the shares. */
  get size(): number {
    return this.#shares.used;
  }

  get(holder: string, key: string): V | undefined {
    const own = this.#byHolder.get(holder);
    const entry = own?.entries.get(key);
    if (own === undefined || entry === undefined) return undefined;
    // Moving an entry costs several times finding it, and what is asked for again and again stands there already.
    if (own.newest !== key) {
      own.entries.delete(key);
      own.entries.set(key, entry);
      own.newest = key;
    }
    return entry.value;
  }

  /** False, and not kept: it alone is more than what is left of the holder's share. */
  set(holder: string, key: string, value: V): boolean {
    this.delete(holder, key);
    const size = this.#sizeOf(value);
    while (!this.#shares.take(holder, size)) if (!this.dropOldest(holder)) return false;
    let own = this.#byHolder.get(holder);
    if (own === undefined) {
      own = { entries: new Map(), newest: key };
      this.#byHolder.set(holder, own);
    }
    own.entries.set(key, { value, size });
    own.newest = key;
    return true;
  }

  /** False: the holder has none. */
  dropOldest(holder: string): boolean {
    const [oldest] = this.#byHolder.get(holder)?.entries.keys() ?? [];
    if (oldest === undefined) return false;
    this.delete(holder, oldest);
    return true;
  }

  /** Of one holder. */
  deleteWhere(holder: string, matches: (key: string) => boolean): void {
    for (const key of this.#byHolder.get(holder)?.entries.keys() ?? [])
      if (matches(key)) this.delete(holder, key);
  }

  /** Of all holders. */
  sweep(isGone: (value: V) => boolean): void {
    for (const [holder, own] of this.#byHolder)
      for (const [key, { value }] of own.entries) if (isGone(value)) this.delete(holder, key);
  }

  delete(holder: string, key: string): void {
    const own = this.#byHolder.get(holder);
    const entry = own?.entries.get(key);
    if (own === undefined || entry === undefined) return;
    own.entries.delete(key);
    if (own.newest === key) own.newest = undefined;
    if (own.entries.size === 0) this.#byHolder.delete(holder);
    this.#shares.give(holder, entry.size);
  }
}
