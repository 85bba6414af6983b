/** What a feed consumer knows: items by kind and key, at a revision. Pure; applying a line twice is harmless. */
import type { FeedItem, FeedLine, SkippedItem } from '../contracts/feed.ts';

type Kind = FeedItem['kind'];
type ValueOf<K extends Kind> = NonNullable<Extract<FeedItem, { kind: K }>['value']>;

export class FeedState {
  #epoch = '';
  #revision = 0;
  #complete = false;
  readonly #items = new Map<Kind, Map<string, FeedItem>>();
  /** By `kind key`: what is older here than in the feed, or absent, because it could not be read. */
  readonly #skipped = new Map<string, SkippedItem>();

  get epoch(): string {
    return this.#epoch;
  }

  get revision(): number {
    return this.#revision;
  }

  /**
   * Control has said that this is all there is. Before that the state may be older than what was acknowledged
   * to others: what it has may be used, but what it lacks may exist.
   */
  get complete(): boolean {
    return this.#complete;
  }

  /** What was applied so far came from a journal. */
  restored(): void {
    this.#complete = false;
  }

  get skipped(): readonly SkippedItem[] {
    return [...this.#skipped.values()];
  }

  get<K extends Kind>(kind: K, key: string): ValueOf<K> | undefined {
    // An item stands in the map of its own kind, so its value has that kind's type.
    return (this.#items.get(kind)?.get(key)?.value ?? undefined) as ValueOf<K> | undefined;
  }

  values<K extends Kind>(kind: K): ValueOf<K>[] {
    return [...(this.#items.get(kind)?.values() ?? [])].map((item) => item.value as ValueOf<K>);
  }

  /** Everything, as a line that rebuilds this state. */
  toSnapshot(): Extract<FeedLine, { type: 'snapshot' }> {
    return {
      type: 'snapshot',
      epoch: this.#epoch,
      revision: this.#revision,
      items: [...this.#items.values()].flatMap((byKey) => [...byKey.values()]),
      ...(this.#skipped.size === 0 ? {} : { skipped: this.skipped }),
    };
  }

  /**
   * Applies a line and returns the items whose value may have changed; deletions have value null.
   * A delta that is older than the state changes nothing.
   */
  apply(line: FeedLine): readonly FeedItem[] {
    // Each line brings a consumer from where it was to now.
    this.#complete = true;
    switch (line.type) {
      case 'bookmark':
        return [];
      case 'snapshot': {
        const unread = new Set((line.skipped ?? []).map(nameOf));
        const present = new Set(line.items.map(nameOf));
        const before = this.toSnapshot().items;
        // Another epoch is another history: nothing of the old one may stand in for what cannot be read.
        const kept = line.epoch === this.#epoch ? before.filter((item) => unread.has(nameOf(item))) : [];
        for (const item of kept) present.add(nameOf(item));
        const gone = before
          .filter((item) => !present.has(nameOf(item)))
          .map((item) => ({ ...item, value: null }));
        this.#items.clear();
        this.#skipped.clear();
        this.#epoch = line.epoch;
        this.#revision = line.revision;
        for (const item of [...kept, ...line.items]) this.#put(item);
        this.#skip(line.skipped);
        return [...gone, ...line.items];
      }
      case 'delta':
        if (line.revision <= this.#revision) return [];
        for (const item of line.items) this.#put(item);
        this.#skip(line.skipped);
        this.#revision = line.revision;
        return line.items;
    }
  }

  #skip(items: readonly SkippedItem[] = []): void {
    for (const item of items) this.#skipped.set(nameOf(item), item);
  }

  #put(item: FeedItem): void {
    this.#skipped.delete(nameOf(item));
    const byKey = this.#items.get(item.kind) ?? new Map<string, FeedItem>();
    this.#items.set(item.kind, byKey);
    if (item.value === null) byKey.delete(item.key);
    else byKey.set(item.key, item);
  }
}

function nameOf({ kind, key }: { readonly kind: string; readonly key: string }): string {
  return `${kind} ${key}`;
}
