/** What waits, by account: each gets its turn, so that nobody waits behind all that one account sent before. */

export class Turns<T> {
  /** In the order of their turns. */
  readonly #queues = new Map<string, T[]>();
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(account: string, item: T): void {
    this.#length += 1;
    const own = this.#queues.get(account);
    if (own === undefined) this.#queues.set(account, [item]);
    else own.push(item);
  }

  /** One of each account in turn, as long as `fits` says so; whose item is next goes first at the next call. */
  take(fits: (item: T) => boolean): T[] {
    const taken: T[] = [];
    for (;;) {
      const [next] = this.#queues;
      if (next === undefined) return taken;
      const [account, own] = next;
      const [item] = own;
      if (item === undefined || !fits(item)) return taken;
      taken.push(item);
      own.shift();
      this.#length -= 1;
      this.#queues.delete(account);
      if (own.length > 0) this.#queues.set(account, own);
    }
  }
}
