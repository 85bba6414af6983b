/**
 * A cache of which each account has its share: what one account puts in drives out its own oldest entries,
 * never those of another. Losing an entry costs time and nothing else.
 */
import type { Shares } from './shares.ts';

interface Entry<V> {
  readonly value: V;
  readonly size: number;
}

export class SharedCache<V> {
  readonly #shares: Shares;
  readonly #sizeOf: (value: V) => number;
  /** By holder, each in order of use, oldest first. */
  readonly #entries = new Map<string, Map<string, Entry<V>>>();

  constructor(shares: Shares, sizeOf: (value: V) => number = () => 1) {
    this.#shares = shares;
    this.#sizeOf = sizeOf;
  }

  /** Of all entries, in the unit of the shares. */
  get size(): number {
    return this.#shares.used;
  }

  get(holder: string, key: string): V | undefined {
    const own = this.#entries.get(holder);
    const entry = own?.get(key);
    if (own === undefined || entry === undefined) return undefined;
    own.delete(key);
    own.set(key, entry);
    return entry.value;
  }

  /** False, and not kept: it alone is more than what is left of the holder's share. */
  set(holder: string, key: string, value: V): boolean {
    this.delete(holder, key);
    const size = this.#sizeOf(value);
    while (!this.#shares.take(holder, size)) if (!this.dropOldest(holder)) return false;
    let own = this.#entries.get(holder);
    if (own === undefined) {
      own = new Map();
      this.#entries.set(holder, own);
    }
    own.set(key, { value, size });
    return true;
  }

  /** False: the holder has none. */
  dropOldest(holder: string): boolean {
    const [oldest] = this.#entries.get(holder)?.keys() ?? [];
    if (oldest === undefined) return false;
    this.delete(holder, oldest);
    return true;
  }

  /** Of one holder. */
  deleteWhere(holder: string, matches: (key: string) => boolean): void {
    for (const key of this.#entries.get(holder)?.keys() ?? []) if (matches(key)) this.delete(holder, key);
  }

  /** Of all holders. */
  sweep(isGone: (value: V) => boolean): void {
    for (const [holder, own] of this.#entries)
      for (const [key, { value }] of own) if (isGone(value)) this.delete(holder, key);
  }

  delete(holder: string, key: string): void {
    const own = this.#entries.get(holder);
    const entry = own?.get(key);
    if (own === undefined || entry === undefined) return;
    own.delete(key);
    if (own.size === 0) this.#entries.delete(holder);
    this.#shares.give(holder, entry.size);
  }
}
