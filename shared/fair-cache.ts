/**
 * A bounded cache that several owners share: whoever holds most gives up first, namely what it used longest
 * ago. An owner who asks for ever new things therefore pushes out its own, and never more of the others' than
 * what they hold beyond an equal part.
 */

interface Entry<V> {
  readonly value: V;
  readonly bytes: number;
}

interface Holding<V> {
  /** In order of use, oldest first. */
  readonly entries: Map<string, Entry<V>>;
  bytes: number;
}

export interface FairCacheOptions<V> {
  readonly bytesMax: number;
  /** After an entry was pushed out; not after {@link FairCache.delete}. */
  readonly onEvicted?: (owner: string, key: string, value: V) => void;
}

export class FairCache<V> {
  readonly #options: FairCacheOptions<V>;
  readonly #holdings = new Map<string, Holding<V>>();
  #bytes = 0;

  constructor(options: FairCacheOptions<V>) {
    this.#options = options;
  }

  get bytes(): number {
    return this.#bytes;
  }

  bytesOf(owner: string): number {
    return this.#holdings.get(owner)?.bytes ?? 0;
  }

  has(owner: string, key: string): boolean {
    return this.#holdings.get(owner)?.entries.has(key) ?? false;
  }

  /** Counts as a use. */
  get(owner: string, key: string): V | undefined {
    const entries = this.#holdings.get(owner)?.entries;
    const entry = entries?.get(key);
    if (entries === undefined || entry === undefined) return undefined;
    entries.delete(key);
    entries.set(key, entry);
    return entry.value;
  }

  /** Replaces an entry of the same key. False: it is larger than everything. */
  set(owner: string, key: string, value: V, bytes: number): boolean {
    this.delete(owner, key);
    if (bytes > this.#options.bytesMax) return false;
    const holding = this.#holdings.get(owner) ?? { entries: new Map<string, Entry<V>>(), bytes: 0 };
    this.#holdings.set(owner, holding);
    holding.entries.set(key, { value, bytes });
    this.#add(holding, bytes);
    while (this.#bytes > this.#options.bytesMax && this.#evictOne());
    return this.has(owner, key);
  }

  delete(owner: string, key: string): void {
    const holding = this.#holdings.get(owner);
    const entry = holding?.entries.get(key);
    if (holding === undefined || entry === undefined) return;
    holding.entries.delete(key);
    this.#add(holding, -entry.bytes);
    if (holding.entries.size === 0) this.#holdings.delete(owner);
  }

  #add(holding: Holding<V>, bytes: number): void {
    holding.bytes += bytes;
    this.#bytes += bytes;
  }

  #evictOne(): boolean {
    let most: (Holding<V> & { readonly owner: string }) | undefined;
    for (const [owner, holding] of this.#holdings)
      if (most === undefined || holding.bytes > most.bytes) most = { owner, ...holding };
    const oldest = most?.entries.entries().next().value;
    if (most === undefined || oldest === undefined) return false;
    const [key, { value }] = oldest;
    this.delete(most.owner, key);
    this.#options.onEvicted?.(most.owner, key, value);
    return true;
  }
}
