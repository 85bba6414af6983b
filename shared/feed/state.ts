/** What a feed consumer knows: items by kind and key, at a revision. Pure; applying a line twice is harmless. */
import type { FeedItem, FeedLine } from '../contracts/feed.ts';

type Kind = FeedItem['kind'];
type ValueOf<K extends Kind> = NonNullable<Extract<FeedItem, { kind: K }>['value']>;

export class FeedState {
  #epoch = '';
  #revision = 0;
  readonly #items = new Map<Kind, Map<string, FeedItem>>();

  get epoch(): string {
    return this.#epoch;
  }

  get revision(): number {
    return this.#revision;
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
    };
  }

  /**
   * Applies a line and returns the items whose value may have changed; deletions have value null.
   * A delta that is older than the state changes nothing.
   */
  apply(line: FeedLine): readonly FeedItem[] {
    switch (line.type) {
      case 'bookmark':
        return [];
      case 'snapshot': {
        const present = new Set(line.items.map((item) => `${item.kind} ${item.key}`));
        const gone = this.toSnapshot()
          .items.filter((item) => !present.has(`${item.kind} ${item.key}`))
          .map((item) => ({ ...item, value: null }));
        this.#items.clear();
        this.#epoch = line.epoch;
        this.#revision = line.revision;
        for (const item of line.items) this.#put(item);
        return [...gone, ...line.items];
      }
      case 'delta':
        if (line.revision <= this.#revision) return [];
        for (const item of line.items) this.#put(item);
        this.#revision = line.revision;
        return line.items;
    }
  }

  #put(item: FeedItem): void {
    const byKey = this.#items.get(item.kind) ?? new Map<string, FeedItem>();
    this.#items.set(item.kind, byKey);
    if (item.value === null) byKey.delete(item.key);
    else byKey.set(item.key, item);
  }
}
